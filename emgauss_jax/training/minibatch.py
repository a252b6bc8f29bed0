"""One network for all blocks, fitted as if all blocks, stacked, were one.

Letters: B blocks, n devices.
"""

import jax
import jax.numpy as jnp

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training.parallel import AXIS


def over_blocks(method: Method, devices: int) -> Method:
    """Turn a method with one network for all blocks into one whose only block is all of them.

    Args:
      method: written for one block; `per_block` is False.
      devices: n, a divisor of `method.batch`; each takes its part of what a step draws.

    Returns:
      The method for blocks with leaves [B, ...]: it starts from the first, and its loss is the
      mean over `batch` of them, drawn at random. On n devices that is the mean of a device's own
      part: the same blocks are drawn with the same keys whatever n is.
    """

    def init(key, blocks):
        return method.init(key, jax.tree.map(lambda leaf: leaf[0], blocks))

    def loss(params, teacher, blocks, key, step, weights):
        draw_key, loss_key = jax.random.split(key)
        which = jax.random.randint(draw_key, (method.batch,), 0, len(blocks.z))
        keys = jax.random.split(loss_key, method.batch)
        if devices > 1:
            which, keys = _own_part(which, devices), _own_part(keys, devices)
        drawn: Block = jax.tree.map(lambda leaf: leaf[which], blocks)
        each = jax.vmap(method.loss, (None, None, 0, 0, None, None))
        losses, metrics = each(params, teacher, drawn, keys, step, weights)
        return losses.mean(), jax.tree.map(jnp.mean, metrics)

    return method._replace(init=init, loss=loss)


def _own_part(values: jax.Array, devices: int) -> jax.Array:
    """Take the part of [batch] that belongs to this device."""
    parts = values.reshape(devices, -1)
    return parts[jax.lax.axis_index(AXIS)]
