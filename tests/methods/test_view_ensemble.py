"""The standard error of a network with several views, judged on hidden slices."""

import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods import axial_rows
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.view_ensemble import error_by_spread


def block(z, seed=0):
    values = np.random.default_rng(seed).uniform(size=(len(z), 8, 6)).astype(np.float32)
    return Block(jnp.asarray(values), jnp.asarray(z, jnp.float32), jnp.ones(len(z), bool))


def two_views(block, z):
    """Linear interpolation, a tenth too low and a tenth too high."""
    planes = axial_rows.between(block.slices.reshape(len(block.z), -1), z)
    planes = planes.reshape(len(z), *block.slices.shape[1:])
    return jnp.stack([planes - 0.1, planes + 0.1])


def test_thin_slices_beside_a_gap_are_not_judged():
    given = block([0, 1, 2, 4, 5, 6, 7])
    fine = np.asarray(given.slices).reshape(7, 4, 2, 3, 2).mean((2, 4))
    errors = [(fine[i - 1] + fine[i + 1]) / 2 - fine[i] for i in (1, 5)]  # 3 has a gap below
    want = np.sqrt(np.mean(np.square(errors))) / 0.1
    np.testing.assert_allclose(error_by_spread(two_views, given, THIN), want, rtol=1e-4)


def thick_errors(fine):
    """Errors of slices drawn from means of two, each the mean of two planes a quarter off it."""
    coarse = (fine[::2] + fine[1::2]) / 2

    def at(z):
        low = int(np.clip(np.floor(z), 0, len(coarse) - 2))
        share = np.clip(z - low, 0, 1)  # beyond the ends they go on
        return (1 - share) * coarse[low] + share * coarse[low + 1]

    middles = (np.arange(len(fine)) - 0.5) / 2
    return np.stack([(at(z - 0.125) + at(z + 0.125)) / 2 for z in middles]) - fine


def test_thick_slices_near_a_gap_are_not_judged():
    """Of the pairs 0 1, 2 3, 4 5, 7 8, 9 10 two have the gap between them and a neighbour."""
    given = block([0, 1, 2, 3, 4, 5, 7, 8, 9, 10])
    fine = np.asarray(given.slices).reshape(10, 4, 2, 3, 2).mean((2, 4))
    errors = thick_errors(fine)[[0, 1, 2, 3, 8, 9]]
    want = np.sqrt(np.mean(np.square(errors))) / 0.1
    np.testing.assert_allclose(error_by_spread(two_views, given, averaged(4)), want, rtol=1e-4)


@pytest.mark.parametrize(("profile", "most"), [(THIN, 2), (averaged(4), 3)])
def test_where_nothing_can_be_hidden_the_spread_is_the_error(profile, most):
    """Of thin slices one in the middle of three is hidden, of thick ones two make one."""
    scales = [error_by_spread(two_views, block(range(n)), profile) for n in range(1, most + 2)]
    assert scales[:-1] == [1] * most
    assert scales[-1] != 1


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_where_every_slice_lies_beside_a_gap_all_are_judged(profile):
    z = [0, 1, 3, 4, 6, 7]
    gappy, plain = (error_by_spread(two_views, block(at), profile) for at in (z, range(6)))
    assert gappy == plain != 1
