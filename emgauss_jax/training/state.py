"""What a step updates. Letters: S blocks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training.block_axis import block_axis
from emgauss_jax.training.optimizer import ADAM


class State(NamedTuple):
    """All of a fit at one step, for S blocks at once."""

    step: jax.Array  # i32[], iterations done
    params: Any  # the student, every leaf [S, ...]
    teacher: Any  # its exponential moving average, like params
    opt_state: Any  # optax's, moments like params, every leaf [S, ...]


def init_params(method: Method, blocks: Block, keys: jax.Array) -> Any:
    """Start the parameters of S blocks.

    Args:
      method: the method, written for one block.
      blocks: every leaf [S, ...].
      keys: PRNG keys [S].
    """
    params = jax.vmap(block_axis(method).one_fit(method, 1).init)(keys, blocks)
    # A weak type would turn strong in the first step, and compile everything a second time.
    return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), params)


def init_state(params: Any) -> State:
    """Start a fit of S blocks; the teacher starts as a copy of the student."""
    moments = jax.vmap(ADAM.init)(params)
    return State(jnp.int32(0), params, jax.tree.map(jnp.copy, params), moments)
