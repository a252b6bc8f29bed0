"""What differs between blocks that learn each for itself and one network for all of them.

`block_axis` chooses between the two from a method; nothing else in this room asks which it is.
Letters: S fits of a chunk, B blocks, n devices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training import parallel
from emgauss_jax.training.minibatch import over_blocks


class BlockAxis(NamedTuple):
    """How the blocks of a volume become fits, and fits are spread over devices.

    `fits_of(blocks)`: the data of fits [S, ...], of blocks [B, ...].
    `one_fit(method, n)`: the method as one fit sees it; n devices each take a part of a minibatch.
    `spread(advance, n) -> parallel.DeviceMap`.
    `reduce(tree, n)`: gradients and metrics of one fit, from those of its devices.
    `devices(count)`: over how many devices so many fits are spread when they are cut into chunks.
    `shared_out(method, S)`: the count that n must divide: the fits of a chunk, or the minibatch.
    `at_once`: the most fits under one `vmap`; 0, as many as memory holds.
    """

    fits_of: Callable[[Block], Block]
    one_fit: Callable[[Method, int], Method]
    spread: Callable[[Callable[..., Any], int], parallel.DeviceMap]
    reduce: Callable[[Any, int], Any]
    devices: Callable[[int], int]
    shared_out: Callable[[Method, int], int]
    at_once: int


PER_BLOCK = BlockAxis(
    fits_of=lambda blocks: blocks,
    one_fit=lambda method, devices: method,
    spread=parallel.map_blocks,
    reduce=lambda tree, devices: tree,
    devices=lambda count: min(jax.local_device_count(), count),
    shared_out=lambda method, fits: fits,
    at_once=0,
)
SHARED = BlockAxis(
    fits_of=lambda blocks: jax.tree.map(lambda leaf: leaf[None], blocks),
    one_fit=over_blocks,
    spread=parallel.map_shared,
    reduce=lambda tree, devices: parallel.average(tree) if devices > 1 else tree,
    devices=lambda count: 1,
    shared_out=lambda method, fits: method.batch,
    at_once=1,  # every fit has a copy of all blocks
)


def block_axis(method: Method) -> BlockAxis:
    """Choose how a method meets the blocks of a volume."""
    return PER_BLOCK if method.per_block else SHARED
