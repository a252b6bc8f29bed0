"""A volume whose px are not square, read as one whose px are.

The coarser of y and x is resampled to the size of the finer one by cubic convolution. The kernel is
local: a voxel depends on four rows of the file, and never on which box is read.
Letters: R rows of the source along the resampled axis, N px, H W a plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import Place, Slices, Voxel
from emgauss_jax.data.handles import resolve_box
from emgauss_jax.data.intensity import IntensityRange, cleaned
from emgauss_jax.data.tiling import Box

ALIKE = 1e-3  # sizes that differ by less are one size, stored in float32
MOST = 10.0  # times the finer size: beyond it the sizes are wrong rather than the px so long


class Taps(NamedTuple):
    """Which rows of the source each px is made of."""

    rows: np.ndarray  # i64[4, N], counted from the first row of the crop
    weights: np.ndarray  # f64[4, N], they sum to 1


@dataclass(frozen=True, eq=False)
class SquarePixels:
    """A crop of a volume along one lateral axis, resampled there; it is read like a `Volume`.

    The first px centre stays where it is; the last one lies at or before that of the source.
    """

    source: Any  # a volume
    axis: int  # 1: y is resampled to the size of x; 2: x to the size of y
    first: int  # row of the source where the crop starts
    count: int  # R
    notes: tuple[str, ...]
    grey_range: IntensityRange | None = None  # once it is known: of the source

    @property
    def path(self) -> Any:
        """Of the source."""
        return self.source.path

    @property
    def dtype(self) -> np.dtype:
        """Of the source; integers are rounded and clipped to its limits."""
        return np.dtype(self.source.dtype)

    @property
    def format(self) -> str:
        """Of the source."""
        return self.source.format

    @property
    def voxel_given(self) -> bool:
        """Of the source."""
        return self.source.voxel_given

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        length = int(np.floor((self.count - 1) / self._step + 1e-6)) + 1
        return _replaced(self.source.shape, self.axis, length)

    @property
    def voxel_nm(self) -> Voxel:
        """Voxel size (z, y, x), of square px."""
        return _replaced(self.source.voxel_nm, self.axis, self.source.voxel_nm[3 - self.axis])

    @property
    def place(self) -> Place:
        """Where the first voxel lies: in the first row of the crop."""
        nm = self.first * self.source.voxel_nm[self.axis]
        return self.source.place.moved(_replaced((0.0, 0.0, 0.0), self.axis, nm))

    @property
    def _step(self) -> float:
        """Rows of the source from px to px, below 1."""
        return self.source.voxel_nm[3 - self.axis] / self.source.voxel_nm[self.axis]

    def absent_chunks(self, key: Any) -> tuple[int, int]:
        """Count the stored chunks that a box is made of: (those that are absent, all of them)."""
        box = resolve_box(key, self.shape)
        return self.source.absent_chunks(self._reach(box, self._taps(box)))

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a box, given as numpy slices of step 1; a NaN reaches all px it has a part in."""
        box = resolve_box(key, self.shape)
        drawn = np.empty([part.stop - part.start for part in box], self.dtype)
        if not drawn.size:
            return drawn
        taps = self._taps(box)
        planes = self.source[self._reach(box, taps)]
        taps = taps._replace(rows=taps.rows - taps.rows.min())
        known = self.grey_range or IntensityRange(-np.inf, np.inf, has_hot=False)
        for target, plane in zip(drawn, planes, strict=True):  # one by one: floats take much memory
            target[...] = _resampled(cleaned(plane, known), self.axis - 1, taps, known.padding)
        return drawn

    def crop_of(self, box: Box) -> Box:
        """Give the box of the source that a box along all of the resampled axis is made of."""
        start = _replaced(box.start, self.axis, self.first)
        return Box(start, _replaced(box.shape, self.axis, self.count))

    def of_range(self, grey_range: IntensityRange) -> "SquarePixels":
        """Know the source's grey range: hot pixels and padding are not spread over other px."""
        return replace(self, grey_range=grey_range)

    def _taps(self, box: Slices) -> Taps:
        part = box[self.axis]
        return cubic_taps(np.arange(part.start, part.stop) * self._step, self.count)

    def _reach(self, box: Slices, taps: Taps) -> Slices:
        """Find the box of the source that a box is made of."""
        low, high = (int(end) for end in (taps.rows.min(), taps.rows.max()))
        return _replaced(box, self.axis, slice(self.first + low, self.first + high + 1))


