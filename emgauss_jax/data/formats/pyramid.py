"""The levels of a pyramid: how far each is reduced, in which pieces, and its voxels as means."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import tensorstore as ts

from emgauss_jax.data.formats.interface import CHUNK, Slices

# Voxels along an edge of a task. A layer of its chunks is made of at most 128 x 512 x 512 voxels of
# the level before, which takes 110 MiB in uint8 and 440 MiB in float32, copies and all.
TASK_EDGE = 4 * CHUNK


class PyramidTask(NamedTuple):
    """A piece of a level, made at once; no two share a chunk."""

    name: str  # for the journal
    level: int
    box: Slices


def level_factors(
    shape: Sequence[int], voxel_nm: Sequence[float]
) -> tuple[tuple[int, int, int], ...]:
    """Choose the levels of a pyramid, isotropic first.

    From a level to the next those axes are halved whose voxel size is within a factor of sqrt(2)
    of the smallest, so that sizes approach each other as far as halving can bring them, and all
    axes are halved from there. An axis of one voxel is left alone.

    Args:
      shape: (D, H, W) of the volume.
      voxel_nm: (z, y, x), nm.

    Returns:
      Voxels of the volume in one voxel of each level, (z, y, x). The first level is the volume;
      the last is the first whose longest side is at most one chunk.
    """
    levels = [(1, 1, 1)]
    while True:
        factors = levels[-1]
        sides = [-(-length // factor) for length, factor in zip(shape, factors, strict=True)]
        if max(sides) <= CHUNK:
            return tuple(levels)
        sizes = [size * factor for size, factor in zip(voxel_nm, factors, strict=True)]
        smallest = min(size for size, side in zip(sizes, sides, strict=True) if side > 1)
        halved = [
            side > 1 and size <= smallest * 2**0.5 for size, side in zip(sizes, sides, strict=True)
        ]
        levels.append(tuple(f * 2 if h else f for f, h in zip(factors, halved, strict=True)))


def level_tasks(level: int, shape: Sequence[int]) -> tuple[PyramidTask, ...]:
    """Cut a level into tasks.

    Args:
      level: its number, for the names.
      shape: its (D, H, W).

    Returns:
      The tasks, x fastest; together they are the level.
    """
    starts = product(*(range(0, length, TASK_EDGE) for length in shape))
    return tuple(
        PyramidTask(
            f"level{level}-" + "-".join(str(a) for a in start),
            level,
            tuple(slice(a, min(a + TASK_EDGE, n)) for a, n in zip(start, shape, strict=True)),
        )
        for start in starts
    )


def mean_over(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Average boxes of voxels; where a box is cut off at the end, what there is of it.

    Args:
      array: [D, H, W], starting with a whole box.
      factors: edges of a box, (z, y, x).

    Returns:
      [D / z, H / y, W / x], rounded up, of the array's dtype; halves go to the even integer.
    """
    return ts.downsample(ts.array(array), list(factors), "mean").read().result()
