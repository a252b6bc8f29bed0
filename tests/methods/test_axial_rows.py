"""Rows between and instead of observed ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods import axial_rows, interpolate
from emgauss_jax.methods.base import Block


def test_the_mean_preserving_interpolation_is_that_of_the_baselines():
    values = np.random.default_rng(0).uniform(size=(7, 5)).astype(np.float32)
    place = np.linspace(-0.7, 6.6, 41)
    want = interpolate.weights("cubic_mean", np.arange(7), place) @ values
    got = axial_rows.mean_preserving(jnp.asarray(values), jnp.asarray(place, jnp.float32))
    np.testing.assert_allclose(got, want, atol=1e-5)


def block(z, seed=0):
    values = np.random.default_rng(seed).uniform(size=(len(z), 3, 4)).astype(np.float32)
    return Block(jnp.asarray(values), jnp.asarray(z, jnp.float32), jnp.ones(len(z), bool))


def test_a_stack_without_gaps_is_as_it_was():
    given = block([4, 5, 6])
    stack = axial_rows.stack_of(given, axial_rows.Missing())
    np.testing.assert_array_equal(stack.slices, given.slices)
    assert stack.valid.all() and stack.first == 4


def test_missing_slices_have_rows_of_their_own():
    """Two before the first, two between, one after the last; ends go on."""
    given = block([2, 3, 6])
    stack = axial_rows.stack_of(given, axial_rows.Missing(2, 2, 1))
    assert stack.first == 0
    np.testing.assert_array_equal(stack.valid, [0, 0, 1, 1, 0, 0, 1, 0])
    first, second, last = np.asarray(given.slices)
    want = [first, first, first, second, (2 * second + last) / 3, (second + 2 * last) / 3]
    np.testing.assert_allclose(stack.slices, [*want, last, last], atol=1e-6)


def test_a_block_that_lacks_less_than_others_ends_in_rows_that_are_not_valid():
    stack = axial_rows.stack_of(block([7, 8, 9]), axial_rows.Missing(0, 2, 0))
    np.testing.assert_array_equal(stack.valid, [1, 1, 1, 0, 0])


def test_missing_rows_are_filled_from_the_valid_ones_around():
    values = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 3)), jnp.float32)
    filled = axial_rows.fill(values, jnp.array([False, True, False, True, False]))
    middle = (values[1] + values[3]) / 2
    np.testing.assert_allclose(
        filled, [values[1], values[1], middle, values[3], values[3]], atol=1e-6
    )


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_interpolation_is_that_of_the_baselines(profile):
    given, z = block(range(6)), np.linspace(0, 5, 12)
    kind = profile.interpolation
    want = interpolate.baselines(given, z, (kind,))[kind]
    got = axial_rows.interpolate(given.slices[:, 1], jnp.asarray(z, jnp.float32), profile)
    np.testing.assert_allclose(got, want[:, 1], atol=1e-5)
