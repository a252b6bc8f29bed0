"""Convert between a volume's grey levels and the [0, 1] intensity that methods work with."""

from dataclasses import dataclass

import numpy as np

from emgauss_jax.data.errors import InputError


@dataclass(frozen=True)
class IntensityRange:
    """The grey levels that map to 0 and 1."""

    low: float
    high: float

    @property
    def span(self) -> np.float32:
        """Grey levels from `low` to `high`."""
        return np.float32(self.high - self.low)

    def describe(self) -> str:
        """Give the range in words: "0 to 255"."""
        return f"{self.low:.6g} to {self.high:.6g}"


def find_range(observed: np.ndarray, dtype: np.dtype | type | None = None) -> IntensityRange:
    """Find the range of grey levels of the observed slices.

    Args:
      observed: only the valid observed slices, any shape; no held-out voxel may enter the range.
      dtype: of the volume, where the slices have another one (means of uint8 are float32).

    Returns:
      0 to 255 for uint8 whatever the values, else the least to the greatest value; one grey level
      wide if all values are equal.

    Raises:
      InputError: a value is NaN or infinite.
    """
    bad = observed.size - int(np.isfinite(observed).sum())
    if bad:
        raise InputError(f"intensity: got {bad} NaN or infinite voxels, wanted finite values")
    if np.dtype(dtype or observed.dtype) == np.uint8:
        return IntensityRange(0.0, 255.0)
    return spanning(float(observed.min()), float(observed.max()))


def spanning(low: float, high: float) -> IntensityRange:
    """Make the range from low to high; one grey level wide if they are equal."""
    return IntensityRange(low, high if high > low else low + 1.0)


def to_unit(values: np.ndarray, grey_range: IntensityRange) -> np.ndarray:
    """Map grey levels to the unit interval.

    Args:
      values: any shape, grey levels.
      grey_range: the grey levels that map to 0 and 1; values beyond them leave [0, 1].

    Returns:
      f32, the same shape.
    """
    return (np.asarray(values, np.float32) - np.float32(grey_range.low)) / grey_range.span


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
