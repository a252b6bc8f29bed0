"""Convert between a volume's grey levels and the [0, 1] intensity that methods work with.

The range is that of the tissue: a few extreme voxels do not set it, and neither does padding, which
lies apart from the tissue. Grey levels outside of it become intensities outside [0, 1].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.hot_pixels import without_hot_pixels

TAIL = 1e-3  # share of the voxels below and above the range
WIDE = 64  # grey levels: uint8 tissue that spans so many has the range 0 to 255
SAMPLE = 2**22  # voxels that the quantiles are taken from, at most


@dataclass(frozen=True)
class IntensityRange:
    """The grey levels that map to 0 and 1, and those of padding, which map to the nearer one."""

    low: float
    high: float
    padding: tuple[tuple[float, float], ...] = ()  # grey level, its share of all voxels

    @classmethod
    def of(cls, record: dict[str, Any]) -> "IntensityRange":
        """Make a range of its fields as JSON has them."""
        return cls(record["low"], record["high"], tuple(map(tuple, record["padding"])))

    def describe(self) -> str:
        """Describe the range in a few words, with the padding that was left out."""
        left_out = "".join(
            f", padding of {level:g} left out ({100 * share:.2g} % of the voxels)"
            for level, share in self.padding
        )
        return f"{self.low:.6g} to {self.high:.6g}{left_out}"

    @property
    def span(self) -> np.float32:
        """Grey levels from `low` to `high`."""
        return np.float32(self.high - self.low)


def find_range(observed: np.ndarray, dtype: np.dtype | type | None = None) -> IntensityRange:
    """Find the range of grey levels of the observed slices.

    Args:
      observed: only the valid observed slices, any shape; no held-out voxel may enter the range.
      dtype: of the volume, where the slices have another one (means of uint8 are float32).

    Returns:
      See `range_of`.

    Raises:
      InputError: a value is NaN or infinite.
    """
    bad = observed.size - int(np.isfinite(observed).sum())
    if bad:
        raise InputError(f"intensity: got {bad} NaN or infinite voxels, wanted finite values")
    return range_of(sampled(observed, SAMPLE), np.dtype(dtype or observed.dtype))


def sampled(values: np.ndarray, most: int) -> np.ndarray:
    """Take values at random places, the same in every run; all of them if there are no more."""
    if values.size <= most:
        return values.ravel()
    return values.flat[np.random.default_rng(0).integers(0, values.size, most)]


def range_of(sample: np.ndarray, dtype: np.dtype) -> IntensityRange:
    """Find the range of tissue from a sample of its voxels.

    Args:
      sample: [N], finite grey levels.
      dtype: of the volume.

    Returns:
      For uint8 0 to 255, unless the tissue spans less than WIDE levels. Else the quantiles TAIL and
      1 - TAIL; one grey level wide if they are equal. The least or the greatest value is padding,
      and left out, if it alone has more than TAIL of the voxels and lies farther from the other
      values than these span.
    """
    sample = np.sort(sample.astype(np.float64))
    ends = [(v, float((sample == v).mean())) for v in dict.fromkeys((sample[0], sample[-1]))]
    ends = [(level, share) for level, share in ends if share > TAIL]
    tissue = sample[~np.isin(sample, [level for level, _ in ends])]
    if not tissue.size:
        tissue = sample
    low, high = np.quantile(tissue, [TAIL, 1 - TAIL])
    padding = tuple(
        (float(level), share)
        for level, share in ends
        if high > low and max(low - level, level - high) > high - low
    )
    tissue = sample[~np.isin(sample, [level for level, _ in padding])]
    low, high = (float(value) for value in np.quantile(tissue, [TAIL, 1 - TAIL]))
    if dtype == np.uint8 and (high - low >= WIDE or high == low):
        return IntensityRange(0.0, 255.0)
    return IntensityRange(low, high if high > low else low + 1.0, padding)


def to_unit(values: np.ndarray, grey_range: IntensityRange) -> np.ndarray:
    """Map grey levels to the unit interval.

    Args:
      values: any shape, grey levels.
      grey_range: the grey levels that map to 0 and 1; values beyond them leave [0, 1], but padding
        maps to the nearer end.

    Returns:
      f32, the same shape.
    """
    values = np.asarray(values)
    wide = values.dtype.itemsize > 4 or (values.dtype.kind in "iu" and values.dtype.itemsize > 2)
    exact = np.float64 if wide else np.float32  # float32 would round such values
    unit = ((values.astype(exact) - exact(grey_range.low)) / exact(grey_range.span)).astype(
        np.float32, copy=False
    )
    for level, _ in grey_range.padding:
        unit[values == level] = np.float32(level > grey_range.low)
    return unit


def images_to_unit(images: np.ndarray, grey_range: IntensityRange) -> np.ndarray:
    """Map observed or reference images [..., H, W] to the unit interval, without hot pixels.

    A hot pixel lies more than the whole range outside of it, and is replaced; see
    `without_hot_pixels`.

    Returns:
      f32, the same shape.
    """
    span = float(grey_range.span)
    limits = (grey_range.low - span, grey_range.high + span)
    padding = [level for level, _ in grey_range.padding]
    return to_unit(without_hot_pixels(images, limits, padding)[0], grey_range)


def from_unit(values: np.ndarray, grey_range: IntensityRange, dtype: np.dtype | type) -> np.ndarray:
    """Map unit intensities back to grey levels.

    Args:
      values: any shape, unit intensities.
      grey_range: as given to `to_unit`.
      dtype: of the result; integers are rounded and clipped to its limits, so nothing wraps.

    Returns:
      The same shape, `dtype`.

    Raises:
      InputError: a value is NaN and `dtype` is an integer type, which cannot hold it.
    """
    grey = np.multiply(values, grey_range.high - grey_range.low, dtype=np.float64)
    grey += grey_range.low
    if not np.issubdtype(dtype, np.integer):
        return grey.astype(dtype)
    if np.isnan(grey).any():
        raise InputError(f"intensity: got {int(np.isnan(grey).sum())} NaN voxels, wanted none")
    limits = np.iinfo(dtype)
    np.rint(grey, out=grey)  # in place: a slab takes eight times its size already
    return np.clip(grey, limits.min, limits.max, out=grey).astype(dtype)
