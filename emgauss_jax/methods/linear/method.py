"""Linear interpolation as a method: what a user gets for nothing, in the same files and reports.

Written for one block. Letters: Q queried planes, H W block size in px.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from emgauss_jax.methods.base import Block, Method, bracket, no_upkeep


def init(key: jax.Array, block: Block) -> dict[str, Any]:
    """Start with one number that nothing uses: there is nothing to learn, but fits are counted."""
    del key, block
    return {"unused": jnp.float32(0)}


def loss(
    params: Any,
    teacher: Any,
    block: Block,
    key: jax.Array,
    step: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return 0: the slices are drawn as they are."""
    del params, teacher, block, key, step, weights
    return jnp.float32(0), {"loss": jnp.float32(0)}


def predict(params: Any, block: Block, z: jax.Array) -> jax.Array:
    """Interpolate planes f32[Q, H, W] between the nearest valid slices, at any depth f32[Q]."""
    del params

    def plane(depth: jax.Array) -> jax.Array:
        lower, upper, share = bracket(block, depth)
        return (1 - share) * block.slices[lower] + share * block.slices[upper]

    return jax.lax.map(plane, z)


def build() -> Method:
    """Put the functions of the method together."""
    return Method(
        init=init, loss=loss, predict=predict, maintain=no_upkeep, weights={}, per_block=True
    )
