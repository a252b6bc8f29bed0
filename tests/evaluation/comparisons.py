"""Comparisons of arrays, for tests."""

import numpy as np

from emgauss_jax.data.array_volume import of_array
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.simulate import degrade_plan
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box
from emgauss_jax.evaluation.comparison import compare


def compared(prediction, reference, factor=4, degradation="subsample", missing=(), method="ours"):
    """Compare float arrays whose grey levels are intensities."""
    plan = degrade_plan(len(reference), factor, degradation, missing)
    volumes = [
        of_array(np.asarray(each, np.float32), (1.0, 1.0, 1.0)) for each in (prediction, reference)
    ]
    observed = SliceStack(
        volume=volumes[1],
        box=Box((0, 0, 0), reference.shape),
        plan=plan,
        first=0,
        grey_range=IntensityRange(0.0, 1.0, has_hot=False),
        voxel_nm=(float(factor), 1.0, 1.0),
        suffix="",
        format=None,
    )
    return compare(observed, volumes[0], method)
