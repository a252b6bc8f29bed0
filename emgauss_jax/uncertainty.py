"""How wrong a reconstruction may be, voxel by voxel.

Where there is a prior, its views disagree; where there is none, neighbouring slices do. Both are
scaled to the size of the true error on observed slices that were hidden: the views' at half the
resolution, the slices' over twice the gap, which makes the latter rather too large.
Letters: V valid slices, Q planes, H W field in px.
"""

import numpy as np

from emgauss_jax.data.observed import Observed
from emgauss_jax.prior import Labels


def standard_error(observed: Observed, labels: Labels | None, z: np.ndarray) -> np.ndarray:
    """Estimate the standard error of planes.

    Args:
      observed: the observed slices.
      labels: of the prior, if there was one.
      z: f64[Q], input-slice units.

    Returns:
      f32[Q, H, W], intensity (the unit interval is the data's range). A thin slice that is valid
      has 0: its own noise is not counted.
    """
    slices, z_valid = observed.unit_valid, observed.z_valid
    thick = observed.plan.averaged
    rough = scale_between_slices(slices, z_valid) * between_slices(slices, z_valid, z, thick)
    if labels is None:
        return rough.astype(np.float32)
    index = np.interp(z, labels.z, np.arange(len(labels.z)))
    lower = np.floor(index).astype(int)
    upper, share = np.minimum(lower + 1, len(labels.z) - 1), (index - lower)[:, None, None]
    spread = (1 - share) * labels.spread[lower] + share * labels.spread[upper]
    weight = np.interp(z, labels.z, labels.weight)[:, None, None]
    return (weight * spread + (1 - weight) * rough).astype(np.float32)


def between_slices(
    slices: np.ndarray, z_valid: np.ndarray, z: np.ndarray, thick: bool
) -> np.ndarray:
    """Give the standard deviation f32[Q, H, W] of a voxel that is one of its two neighbours.

    The chance of either is its interpolation weight; in a thick slice, whose planes are all
    unknown, even.
    """
    lower = np.clip(np.searchsorted(z_valid, z, side="right") - 1, 0, len(z_valid) - 2)
    share = np.clip((z - z_valid[lower]) / (z_valid[lower + 1] - z_valid[lower]), 0.0, 1.0)
    deviation = np.full(len(z), 0.5) if thick else np.sqrt(share * (1 - share))
    return deviation.astype(np.float32)[:, None, None] * np.abs(slices[lower + 1] - slices[lower])


def scale_between_slices(slices: np.ndarray, z_valid: np.ndarray) -> float:
    """Measure linear interpolation at hidden slices by what `between_slices` expects."""
    squares, expected = [], []
    for i in range(1, len(slices) - 1, 2):
        share = (z_valid[i] - z_valid[i - 1]) / (z_valid[i + 1] - z_valid[i - 1])
        guess = (1 - share) * slices[i - 1] + share * slices[i + 1]
        squares.append(np.square(slices[i] - guess).mean())
        expected.append(share * (1 - share) * np.square(slices[i + 1] - slices[i - 1]).mean())
    return float(np.sqrt(sum(squares) / max(sum(expected), 1e-12))) if squares else 1.0
