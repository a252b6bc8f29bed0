"""Convert between a volume's grey levels and the [0, 1] intensity that methods work with.

The range is that of the tissue: a few extreme voxels do not set it, and neither does padding, which
lies apart from the tissue. Grey levels outside of it become intensities outside [0, 1].
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.hot_pixels import without_hot_pixels

TAIL = 1e-3  # share of the voxels below and above the range
PADDING = 1e-2  # least share of padding; a value with less may be a structure
FEW = (16, 1e-5)  # voxels, or their share: of more that lie far outside, none is a hot pixel
WIDE = 64  # grey levels: uint8 tissue that spans so many has the range 0 to 255
SAMPLE = 2**22  # voxels that the quantiles are taken from, at most


@dataclass(frozen=True)
class IntensityRange:
    """The grey levels that map to 0 and 1, and those of padding, which map to the nearer one."""

    low: float
    high: float
    padding: tuple[tuple[float, float], ...] = ()  # grey level, its share of all voxels
    far: int = 0  # voxels more than `span` outside, of those that were looked at
    has_hot: bool = True  # they are few: single ones and pairs are hot pixels

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "IntensityRange":
        """Make a range of its fields as JSON has them."""
        return cls(**record | {"padding": tuple(map(tuple, record.get("padding", ())))})

    def describe(self) -> str:
        """Describe the range in a few words, with the padding that was left out."""
        left_out = "".join(
            f", padding of {level:g} left out ({100 * share:.2g} % of the voxels)"
            for level, share in self.padding
        )
        apart = max(abs(self.low), abs(self.high)) / (self.high - self.low)
        digits = 4 + max(0, math.ceil(math.log10(apart)))  # so that the two can be told apart
        return f"{self.low:.{digits}g} to {self.high:.{digits}g}{left_out}{self._describe_far()}"

    def _describe_far(self) -> str:
        if not self.far:
            return ""
        voxels = f"{self.far} voxel{'s' if self.far > 1 else ''} far outside"
        if self.has_hot:
            return f", {voxels}: single px and pairs are replaced as hot"
        return f", {voxels}: structures, which are kept"

    @property
    def limits(self) -> tuple[float, float]:
        """The grey levels that lie one span outside of the range."""
        return (2 * self.low - self.high, 2 * self.high - self.low)

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
      values than these span. If it has less than PADDING, it is left out of the range alone.
    """
    sample = sample.astype(np.float64)
    apart = _apart(sample)
    tissue = sample[~np.isin(sample, list(apart))]
    low, high = (float(value) for value in np.quantile(tissue, [TAIL, 1 - TAIL]))
    if dtype == np.uint8 and (high - low >= WIDE or high == low):
        return IntensityRange(0.0, 255.0)
    padding = tuple((level, share) for level, share in apart.items() if share >= PADDING)
    found = IntensityRange(low, high if high > low else low + 1.0, padding)
    beyond = (sample < found.limits[0]) | (sample > found.limits[1])
    far = int(np.sum(beyond & ~np.isin(sample, [level for level, _ in padding])))
    return replace(found, far=far, has_hot=far <= max(FEW[0], FEW[1] * sample.size))


def _apart(sample: np.ndarray) -> dict[float, float]:
    """Find the ends of a sample that lie apart from all else: grey level -> share."""
    ends = {float(v): float((sample == v).mean()) for v in (sample.min(), sample.max())}
    ends = {level: share for level, share in ends.items() if share > TAIL}
    rest = sample[~np.isin(sample, list(ends))]
    if not rest.size:
        return {}
    low, high = np.quantile(rest, [TAIL, 1 - TAIL])
    return {
        level: share
        for level, share in ends.items()
        if high > low and max(low - level, level - high) > high - low
    }


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

    Returns:
      f32, the same shape.
    """
    return to_unit(cleaned(images, grey_range), grey_range)


def cleaned(images: np.ndarray, grey_range: IntensityRange) -> np.ndarray:
    """Replace the hot pixels of images [..., H, W], if they have any: see `without_hot_pixels`."""
    if not grey_range.has_hot:
        return images
    padding = [level for level, _ in grey_range.padding]
    return without_hot_pixels(images, grey_range.limits, padding)


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