def squared(volume: Any, crop: Box, distance_nm: float) -> tuple[Any, Box]:
    """Give a volume square px, unless it has them.

    Args:
      volume: anything that is read like a `Volume`.
      crop: in voxels of the volume.
      distance_nm: of the slices.

    Returns:
      The volume, or one that is resampled as it is read; and the crop, in voxels of that.

    Raises:
      InputError: px so long that the sizes must be wrong, or longer than the slices are apart.
    """
    sizes = volume.voxel_nm
    fine, coarse = sorted(sizes[1:])
    if coarse <= (1 + ALIKE) * fine:
        return volume, crop
    got = f"{volume.path}: voxel_nm: got {' x '.join(f'{nm:g}' for nm in sizes)} nm (z, y, x)"
    if coarse > MOST * fine:
        raise InputError(f"{got}, wanted y and x within {MOST:g} times of each other")
    if coarse > (1 + ALIKE) * distance_nm:
        raise InputError(
            f"{got}, slices {distance_nm:g} nm apart, wanted y and x no longer than that: if the "
            "slices lie along another axis, transpose the volume"
        )
    axis = sizes.index(coarse, 1)
    resampled = SquarePixels(volume, axis, crop.start[axis], crop.shape[axis], volume.notes)
    length = resampled.shape[axis]
    box = Box(_replaced(crop.start, axis, 0), _replaced(crop.shape, axis, length))
    other, rows = ("x", "rows") if axis == 1 else ("y", "columns")
    note = (
        f"{'zyx'[axis]} px of {coarse:g} nm are resampled to {fine:g} nm, the size along {other}: "
        f"{resampled.count} {rows} become {length} (cubic)"
    )
    return replace(resampled, notes=(*volume.notes, note)), box


def cubic_taps(place: np.ndarray, count: int) -> Taps:
    """Find the rows that a cubic convolution takes, and their weights; ends are replicated.

    Args:
      place: f64[N], rows of the source, which lie at 0, 1, 2, ...
      count: R.

    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -1/2: it
      reproduces polynomials up to the second degree.
    """
    lower = np.floor(place).astype(np.int64)
    t = place - lower
    weights = [
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
    rows = np.clip(lower + np.arange(-1, 3)[:, None], 0, count - 1)
    return Taps(rows, np.stack(weights))


def _resampled(
    plane: np.ndarray, axis: int, taps: Taps, padding: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Resample a plane [H, W] along one of its axes; padding is not mixed with tissue."""
    along = (slice(None), None) if axis == 0 else (None, slice(None))
    values = [plane.take(rows, axis) for rows in taps.rows]
    nearer = taps.weights[1] >= taps.weights[2]
    nearest = np.where(nearer[along], values[1], values[2])
    is_padding = np.isin(nearest, [level for level, _ in padding])
    for level, _ in padding:
        values = [np.where(value == level, nearest, value) for value in values]
    weights = taps.weights.astype(np.result_type(plane.dtype, np.float32))
    # elementwise, in one order: a product of matrices would round otherwise in another box
    total = sum(w[along] * value for w, value in zip(weights, values, strict=True))
    if np.issubdtype(plane.dtype, np.integer):
        limits = np.iinfo(plane.dtype)
        total = np.rint(total).clip(limits.min, limits.max)
    return np.where(is_padding, nearest, total) if padding else total


def _replaced(values: Any, axis: int, value: Any) -> tuple[Any, ...]:
    """Give a tuple with another value for one axis."""
    return (*values[:axis], value, *values[axis + 1 :])
