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


def test_planes_are_evenly_spaced_where_slices_are_not():
    """In nm, from the first slice of the crop; what is drawn is told input-slice units."""
    changes = {
        "data__simulate_factor": 0,
        "data__phantom_shape": (7, 32, 28),
        "data__z_nm": "0,70,100,150,170,230,299",
        "data__crop": "1:6,:,:",  # gaps of 30, 50, 20 and 60
    }
    observed = prepare(tiny(**changes)).observed
    grid = isotropic(observed)
    assert grid.voxel_nm == (10, 10, 10) and len(grid.z) == 17
    want = [0, 1 / 3, 2 / 3, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, *(3 + np.arange(1, 7) / 6)]
    np.testing.assert_allclose(grid.z, want, atol=1e-12)
    half = by_factor(observed, 2)  # the mean distance is 40
    np.testing.assert_allclose(half.voxel_nm, (20, 10, 10))
    np.testing.assert_allclose(half.z, want[::2], atol=1e-12)
    at = at_depths(observed, [0.5, 1.5, 3.5])  # 15, 55 and 130 nm
    np.testing.assert_allclose(at.voxel_nm, (57.5, 10, 10))
    assert at.z.tolist() == [0.5, 1.5, 3.5] and at_depths(observed, [1.0]).voxel_nm[0] == 40
    lost = isotropic(prepare(tiny(data__missing=(2,), **changes)).observed)
    np.testing.assert_allclose(lost.z[3:11], 1 + 2 * np.arange(8) / 7)  # 30 to 100 nm
