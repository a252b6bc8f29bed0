"""The device axis: how a step is spread over devices.

Letters: S blocks, n devices. `jax.vmap` gives the block axis; here `jax.pmap` gives the device
axis on top, S / n blocks a device, and no communication, because blocks learn each for itself. A
shared network is copied to all devices instead, and its gradients are averaged. Another mapping is
a change of this file alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

AXIS = "devices"


class DeviceMap(NamedTuple):
    """How a function of (state, blocks, keys, hyper) is spread over devices."""

    run: Callable[..., Any]  # the compiled function, on spread pytrees; the state is donated
    spread: Callable[[Any], Any]  # [S, ...] -> [n, S / n, ...]; a scalar is copied to all
    gather: Callable[[Any], Any]  # back again


def map_blocks(advance: Callable[..., Any], devices: int) -> DeviceMap:
    """Spread a function of S blocks over devices.

    Args:
      advance: advance(state, blocks, keys, hyper) -> (state, metrics), written for one device.
      devices: n; S must be a multiple of it.

    Returns:
      The mapping; with one device it is `jax.jit` and spreads nothing.
    """
    if devices == 1:
        return DeviceMap(jax.jit(advance, donate_argnums=0), lambda tree: tree, lambda tree: tree)

    def cut(leaf):
        if leaf.ndim == 0:
            return jnp.broadcast_to(leaf, (devices,))
        return leaf.reshape(devices, leaf.shape[0] // devices, *leaf.shape[1:])

    def join(leaf):
        return leaf[0] if leaf.ndim == 1 else leaf.reshape(-1, *leaf.shape[2:])

    return DeviceMap(
        # of this process alone: other hosts have blocks of their own
        jax.pmap(advance, donate_argnums=0, devices=jax.local_devices()[:devices]),
        lambda tree: jax.tree.map(cut, tree),
        lambda tree: jax.tree.map(join, tree),
    )


def map_shared(advance: Callable[..., Any], devices: int) -> DeviceMap:
    """Copy a function of one network to devices, each of which has a part of every step's blocks.

    Args:
      advance: as in `map_blocks`; it averages gradients and metrics over AXIS where n > 1.
      devices: n.
    """
    if devices == 1:
        return map_blocks(advance, 1)
    own = jax.local_devices()[:devices]
    mapped = jax.pmap(advance, AXIS, donate_argnums=0, devices=own)
    copied = jax.pmap(lambda _, tree: tree, in_axes=(0, None), devices=own)

    def copy(tree):
        return copied(jnp.arange(devices), tree)

    def first(tree):
        return jax.tree.map(lambda leaf: leaf[0], tree)

    def run(*given):
        state, metrics = mapped(*given)
        return state, first(metrics)

    return DeviceMap(run, copy, first)


def average(tree: Any) -> Any:
    """Average over the devices of a `map_shared`."""
    return jax.lax.pmean(tree, AXIS)
