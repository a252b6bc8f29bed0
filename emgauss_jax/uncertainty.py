"""How wrong a reconstruction may be, voxel by voxel, as far as its pseudo-labels can tell.

Where there is a prior, all that enters it disagrees, and so do its network's views; as far as
interpolation enters it, and where there is no prior, neighbouring slices do. Both are scaled to the
true error on observed slices that were hidden: the first at half the resolution, the second over
twice the gap, which makes it rather too large. Of averaged slices only means of planes can be
judged, which makes the first rather too small there.
Letters: V valid slices, Q planes, H W field in px.
"""

from collections.abc import Callable

import numpy as np

from emgauss_jax.data.observed import Observed
from emgauss_jax.prior import Labels


def standard_error(observed: Observed, labels: Labels | None) -> Callable[[np.ndarray], np.ndarray]:
    """Estimate the standard error of planes.

    Args:
      observed: the observed slices.
      labels: of the prior, if there was one.

    Returns:
      A function of depths f64[Q], input-slice units, to f32[Q, H, W], intensity (the unit interval
      is the data's range). A thin slice that is valid has 0: its own noise is not counted.
    """
    slices, z_valid = observed.unit_valid, observed.z_valid
    thick = observed.plan.averaged
    scale = np.float32(scale_between_slices(slices, z_valid))

    def planes(z: np.ndarray) -> np.ndarray:
        rough = scale * between_slices(slices, z_valid, z, thick)
        if labels is None:
            return rough
        index = np.interp(z, labels.z, np.arange(len(labels.z)))
        lower = np.floor(index).astype(int)
        upper = np.minimum(lower + 1, len(labels.z) - 1)
        share = (index - lower).astype(np.float32)[:, None, None]
        spread = (1 - share) * labels.spread[lower] + share * labels.spread[upper]
        known = (z > labels.z[0] - 1e-4) & (z < labels.z[-1] + 1e-4)  # beyond, they say nothing
        weight = np.interp(z, labels.z, labels.weight) * known
        weight = weight.astype(np.float32)[:, None, None]
        return weight * spread + (1 - weight) * rough

    return planes


def between_slices(
    slices: np.ndarray, z_valid: np.ndarray, z: np.ndarray, thick: bool
) -> np.ndarray:
    """Give the standard deviation of a voxel that is one of its two neighbours.

    The chance of either is its interpolation weight; in a thick slice, whose planes are all
    unknown, even. Beyond the end slices it grows as it does near a slice.

    Args:
      slices: f32[V, H, W], two or more.
      z_valid: f32[V], their depths.
      z: f64[Q].
      thick: slices are means of planes.

    Returns:
      f32[Q, H, W], intensity.
    """
    lower = np.clip(np.searchsorted(z_valid, z, side="right") - 1, 0, len(z_valid) - 2)
    share = (z - z_valid[lower]) / (z_valid[lower + 1] - z_valid[lower])
    within = np.clip(share, 0.0, 1.0)
    deviation = np.sqrt(within * (1 - within) + np.abs(share - within))
    if thick:
        deviation = np.full(len(z), 0.5)
    return deviation.astype(np.float32)[:, None, None] * np.abs(slices[lower + 1] - slices[lower])


def scale_between_slices(slices: np.ndarray, z_valid: np.ndarray) -> float:
    """Measure linear interpolation at hidden slices by what `between_slices` expects.

    Returns:
      Error by expectation, both root mean squares; 1 where there is nothing to hide, or where
      nothing is expected.
    """
    squares, expected = 0.0, 0.0
    for i in range(1, len(slices) - 1, 2):
        share = (z_valid[i] - z_valid[i - 1]) / (z_valid[i + 1] - z_valid[i - 1])
        guess = (1 - share) * slices[i - 1] + share * slices[i + 1]
        squares += float(np.square(slices[i] - guess).mean())
        expected += float(share * (1 - share) * np.square(slices[i + 1] - slices[i - 1]).mean())
    return float(np.sqrt(squares / expected)) if expected > 1e-3 * squares else 1.0
