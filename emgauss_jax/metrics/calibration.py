"""Does an estimate of the error know where and how large the error is?"""

import numpy as np
from scipy.ndimage import gaussian_filter

SMOOTHING = 3.0  # px: one voxel's error is a draw, that of a neighbourhood can be foretold


def calibrate(expected: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Compare standard errors with the errors made.

    Args:
      expected: f32[N, R, C], standard errors of N planes.
      error: f32[N, R, C], of either sign, in the same units.

    Returns:
      `correlation` of both, voxel by voxel, after a Gaussian of 3 px within each plane; `ratio` of
      the root mean squares, error by expected: above 1 the estimate is too small. The correlation
      is nan where either is constant; the ratio inf where 0 was expected.
    """
    constant = min(np.ptp(expected), np.ptp(error)) == 0
    pair = [gaussian_filter(np.abs(v), (0, SMOOTHING, SMOOTHING)) for v in (expected, error)]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan if constant else np.corrcoef(*(v.ravel() for v in pair))[0, 1]
        ratio = np.sqrt(np.square(error).mean() / np.square(expected).mean())
    return {"correlation": float(correlation), "ratio": float(ratio)}
