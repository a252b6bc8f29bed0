"""How well expected errors predict the true ones: where errors are, and how large.

Letters: N planes, R rows, C columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

SMOOTHING = 3.0  # px; the error of one voxel is random, its local mean is predictable
MARGIN = 12  # px around a part that smoothing looks at


class Moments(NamedTuple):
    """Sums over the voxels looked at so far."""

    count: int = 0
    squares: tuple[float, float] = (0.0, 0.0)  # of expected and true errors
    smooth: np.ndarray | float = 0.0  # f64[2, 3]: sums, and sums of products, of smoothed errors
    low: np.ndarray | float = np.inf  # f64[2], the least expected and true error
    high: np.ndarray | float = -np.inf


def add_errors(
    moments: Moments, expected: np.ndarray, error: np.ndarray, inner: Sequence[slice]
) -> Moments:
    """Look at a part of some planes.

    Args:
      moments: of the parts before.
      expected: f32[N, R, C], standard errors, with a margin of `MARGIN` px where the plane goes on.
      error: f32[N, R, C], true errors, signed, in the same units.
      inner: rows and columns without the margin.
    """
    if not len(expected):
        return moments
    inner = (slice(None), *inner)
    both = [each[inner].astype(np.float64).ravel() for each in (expected, error)]
    smooth = [
        gaussian_filter(np.abs(each), (0, SMOOTHING, SMOOTHING))[inner].astype(np.float64).ravel()
        for each in (expected, error)
    ]
    products = np.stack([[a.sum(), a @ smooth[0], a @ smooth[1]] for a in smooth])
    squares = tuple(total + float(v @ v) for total, v in zip(moments.squares, both, strict=True))
    low = np.minimum(moments.low, [v.min() for v in both])
    high = np.maximum(moments.high, [v.max() for v in both])
    count = moments.count + both[0].size
    return Moments(count, squares, moments.smooth + products, low, high)


def calibration_of(moments: Moments) -> dict[str, float]:
    """Compare standard errors with the errors made.

    Returns:
      `correlation`: Pearson's, of expected and absolute true error over all voxels, after a
      Gaussian of 3 px within each plane; nan if either is constant. `ratio`: the root mean square
      of the true error divided by that of the expected one. Above 1 the expected errors are too
      small; inf if all of them are 0.
    """
    correlation = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt(np.divide(moments.squares[1], moments.squares[0]))
        if (np.subtract(moments.high, moments.low) > 0).all():
            mean, second = (
                moments.smooth[:, 0] / moments.count,
                moments.smooth[:, 1:] / moments.count,
            )
            spread = second - np.outer(mean, mean)
            correlation = spread[0, 1] / np.sqrt(spread[0, 0] * spread[1, 1])
    return {"correlation": float(correlation), "ratio": float(ratio)}
