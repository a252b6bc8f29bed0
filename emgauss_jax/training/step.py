"""One step of learning, and many in one dispatch. Letters: S blocks, n steps a dispatch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training.state import State


def make_step(
    method: Method, optimizer: optax.GradientTransformation, ema_decay: float
) -> Callable[[State, Block, jax.Array], tuple[State, dict[str, jax.Array]]]:
    """Build the pure step of a method whose blocks learn each for itself.

    Args:
      method: written for one block.
      optimizer: elementwise, over the parameters of all blocks.
      ema_decay: of the teacher; 0, the teacher is the student.

    Returns:
      step(state, blocks, keys [S]) -> (state, metrics with every value f32[S]).
    """
    grad = jax.value_and_grad(method.loss, has_aux=True)

    def step(state, blocks, keys):
        pairs = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, state.step)))(keys)
        many = jax.vmap(grad, in_axes=(0, 0, 0, 0, None))
        (_, metrics), grads = many(state.params, state.teacher, blocks, pairs[:, 0], state.step)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        teacher = optax.incremental_update(params, state.teacher, 1.0 - ema_decay)
        upkeep = jax.vmap(method.maintain, in_axes=(0, 0, 0, 0, None))
        params, teacher, fresh = upkeep(params, teacher, blocks, pairs[:, 1], state.step)
        opt_state = optax.tree_map_params(
            optimizer, lambda moment, new: jnp.where(new, 0.0, moment), opt_state, fresh
        )
        metrics = metrics | {"nonfinite": (~_finite(params, len(keys))).astype(jnp.float32)}
        return State(state.step + 1, params, teacher, opt_state), metrics

    return step


def _finite(params: Any, count: int) -> jax.Array:
    """Tell for each of S blocks whether all its parameters are finite: bool[S].

    Parameters and not the loss, because a Gaussian that is NaN may be drawn nowhere.
    """
    total = sum(jnp.sum(leaf.reshape(count, -1), axis=1) for leaf in jax.tree.leaves(params))
    return jnp.isfinite(total)


def make_advance(step: Callable, count: int) -> Callable:
    """Chain n steps in one dispatch, with no host round trip between them.

    Returns:
      advance(state, blocks, keys) -> (state, metrics with every value f32[n, S]).
    """

    def advance(state, blocks, keys):
        body = functools.partial(_body, step, blocks, keys)
        return jax.lax.scan(body, state, None, length=count)

    return advance


def _body(step, blocks, keys, state, _):
    return step(state, blocks, keys)
