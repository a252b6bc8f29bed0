"""Depths between valid slices."""

import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.methods.base import Block, bracket


def block(valid):
    valid = np.array(valid, bool)
    return Block(jnp.zeros((len(valid), 4, 4)), jnp.arange(len(valid), dtype=jnp.float32), valid)


@pytest.mark.parametrize(
    ("valid", "z", "want"),
    [
        ([1, 1, 1, 1], 1.25, (1, 2, 0.25)),
        ([1, 1, 1, 1], 2.0, (2, 3, 0.0)),
        ([1, 1, 1, 1], 3.0, (3, 3, 0.0)),
        ([1, 0, 0, 1], 1.5, (0, 3, 0.5)),  # missing slices are a wider gap
        ([1, 0, 0, 1], 1.0, (0, 3, 1 / 3)),
        ([0, 1, 1, 0], 0.3, (1, 1, 0.0)),  # beyond the valid ones: clamp
        ([0, 1, 1, 0], 2.7, (2, 2, 0.0)),
        ([1, 1, 1, 1], -0.4, (0, 0, 0.0)),
    ],
)
def test_bracket(valid, z, want):
    got = bracket(block(valid), jnp.float32(z))
    assert (int(got.lower), int(got.upper)) == want[:2]
    np.testing.assert_allclose(got.fraction, want[2], atol=1e-6)
