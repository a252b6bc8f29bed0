"""At which depths an output has its planes."""

import numpy as np
import pytest

from emgauss_jax.pipeline.output_grid import at_depths, by_factor, isotropic
from emgauss_jax.pipeline.run import prepare
from tests.tiny_runs import tiny


def test_samplings():
    observed = prepare(tiny(data__simulate_factor=0, data__crop="0:5,:,:")).observed
    assert isotropic(observed).z.tolist() == [0, 1, 2, 3, 4]
    half = by_factor(observed, 2.5)
    np.testing.assert_allclose(half.z, np.arange(11) / 2.5)
    np.testing.assert_allclose(half.voxel_nm, (4, 10, 10))
    np.testing.assert_allclose(at_depths(observed, [0.5, 2.0]).voxel_nm, (15, 10, 10))
    for bad in (0.5, float("nan")):
        with pytest.raises(ValueError, match="factor: got"):
            by_factor(observed, bad)
    for bad in ([4.5], [-1.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="wanted rising depths from 0 to 4"):
            at_depths(observed, bad)
