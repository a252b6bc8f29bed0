"""How wrong a reconstruction may be, voxel by voxel.

Where there is a prior, its views disagree; where there is none, neighbouring slices do. Both are
scaled so that they had the size of the true error on observed slices that were hidden.
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
      f32[Q, H, W], intensity (the unit interval is the data's range); 0 on a valid slice, whose
      noise is not counted.
    """
    slices = observed.unit_slices[observed.plan.valid]
    rough = between_slices(slices, observed.z_valid, z, thick=len(observed.thickness) > 1)
    rough *= scale_between_slices(slices)
    if labels is None:
        return rough
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


def scale_between_slices(slices: np.ndarray) -> float:
    """Measure the error of linear interpolation by `between_slices`, hiding every other slice."""
    if len(slices) < 3:
        return 1.0
    before, hidden, after = slices[:-2:2], slices[1:-1:2], slices[2::2]
    error = hidden - (before + after) / 2
    return float(np.sqrt((error**2).mean() / max(((after - before) ** 2).mean() / 4, 1e-12)))
