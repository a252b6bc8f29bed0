"""How wrong a reconstruction may be, voxel by voxel, as far as its pseudo-labels can tell.

The standard error of a label is the spread of what enters it, between sources and within each (a
network's views, the two slices of a flow, the two that are interpolated between), scaled to the
error on held-out slices at half the resolution. Without labels it is the difference of the two
slices around a plane, scaled over twice the gap, which makes it rather too large. Of averaged
slices only means of planes can be judged, which makes it rather too small there.
Letters: V valid slices, Q planes, H W field in px.
"""

from collections.abc import Callable

import numpy as np

from emgauss_jax.data.slice_profile import every_second
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.methods.axial_rows import between
from emgauss_jax.methods.interpolate import between_slices
from emgauss_jax.pseudo_labels.store import Labels


def standard_error(
    observed: SliceStack, labels: Labels | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Estimate the standard error of planes.

    Args:
      observed: the observed slices.
      labels: of the prior, if there was one.

    Returns:
      A function of depths f64[Q], input-slice units, to f32[Q, H, W], intensity (the unit interval
      is the data's range). A thin slice that is valid has 0: its own noise is not counted.
    """
    slices, z_valid = observed.unit_valid, observed.z_valid
    scale = np.float32(scale_between_slices(slices, z_valid))

    def planes(z: np.ndarray) -> np.ndarray:
        rough = scale * between_slices(slices, z_valid, z, observed.plan.profile)
        if labels is None:
            return rough
        index = np.interp(z, labels.z, np.arange(len(labels.z)))
        spread = between(labels.spread, index)
        known = (z > labels.z[0] - 1e-4) & (z < labels.z[-1] + 1e-4)  # beyond, they say nothing
        return np.where(known[:, None, None], spread, rough)

    return planes


def scale_between_slices(slices: np.ndarray, z_valid: np.ndarray) -> float:
    """Measure linear interpolation at hidden slices by what `between_slices` expects.

    Returns:
      Error by expectation, both root mean squares; 1 where there is nothing to hide, or where
      nothing is expected.
    """
    squares, expected = 0.0, 0.0
    for i in every_second(len(slices)):
        share = (z_valid[i] - z_valid[i - 1]) / (z_valid[i + 1] - z_valid[i - 1])
        guess = (1 - share) * slices[i - 1] + share * slices[i + 1]
        squares += float(np.square(slices[i] - guess).mean())
        expected += float(share * (1 - share) * np.square(slices[i + 1] - slices[i - 1]).mean())
    return float(np.sqrt(squares / expected)) if expected > 1e-3 * squares else 1.0
