"""How well expected errors predict the true ones: where errors are, and how large."""

import numpy as np
from scipy.ndimage import gaussian_filter

SMOOTHING = 3.0  # px; the error of one voxel is random, its local mean is predictable


def calibrate(expected: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Compare standard errors with the errors made.

    Args:
      expected: f32[N, R, C], standard errors of N planes.
      error: f32[N, R, C], true errors, signed, in the same units.

    Returns:
      `correlation`: Pearson's, of expected and absolute true error over all voxels, after a
      Gaussian of 3 px within each plane; nan if either is constant. `ratio`: the root mean square
      of the true error divided by that of the expected one. Above 1 the expected errors are too
      small; inf if all of them are 0.
    """
    constant = min(np.ptp(expected), np.ptp(error)) == 0
    pair = [gaussian_filter(np.abs(v), (0, SMOOTHING, SMOOTHING)) for v in (expected, error)]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan if constant else np.corrcoef(*(v.ravel() for v in pair))[0, 1]
        ratio = np.sqrt(np.square(error).mean() / np.square(expected).mean())
    return {"correlation": float(correlation), "ratio": float(ratio)}
