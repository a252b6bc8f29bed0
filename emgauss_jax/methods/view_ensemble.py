"""The standard error of a network that predicts from several views: their spread, scaled.

Letters: V views, K slices, Q queried planes, H W block size.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.methods import lateral_pairs
from emgauss_jax.methods.axial_rows import Missing
from emgauss_jax.methods.base import Block

Views = Callable[[Block, jax.Array], jax.Array]  # block, f32[Q] -> f32[V, Q, H, W]


def predicting(views: Callable[..., jax.Array], settings: Any) -> dict[str, Callable]:
    """Make `predict` and `predict_with_error` of a `Method` from its views.

    Args:
      views: views(settings, params, block, z) -> f32[V, Q, H, W].
      settings: a dataclass with `profile` and `missing`.
    """
    gapless = dataclasses.replace(settings, missing=Missing())

    def predict(params: Any, block: Block, z: jax.Array) -> jax.Array:
        """Draw planes f32[Q, H, W]: the mean of the views."""
        return views(settings, params, block, z).mean(axis=0)

    def predict_with_error(params: Any, block: Block, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw the same planes and their standard error, f32[Q, H, W] each."""
        planes = views(settings, params, block, z)
        judged = functools.partial(views, gapless, params)
        scale = error_by_spread(judged, block, settings.profile)
        return planes.mean(axis=0), scale * planes.std(axis=0)

    return {"predict": predict, "predict_with_error": predict_with_error}


def error_by_spread(views: Views, block: Block, profile: SliceProfile) -> jax.Array:
    """Measure the ratio error / spread of the views, both root mean squares.

    The truth is known at half the resolution, see `SliceProfile.held_out`. Slices beside a gap are
    not judged. If all are beside gaps, all are judged as if there were none, which makes the error
    too large rather than too small.

    Args:
      views: views of a stack without gaps.
      block: the observed slices, all valid; some may be missing between them.
      profile: of the slices.

    Returns:
      f32[], the ratio; 1 if there are too few slices to hide any.
    """
    fine = lateral_pairs.halve(block.slices)
    coarse, hidden = profile.coarsen(fine), profile.held_out(np.arange(len(fine)))
    if len(coarse) < 2:
        return jnp.float32(1)
    place = profile.coarse_depths(hidden, 2)
    judged = _gapless(block.z, profile.seen_around(hidden))[:, None, None]
    stack = Block(coarse, jnp.arange(1.0 * len(coarse)), jnp.ones(len(coarse), bool))
    planes = views(stack, jnp.asarray(place.ravel(), jnp.float32))
    planes = planes.reshape(len(planes), *place.shape, *planes.shape[2:]).mean(axis=2)
    error = jnp.mean(judged * jnp.square(planes.mean(axis=0) - fine[hidden]))
    spread = jnp.mean(judged * jnp.var(planes, axis=0))
    return jnp.sqrt(error / (spread + 1e-12))


def _gapless(z: jax.Array, around: np.ndarray) -> jax.Array:
    """Give judged slices without a gap around them weight 1, others 0; all 1 if all have gaps.

    Args:
      z: f32[K], depths of slices.
      around: i64[2, N], the first and the last slice around each judged slice.

    Returns:
      f32[N].
    """
    gaps = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.diff(z) > 1.5)])
    gapless = gaps[around[0]] == gaps[around[1]]
    return (gapless | ~gapless.any()).astype(jnp.float32)
