"""Estimate the standard error of every voxel of a reconstruction from its pseudo-labels.

The standard error of a label is the spread among the sources and within each source (a network's
views, or the two slices that a flow or an interpolation mixes), scaled to the error on held-out
slices at half the resolution. Without labels it is the difference of the two slices around a plane,
scaled on gaps twice as wide, which tends to make it too large. Of averaged slices only means of
planes can be judged, which tends to make it too small.
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
      labels: the pseudo-labels, if there are any.

    Returns:
      A function of depths f64[Q], input-slice units, to f32[Q, H, W], intensity (the unit interval
      is the data's range). At a valid thin slice it is 0: the slice's own noise does not count.
    """
    slices, z_valid = observed.unit_valid, observed.z_valid
    scale = np.float32(scale_between_slices(slices, z_valid))

    def planes(z: np.ndarray) -> np.ndarray:
        rough = scale * between_slices(slices, z_valid, z, observed.plan.profile)
        if labels is None:
            return rough
        index = np.interp(z, labels.z, np.arange(len(labels.z)))
        spread = between(labels.spread, index)
        known = (z > labels.z[0] - 1e-4) & (z < labels.z[-1] + 1e-4)  # no labels beyond
        return np.where(known[:, None, None], spread, rough)

    return planes


def scale_between_slices(slices: np.ndarray, z_valid: np.ndarray) -> float:
    """Compare the error of linear interpolation at hidden slices with that of `between_slices`.

    Returns:
      Error / expected error, both root mean squares; 1 if no slice can be hidden, or if the
      expected error is next to 0.
    """
    squares, expected = 0.0, 0.0
    for i in every_second(len(slices)):
        share = (z_valid[i] - z_valid[i - 1]) / (z_valid[i + 1] - z_valid[i - 1])
        guess = (1 - share) * slices[i - 1] + share * slices[i + 1]
        squares += float(np.square(slices[i] - guess).mean())
        expected += float(share * (1 - share) * np.square(slices[i + 1] - slices[i - 1]).mean())
    return float(np.sqrt(squares / expected)) if expected > 1e-3 * squares else 1.0
