"""Rows of an axial plane (xz or yz): interpolation between rows, and rows of missing slices.

Observed rows lie at 0, 1, 2, ...; a missing slice leaves one row of every plane without values.
Letters: R rows, C columns, K slices, Q queried places, H W block size in px.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.methods.base import Block, bracket, floor_and_share
from emgauss_jax.methods.interpolate import weights


class Missing(NamedTuple):
    """The most rows that a block of a stack may lack; static, as shapes never depend on data."""

    before: int = 0  # rows before the first valid slice
    between: int = 0  # rows between the first and the last valid slice
    after: int = 0  # rows after the last valid slice


class Stack(NamedTuple):
    """A block with a row for every slice, missing ones included."""

    slices: jax.Array  # f32[R, H, W]; interpolated linearly where a slice is missing
    valid: jax.Array  # bool[R]
    first: jax.Array  # f32[], depth of the first row, input-slice units


def stack_of(block: Block, missing: Missing) -> Stack:
    """Lay out a block with one row per slice, missing slices included.

    Args:
      block: the valid slices f32[K, H, W], at whole depths.
      missing: the most slices that may be missing; R is K plus their sum.
    """
    first = block.z[0] - missing.before
    if not any(missing):
        return Stack(block.slices, block.valid, first)
    depths = first + jnp.arange(len(block.z) + sum(missing))
    valid = jnp.any(block.valid & (jnp.abs(depths[:, None] - block.z) < 0.5), axis=1)
    return Stack(_at(block, depths), valid, first)


def fill(rows: jax.Array, valid: jax.Array) -> jax.Array:
    """Fill missing rows of f32[R, C], where `valid` bool[R] is False, by linear interpolation."""
    index = jnp.arange(1.0 * len(rows))
    return _at(Block(rows[:, None], index, valid), index)[:, 0]


def _at(block: Block, depths: jax.Array) -> jax.Array:
    """Interpolate valid slices linearly at depths f32[R]: f32[R, H, W]."""
    around = jax.vmap(functools.partial(bracket, block))(depths)
    share = around.fraction[:, None, None]
    return (1 - share) * block.slices[around.lower] + share * block.slices[around.upper]


def between(grid: Any, place: Any) -> Any:
    """Interpolate rows f32[R, C, ...] linearly at places f32[Q]; beyond an end, repeat its row.

    Rows may be a jax or a numpy array; of a memory-mapped one only the needed rows are read.
    """
    index, share = floor_and_share(place)
    share = share.astype(np.float32).reshape(-1, *[1] * (grid.ndim - 1))
    lower, upper = (each.clip(0, grid.shape[0] - 1) for each in (index, index + 1))
    return (1 - share) * grid[lower] + share * grid[upper]


def mean_preserving(rows: jax.Array, place: jax.Array) -> jax.Array:
    """Interpolate averaged rows f32[R, C] at places f32[Q], keeping their means: "cubic_mean".

    The spline's derivative is a parabola in each interval, so three values per interval define it.
    """
    count = len(rows)
    at = np.arange(count)[:, None] + (-0.5, 0.0, 0.5)
    three = weights("cubic_mean", np.arange(count), at.ravel())
    three = jnp.asarray(three.reshape(count, 3, count), rows.dtype)
    index = jnp.clip(jnp.round(place), 0, count - 1).astype(jnp.int32)
    u = jnp.clip(place - index, -0.5, 0.5)
    parabola = jnp.stack([2 * u * (u - 0.5), 1 - 4 * u**2, 2 * u * (u + 0.5)], axis=-1)
    combined = jnp.einsum("qi,qir->qr", parabola, three[index])
    return jnp.matmul(combined, rows, precision="highest")


INTERPOLATIONS = {"linear": between, "cubic_mean": mean_preserving}


def interpolate(rows: jax.Array, place: jax.Array, profile: SliceProfile) -> jax.Array:
    """Interpolate rows f32[R, C] at f32[Q]: the base to which a network adds its output."""
    return INTERPOLATIONS[profile.interpolation](rows, place)
