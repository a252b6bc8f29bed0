"""Density control at fixed capacity: prune, and give dead places to where they are needed.

Shapes never change: a pruned Gaussian is `alive` 0, and growth makes the dead alive again as
copies of important ones. Letters: N Gaussians (capacity).
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from emgauss_jax.data.errors import InputError
from emgauss_jax.render.gaussians import AlphaGaussians, Gaussians

MOST_COPIES = 51  # that a contribution is divided by, as in gsplat

Cloud = Gaussians | AlphaGaussians


@dataclasses.dataclass(frozen=True)
class DensityControl:
    """When and how much; iterations and fractions.

    Source: gsplat's MCMC strategy (relocation, 5 % growth) in place of 3DGS's clone and split:
      noise in EM makes gradient thresholds explode, and shapes must not change.

    Raises:
      InputError: iterations that cannot be, a fraction outside [0, 1], or a threshold below 0.
    """

    every: int = 0  # 0: never
    start: int = 500
    stop: int = 15_000
    prune: float = 0.005  # peak contribution, grey, under which a Gaussian is given up
    growth: float = 0.05  # of the living, made alive each time while dead places last
    jitter: float = 0.5  # of its scale, how far a copy moves from its source

    def __post_init__(self):
        if min(self.every, self.start) < 0 or self.stop < self.start:
            raise InputError(
                f"emgauss.control: got every {self.every}, start {self.start} and stop "
                f"{self.stop}, wanted 0 or more of each and stop no earlier than start"
            )
        if not 0 <= self.growth <= 1:
            raise InputError(f"emgauss.control.growth: got {self.growth}, wanted 0 to 1")
        for name in ("prune", "jitter"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"emgauss.control.{name}: got {getattr(self, name)}, wanted 0 or more"
                )


def due(control: DensityControl, step: jax.Array) -> jax.Array:
    """Tell whether a step does upkeep."""
    if control.every == 0:
        return jnp.bool_(False)
    return (step % control.every == 0) & (step >= control.start) & (step < control.stop)


def plan_copies(
    key: jax.Array, importance: jax.Array, alive: jax.Array, control: DensityControl
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Decide which places die, and which dead ones become copies of which living ones.

    Args:
      key: PRNG key, consumed.
      importance: f32[N], peak contribution over the observed slices, grey.
      alive: f32[N], 1 or 0.
      control: thresholds.

    Returns:
      source i32[N], the place whose values each place takes (itself, if untouched);
      fresh bool[N], the places that became copies; alive f32[N].
    """
    order_key, source_key = jax.random.split(key)
    living = (alive > 0.5) & (importance >= control.prune)
    pruned = jnp.sum((alive > 0.5) & ~living)
    births = jnp.maximum(pruned, jnp.int32(control.growth * living.sum()))
    lottery = jnp.where(living, jnp.inf, jax.random.uniform(order_key, living.shape))
    rank = jnp.argsort(jnp.argsort(lottery))
    fresh = ~living & (rank < births) & living.any()
    drawn = jax.random.categorical(
        source_key, jnp.where(living, jnp.log(importance + 1e-12), -jnp.inf), shape=living.shape
    )
    source = jnp.where(fresh, drawn, jnp.arange(living.shape[0]))
    return source, fresh, (living | fresh).astype(alive.dtype)


def count_sharers(source: jax.Array, fresh: jax.Array) -> jax.Array:
    """Count for each place its source and all copies of it, MOST_COPIES at most: f32[N].

    Args:
      source: i32[N], from `plan_copies`.
      fresh: bool[N], likewise.
    """
    copies = jnp.ones(fresh.shape).at[source].add(fresh.astype(jnp.float32))
    return jnp.minimum(copies[source], MOST_COPIES)


