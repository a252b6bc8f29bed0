"""Boxes with overlap that tile a volume, and the weights that blend them without seams.

Letters: D H W volume, L length of one axis in voxels, P coordinates.
Along each axis block i fades into block i + 1 by one ramp inside their overlap. The weight of a
block is the difference of the ramps at its two ends, so the weights of all blocks telescope to
exactly 1 everywhere, also where more than two blocks overlap.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.errors import InputError

RIM = 4  # px at a block's border with blending weight 0, where the overlap is wide enough


class Box(NamedTuple):
    """An axis-aligned part of a volume, in voxels."""

    start: tuple[int, int, int]  # z, y, x
    shape: tuple[int, int, int]  # z, y, x

    @property
    def stop(self) -> tuple[int, int, int]:
        """The first voxel after the box on each axis."""
        return tuple(a + n for a, n in zip(self.start, self.shape, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index that cuts the box out of a zyx array."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def moved(self, by: Sequence[int]) -> "Box":
        """Return the same box, moved by (z, y, x) voxels."""
        return Box(tuple(a + n for a, n in zip(self.start, by, strict=True)), self.shape)

    def grown(self, by: Sequence[int], within: Sequence[int]) -> "Box":
        """Return the box with (z, y, x) more voxels on both sides, as far as a volume has them."""
        start = tuple(max(0, a - n) for a, n in zip(self.start, by, strict=True))
        stop = (min(b + n, most) for b, n, most in zip(self.stop, by, within, strict=True))
        return Box(start, tuple(b - a for a, b in zip(start, stop, strict=True)))


def even_boxes(shape: Sequence[int], most: Sequence[int]) -> tuple[Box, ...]:
    """Cut a volume into boxes that do not overlap, alike but for a voxel a side; x fastest.

    Args:
      shape: D, H, W of the volume, voxels.
      most: the largest box allowed, z, y, x, voxels.
    """
    axes = []
    for length, limit in zip(shape, most, strict=True):
        count = -(-length // limit)
        axes.append(itertools.pairwise([i * length // count for i in range(count + 1)]))
    return tuple(
        Box(tuple(a for a, _ in each), tuple(b - a for a, b in each))
        for each in itertools.product(*axes)
    )


def axis_starts(length: int, max_size: int, overlap: int) -> tuple[tuple[int, ...], int]:
    """Spread the fewest equal blocks evenly over one axis.

    Args:
      length: voxels on the axis.
      max_size: the largest block allowed, voxels.
      overlap: the least number of voxels neighbours share.

    Returns:
      The start of every block, the first 0 and the last `length - size`, and the common size.

    Raises:
      InputError: no such blocks exist.
    """
    if length < 1:
        raise InputError(f"axis length: got {length}, wanted 1 or more")
    if not 0 <= overlap < max_size:
        raise InputError(f"overlap: got {overlap}, wanted 0 to {max_size - 1} (block {max_size})")
    if length <= max_size:
        return (0,), length
    count = -(-(length - overlap) // (max_size - overlap))
    size = -(-(length + (count - 1) * overlap) // count)
    # Rounding down keeps every step at most ceil(mean step) <= size - overlap.
    return tuple(i * (length - size) // (count - 1) for i in range(count)), size


class Grid(NamedTuple):
    """Boxes of equal size, one at every combination of starts: a whole grid or a part of it."""

    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # of the boxes, z, y, x
    size: tuple[int, int, int]  # of every box, voxels

    @property
    def boxes(self) -> tuple[Box, ...]:
        """All boxes, x fastest."""
        return tuple(Box(start, self.size) for start in itertools.product(*self.starts))

    @property
    def count(self) -> int:
        """How many boxes there are."""
        return math.prod(map(len, self.starts))

    @property
    def bounds(self) -> Box:
        """The box around all boxes."""
        shape = (s[-1] - s[0] + n for s, n in zip(self.starts, self.size, strict=True))
        return Box(tuple(s[0] for s in self.starts), tuple(shape))

    def parts(self, most: Sequence[int]) -> tuple["Grid", ...]:
        """Group neighbouring boxes as evenly as possible, at most `most` along z, y, x."""
        groups = []
        for starts, limit in zip(self.starts, most, strict=True):
            count = -(-len(starts) // limit)
            ends = [i * len(starts) // count for i in range(count + 1)]
            groups.append([starts[a:b] for a, b in itertools.pairwise(ends)])
        return tuple(Grid(part, self.size) for part in itertools.product(*groups))


def block_grid(shape: Sequence[int], max_size: Sequence[int], overlap: Sequence[int]) -> Grid:
    """Tile a volume with equal boxes.

    Args:
      shape: D, H, W of the volume, voxels.
      max_size: the largest box allowed, z, y, x, voxels.
      overlap: the least overlap of neighbours, z, y, x, voxels.

    Raises:
      InputError: an overlap does not fit its block.
    """
    axes = [axis_starts(*axis) for axis in zip(shape, max_size, overlap, strict=True)]
    return Grid(tuple(starts for starts, _ in axes), tuple(size for _, size in axes))


def _ramp(coords: np.ndarray, before: int, after: int, size: int, rim: int) -> np.ndarray:
    """Rise from 0 to 1 across the overlap of the blocks that start at `before` and `after`."""
    overlap = before + size - after
    rim = max(1, min(rim, overlap // 4))
    low, high = after + rim - 1, before + size - rim
    if high <= low:  # one shared voxel or none: nothing to ramp over
        return (coords >= after).astype(np.float64)
    return np.clip((coords - low) / (high - low), 0.0, 1.0)


def axis_weight(
    coords: np.ndarray, start: int, starts: Sequence[int], size: int, rim: int = RIM
) -> np.ndarray:
    """Compute the blending weight of one block along an axis at any, also fractional, coordinates.

    Args:
      coords: f[P], voxels (in z: slices) from the start of the axis.
      start: where this block starts, one of `starts`.
      starts: where all blocks of the axis start, ascending.
      size: the blocks' common size, voxels.
      rim: voxels at a block's inner border with weight exactly 0, at most a quarter of the overlap
        (the outermost voxel always has weight 0, the ramp starts there).

    Returns:
      f64[P], 0 outside the block's inner borders; over all blocks of the axis the sum is 1.
      Continuous in the coordinate where neighbours share two voxels or more.
    """
    coords = np.asarray(coords, np.float64)
    i = list(starts).index(start)
    rise = np.ones_like(coords) if i == 0 else _ramp(coords, starts[i - 1], start, size, rim)
    if i == len(starts) - 1:
        return rise
    return rise - _ramp(coords, start, starts[i + 1], size, rim)


def blend_weights(
    part: Grid, grid: Grid, coords: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the blending weights of some boxes of a grid, one factor per axis.

    Args:
      part: neighbouring boxes of `grid`: a single one, several or all.
      grid: the whole grid, from `block_grid`.
      coords: f[P] for each axis, voxels (in z: slices) from the start of the grid.

    Returns:
      Three f64[P]; a voxel's weight is their product. The weights of parts that make up the grid
      add up to 1 everywhere.
    """
    return tuple(
        sum(axis_weight(along, start, starts, size) for start in chosen)
        for along, chosen, starts, size in zip(
            coords, part.starts, grid.starts, grid.size, strict=True
        )
    )


def border_lines(
    grid: Grid, shape_yx: Sequence[int], within: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Mark the rows and columns near a lateral block border, where seams would show.

    Args:
      grid: the whole grid, from `block_grid`.
      shape_yx: H, W of the volume, px.
      within: px marked on each side of every border.

    Returns:
      bool[H] and bool[W]; a pixel is near a border if its row or its column is. A border lies
      between two pixels, and the volume's own edge does not count.
    """
    near = []
    for axis, length in zip((1, 2), shape_yx, strict=True):
        size = grid.size[axis]
        edges = {edge for start in grid.starts[axis] for edge in (start, start + size)}
        inner = np.array(sorted(edges - {0, length}), np.float64) - 0.5
        gap = np.abs(np.arange(length)[:, None] - inner[None])
        near.append((gap < within).any(axis=1))
    return near[0], near[1]
