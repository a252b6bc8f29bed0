"""The contract of every method, and the block of slices it works on.

Letters: K observed slices, L labels, Q queried planes, H W a block's lateral size in px.
A method is written for ONE block; `training` adds the block axis with `jax.vmap`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = Any


class Block(NamedTuple):
    """One subvolume of observed slices."""

    slices: jax.Array  # f32[K, H, W], intensity in [0, 1]
    z: jax.Array  # f32[K], depth in input-slice units (0, 1, 2, ...)
    valid: jax.Array  # bool[K], False where a slice is missing or damaged
    # Pseudo-labels, if any: planes filled in by other methods; a fit learns them like thin slices
    labels: jax.Array | None = None  # f16[L, H, W]
    label_z: jax.Array | None = None  # f32[L], input-slice units


class Method(NamedTuple):
    """A method as pure functions of pytrees.

    `init(key, block) -> params`; a shared network ignores the block, which may be None
    `loss(params, teacher, block, key, step, weights) -> (scalar, metrics)`
    `predict(params, block, z f32[Q]) -> f32[Q, H, W]` at any real z
    `predict_with_error(params, block, z f32[Q])`: the planes of `predict` and their standard
        error, f32[Q, H, W] each; None if the method cannot estimate it.
    `factors`: (least, most) lateral px from slice to slice that a network is trained for besides
        those of its own stack; None if only for its own.
    `maintain(params, teacher, block, key, step) -> (params, teacher, fresh)`: upkeep without
        gradients; shapes never change. `fresh` is a pytree of bool like params, broadcastable to
        each leaf: where it is True the optimizer's moments are reset.
    `weights`: loss weights, named as in the method's config section; `loss` gets them as traced
        numbers, so that one compiled program serves fits with different weights.
    `per_block`: True: parameters have a block axis and gradients stay local; False: one shared
        network, whose gradients are averaged over `batch` blocks drawn at every step.
    """

    init: Callable[..., Params]
    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    predict: Callable[..., jax.Array]
    maintain: Callable[..., tuple[Params, Params, Params]]
    weights: Mapping[str, float]
    per_block: bool
    batch: int = 0  # 0 where `per_block`
    predict_with_error: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    factors: tuple[int, int] | None = None


def no_upkeep(params, teacher, block, key, step) -> tuple[Params, Params, Params]:
    """Return params and teacher unchanged: `maintain` of a method without upkeep."""
    del block, key, step
    return params, teacher, jax.tree.map(lambda leaf: jnp.zeros((1,) * leaf.ndim, bool), params)


def has_neighbours(valid: jax.Array) -> jax.Array:
    """Mark the valid slices that lie between two other valid slices, bool[K]."""
    return valid & (valid.cumsum() > 1) & (valid[::-1].cumsum()[::-1] > 1)


class Bracket(NamedTuple):
    """The nearest valid slices around a depth, and the depth's place between them."""

    lower: jax.Array  # i32[], index of the nearest valid slice at or below z
    upper: jax.Array  # i32[], index of the nearest valid slice above z (lower itself at an end)
    fraction: jax.Array  # f32[], 0 at lower, 1 at upper


def shown(block: Block, offsets: tuple[float, ...], z: jax.Array) -> jax.Array:
    """Clamp depths to the range that the slices show: beyond it nothing can be learned.

    Args:
      offsets: depths of a slice's planes from its middle, ascending, input-slice units.
      z: f32[...], depths, input-slice units.

    Returns:
      f32[...], the nearest depth that the slices show.
    """
    return jnp.clip(z, block.z[0] + offsets[0], block.z[-1] + offsets[-1])


def bracket(block: Block, z: jax.Array) -> Bracket:
    """Find the valid slices around a depth; clamp to the first and the last valid slice.

    Args:
      block: the observed slices; at least one must be valid.
      z: f32[], depth in input-slice units.

    Returns:
      The bracket of z. A missing slice only makes the gap wider.
    """
    index = jnp.arange(block.z.shape[0])
    below = block.valid & (block.z <= z)
    above = block.valid & (block.z > z)
    first = jnp.argmax(block.valid)
    last = index[-1] - jnp.argmax(block.valid[::-1])
    lower = jnp.where(below.any(), jnp.max(jnp.where(below, index, 0)), first)
    upper = jnp.where(above.any(), jnp.min(jnp.where(above, index, index[-1])), last)
    span = block.z[upper] - block.z[lower]
    fraction = jnp.where(span > 0, (z - block.z[lower]) / jnp.where(span > 0, span, 1.0), 0.0)
    return Bracket(lower, upper, jnp.clip(fraction, 0.0, 1.0))


def floor_and_share(place: Any) -> tuple[Any, Any]:
    """Split places f[...] into the row below, i32[...], and the rest, f[...]; jax or numpy."""
    floor = jnp.floor if isinstance(place, jax.Array) else np.floor
    lower = floor(place)
    return lower.astype(np.int32), place - lower


def gap_around(place: Any, count: int) -> tuple[Any, Any]:
    """Find the gap between two of `count` rows, at 0, 1, 2, ..., that holds each place.

    Args:
      place: f[...], counted in rows; jax or numpy.

    Returns:
      i32[...], the gap's lower row, 0 to count - 2; f[...], 0 at the lower row and 1 at the next
      row, below 0 before the first row and above 1 after the last row.
    """
    lower = floor_and_share(place)[0].clip(0, count - 2)
    return lower, place - lower