def share(gaussians: Cloud, source: jax.Array, count: jax.Array) -> Cloud:
    """Copy rows and divide each source's contribution among itself and its copies.

    In a sum the amplitude is divided by the count. For alpha blending opacity o becomes
    1 - (1 - o)^(1 / count), so that what passes through stays the same.

    Args:
      gaussians: N Gaussians.
      source: i32[N], from `plan_copies`.
      count: f32[N], from `count_sharers`.

    Source: 3DGS as Markov Chain Monte Carlo, equation 9 (opacity only; scales are kept).
    """
    moved = jax.tree.map(lambda a: a[source], gaussians)
    if isinstance(moved, Gaussians):
        return moved._replace(amplitudes=moved.amplitudes / count)
    opacity = 1 - (1 - jax.nn.sigmoid(moved.opacity_logits)) ** (1 / count)
    logits = jax.scipy.special.logit(jnp.clip(opacity, 1e-6, 1 - 1e-6))
    return moved._replace(opacity_logits=jnp.where(count > 1, logits, moved.opacity_logits))


def scatter(key: jax.Array, gaussians: Cloud, fresh: jax.Array, control: DensityControl) -> Cloud:
    """Move fresh copies a fraction of their scale, so that they can part from their source."""
    noise = jax.random.normal(key, gaussians.means.shape) * control.jitter
    offset = noise * jnp.exp(gaussians.log_scales)
    return gaussians._replace(
        means=jnp.where(fresh[:, None], gaussians.means + offset, gaussians.means)
    )


def take(tree: Any, source: jax.Array, axes: Any) -> Any:
    """Copy the places `source` of every leaf along its Gaussian axis; a shared leaf stays as it is.

    Args:
      tree: parameters of N Gaussians.
      source: i32[N], from `plan_copies`.
      axes: a `Deformation.gaussian_axes` of the tree.
    """

    def copy(leaf, axis):
        return leaf if axis is None else jnp.take(leaf, source, axis)

    return jax.tree.map(copy, tree, spread(axes, tree, source.shape[0]))


def along(tree: Any, fresh: jax.Array, axes: Any) -> Any:
    """Mark the fresh places of every leaf along its Gaussian axis, and none of a shared leaf.

    Args:
      tree: parameters of N Gaussians.
      fresh: bool[N], from `plan_copies`.
      axes: a `Deformation.gaussian_axes` of the tree.

    Returns:
      A pytree like tree: bool, N along the Gaussian axis of the leaf and 1 along all others.
    """

    def mark(leaf, axis):
        if axis is None:
            return jnp.zeros((1,) * leaf.ndim, bool)
        return fresh.reshape([-1 if i == axis else 1 for i in range(leaf.ndim)])

    return jax.tree.map(mark, tree, spread(axes, tree, fresh.shape[0]))


def spread(axes: Any, tree: Any, count: int) -> Any:
    """Name the Gaussian axis of every leaf.

    Args:
      axes: a `Deformation.gaussian_axes` of the tree.
      tree: parameters of N Gaussians.
      count: N.

    Returns:
      A pytree like tree: int, 0 or more, or None for a leaf that all Gaussians share.

    Raises:
      InputError: no prefix of the tree, or an axis that a leaf lacks or that is not N long.
    """
    try:
        full = jax.tree.broadcast(axes, tree, is_leaf=lambda end: end is None)
    except ValueError as error:
        raise InputError(
            f"deformation.gaussian_axes: got {axes}, wanted a prefix of {jax.tree.structure(tree)}"
        ) from error
    return jax.tree.map(functools.partial(_checked, count), tree, full)


def _checked(count: int, leaf: jax.Array, axis: int | None) -> int | None:
    """Count an axis from the front, once it is known to hold N Gaussians."""
    if axis is None:
        return None
    if axis not in range(-leaf.ndim, leaf.ndim) or leaf.shape[axis] != count:
        raise InputError(
            f"deformation.gaussian_axes: got {axis} for a leaf of shape {leaf.shape}, "
            f"wanted an axis of length {count}, or None"
        )
    return axis % leaf.ndim
