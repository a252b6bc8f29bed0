"""Linear interpolation as a method equals the interpolation it stands beside in reports."""

import jax.numpy as jnp
import numpy as np

from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import baselines
from emgauss_jax.methods.linear import method


def test_it_is_the_interpolation_of_reports_across_a_missing_slice_too():
    slices = np.random.default_rng(0).random((5, 3, 4), np.float32)
    valid = np.array([True, True, False, True, True])
    block, z = Block(slices, np.arange(5, dtype=np.float32), valid), np.arange(0, 4.1, 0.25)
    want = baselines(block, z, ("linear",))["linear"]
    made = method.build().predict({}, Block(*map(jnp.asarray, block[:3])), jnp.float32(z))
    np.testing.assert_allclose(made, want, atol=1e-6)
