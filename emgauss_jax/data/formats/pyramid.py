"""The levels of a pyramid: their downsampling factors, their tasks, and the mean over voxels."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import tensorstore as ts

from emgauss_jax.data.formats.interface import CHUNK, Slices

# Voxels along an edge of a task, or more where a file is longer. A layer of it averages at most 128
# x 512 x 512 voxels of the next finer level, which takes 110 MiB in uint8 and 440 MiB in float32,
# copies included.
TASK_EDGE = 4 * CHUNK


class PyramidTask(NamedTuple):
    """A box of a level that one process writes; no two tasks share a file."""

    name: str  # for the journal
    level: int
    box: Slices


def level_factors(
    shape: Sequence[int], voxel_nm: Sequence[float]
) -> tuple[tuple[int, int, int], ...]:
    """Choose the levels of a pyramid, which first become isotropic and then coarser on all axes.

    Each level halves the axes of the level before whose voxel size is within a factor of sqrt(2)
    of the smallest. So the sizes approach each other as far as halving allows, and then all axes
    are halved. An axis of one voxel is never halved.

    Args:
      shape: (D, H, W) of the volume.
      voxel_nm: (z, y, x), nm.

    Returns:
      Voxels of the volume per voxel of each level, (z, y, x). The first level is the volume; the
      last level is the first one whose longest side is at most one chunk.
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


def whole_files(edges: Sequence[int], file: Sequence[int]) -> tuple[int, int, int]:
    """Round the edges of a box up to whole files, (z, y, x), voxels."""
    return tuple(-(-edge // length) * length for edge, length in zip(edges, file, strict=True))


def level_tasks(
    level: int, shape: Sequence[int], file: Sequence[int] = (CHUNK,) * 3
) -> tuple[PyramidTask, ...]:
    """Cut a level into tasks.

    Args:
      level: number of the level, used in the tasks' names.
      shape: (D, H, W) of the level, voxels.
      file: edge lengths of a file of the level, (z, y, x), voxels: a chunk, or a shard.

    Returns:
      The tasks, x fastest; together they cover the level.
    """
    edges = whole_files((TASK_EDGE,) * 3, file)
    starts = product(*(range(0, n, edge) for n, edge in zip(shape, edges, strict=True)))
    return tuple(
        PyramidTask(
            f"level{level}-" + "-".join(str(a) for a in start),
            level,
            tuple(
                slice(a, min(a + edge, n)) for a, edge, n in zip(start, edges, shape, strict=True)
            ),
        )
        for start in starts
    )


def mean_over(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Average boxes of voxels; a box cut off at the array's end averages the voxels it has.

    Args:
      array: [D, H, W], starting with a whole box.
      factors: edges of a box, (z, y, x), voxels.

    Returns:
      [D / z, H / y, W / x], rounded up, of the array's dtype; halves round to the even integer.
    """
    return ts.downsample(ts.array(array), list(factors), "mean").read().result()
