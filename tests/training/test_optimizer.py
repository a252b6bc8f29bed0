"""Groups, freezing and decay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.training import optimizer

PARAMS = {"a": {"x": jnp.zeros(3), "y": jnp.zeros(2)}, "b": jnp.zeros(4), "c": jnp.zeros(1)}
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def run(rates, start, steps):
    descend = optimizer.make_descend(PARAMS, rates, start, 10)
    params, moments = PARAMS, optimizer.ADAM.init(PARAMS)
    for step in range(steps):
        params, moments = descend(params, ONES, moments, step, optimizer.ends(rates))
    return params


def test_each_group_has_its_rate_and_the_rest_is_frozen():
    rates = {"a": {"x": (0.1, 1.0)}, "b": (0.02, 1.0)}
    params = run(rates, {}, 3)
    # under a constant gradient every Adam step is the learning rate
    np.testing.assert_allclose(params["a"]["x"], -0.3, rtol=1e-4)
    np.testing.assert_allclose(params["b"], -0.06, rtol=1e-4)
    np.testing.assert_array_equal(params["a"]["y"], 0.0)
    np.testing.assert_array_equal(params["c"], 0.0)


def test_a_group_starts_late():
    given = {"a": (0.1, 1.0), "b": (0.1, 1.0)}, {"b": 4}
    np.testing.assert_array_equal(run(*given, 4)["b"], 0.0)
    np.testing.assert_allclose(run(*given, 5)["b"], -0.1, rtol=1e-4)
    np.testing.assert_allclose(run(*given, 4)["a"]["x"], -0.4, rtol=1e-4)


def test_the_rate_decays_log_linearly():
    got = [float(optimizer.decayed((0.1, 0.01), s, 10, 110)) for s in (0, 9, 10, 60, 110, 500)]
    np.testing.assert_allclose(got, [0, 0, 0.1, 0.01, 0.001, 0.001], rtol=1e-5)


def test_a_rate_without_parameters_is_an_error():
    for wrong in (0.1, (0.1,), (0.1, 0.0)):
        with pytest.raises(ValueError, match=r"optimizer.rates.b: got"):
            optimizer.make_descend(PARAMS, {"b": wrong}, {}, 10)
    with pytest.raises(ValueError, match=r"optimizer.rates: got \['a.z'\]"):
        optimizer.make_descend(PARAMS, {"a": {"z": (0.1, 1.0)}}, {}, 10)
