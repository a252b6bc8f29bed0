"""The network: its size, its scales, blocks dropped, rows missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.methods import registry
from emgauss_jax.methods.emformer.head import double
from emgauss_jax.methods.emformer.network import Network, kept_blocks, merge, split
from tests.methods.emformer.tiny_sizes import SIZES
from tests.tiny_runs import default, stirred


def test_as_many_parameters_as_published():
    """1,436,841, and 360 for the channel that says which rows are there: 1 x 3 x 3 to 40."""
    config = default("emformer")
    made = registry.build("emformer", config, registry.AxialSampling(8.0))
    params = jax.eval_shape(made.init, jax.random.key(0), None)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1_436_841 + 9 * 40


def test_changes_of_scale_undo_each_other():
    grid = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    assert merge(grid).shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(split(merge(grid)), grid)
    four = merge(grid)[0, 1, 2].reshape(2, 2, 3)  # columns, rows, features
    np.testing.assert_array_equal(four, grid[0, 2:4, 4:6].swapaxes(0, 1))


def test_two_rows_of_every_second_feature():
    grid = jnp.arange(2 * 3.0).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(double(grid)[0, :, 0], [[0, 2, 4], [1, 3, 5]])


def test_blocks_are_dropped_by_key_and_none_of_the_first():
    draw = jax.vmap(lambda key: kept_blocks(key, SIZES))
    kept = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))
    assert kept.shape == (2000, SIZES.blocks, 2)
    assert (kept[:, 0] == 1).all()
    np.testing.assert_allclose(np.unique(kept[:, -1]), [0, 2])  # half of them, twice as much
    np.testing.assert_allclose(kept.mean(axis=0), 1, atol=0.1)


@pytest.mark.slow
def test_what_stands_in_a_missing_row_is_not_looked_at():
    network = Network(SIZES, 0.0)
    rows = jax.random.normal(jax.random.key(0), (2, 6, 8))
    valid = jnp.array([True, True, False, False, True, True])
    keep, given = jnp.ones((SIZES.blocks, 2)), (jnp.array([1.0, 2.5]), jnp.float32(0.5))
    params = stirred(jax.jit(network.init)(jax.random.key(1), rows, valid, *given, keep))
    draw = jax.jit(lambda rows, valid: network.apply(params, rows, valid, *given, keep))
    want = draw(rows, valid)
    np.testing.assert_array_equal(draw(rows.at[:, 2:4].set(7.0), valid), want)
    assert np.abs(draw(rows, jnp.ones(6, bool)) - want).max() > 1e-3
