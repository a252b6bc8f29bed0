"""What a step updates. Letters: S blocks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training.block_axis import block_axis
from emgauss_jax.training.optimizer import Optimizer, Rates


class State(NamedTuple):
    """All of a fit at one step, for S blocks at once."""

    step: jax.Array  # i32[], iterations done
    params: Any  # the student, every leaf [S, ...]
    teacher: Any  # its exponential moving average, like params
    opt_state: Any  # what optax's transformation keeps, every leaf [S, ...]


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


def init_state(optimizer: Optimizer, params: Any, rates: Rates) -> State:
    """Start a fit of S blocks; the teacher starts as a copy of the student.

    A fit donates its state, so that no two leaves may share memory: some transformations keep the
    parameters or a rate as they are given them.

    Args:
      optimizer: of one fit.
      params: the student, every leaf [S, ...].
      rates: of each fit, f32[S].
    """
    opt_state = jax.vmap(lambda params, rates: optimizer(rates).init(params))(params, rates)
    return State(jnp.int32(0), params, *jax.tree.map(jnp.copy, (params, opt_state)))
