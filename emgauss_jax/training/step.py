"""One step of learning, and many in one dispatch: one call of a compiled function.

Letters: S blocks, n steps a dispatch.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training.block_axis import block_axis
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.optimizer import Optimizer, restart
from emgauss_jax.training.state import State

Step = Callable[[State, Block, jax.Array, Hyper], tuple[State, dict[str, jax.Array]]]


def make_step(method: Method, optimizer: Optimizer, devices: int = 1) -> Step:
    """Build the pure step of a method.

    Args:
      method: written for one block, or for one network of all of them, see `minibatch`.
      optimizer: from `training.optimizer`, of one fit.
      devices: how many share one fit: 1, or more where one network serves all blocks.

    Returns:
      step(state, blocks, keys [S], hyper [S]) -> (state, metrics with every value f32[S]).
    """
    axis = block_axis(method)
    over_devices = functools.partial(axis.reduce, devices=devices)
    one = functools.partial(_learn, axis.one_fit(method, devices), optimizer, over_devices)

    def step(state, blocks, keys, hyper):
        learned = (state.params, state.teacher, state.opt_state)
        many = jax.vmap(one, in_axes=(None, 0, 0, 0, 0))
        learned, metrics = many(state.step, learned, blocks, keys, hyper)
        return State(state.step + 1, *learned), metrics

    return step


def _learn(method, optimizer, over_devices, step, learned, block, key, hyper):
    """Step one block: gradient, optimizer, teacher, upkeep."""
    params, teacher, opt_state = learned
    transformation = optimizer(hyper.rates)
    loss_key, upkeep_key = jax.random.split(jax.random.fold_in(key, step))
    grad = jax.grad(method.loss, has_aux=True)
    grads, metrics = over_devices(grad(params, teacher, block, loss_key, step, hyper.weights))
    updates, opt_state = transformation.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    teacher = optax.incremental_update(params, teacher, 1.0 - hyper.ema_decay)
    params, teacher, fresh = method.maintain(params, teacher, block, upkeep_key, step)
    opt_state = restart(transformation, opt_state, params, fresh)
    metrics = metrics | {"nonfinite": (~_finite(params)).astype(jnp.float32)}
    return (params, teacher, opt_state), metrics


def _finite(params: Any) -> jax.Array:
    """Tell whether all parameters of a block are finite: bool[].

    Parameters and not the loss, because a Gaussian that is NaN may be drawn nowhere.
    """
    return jnp.isfinite(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)))


def make_advance(step: Step, count: int) -> Step:
    """Chain n steps in one dispatch, with no host round trip between them.

    Returns:
      advance(state, blocks, keys, hyper) -> (state, metrics with every value f32[n, S]).
    """

    def advance(state, blocks, keys, hyper):
        def body(state, _):
            return step(state, blocks, keys, hyper)

        return jax.lax.scan(body, state, None, length=count)

    return advance
