"""Groups, freezing and decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emgauss_jax.training import optimizer

PARAMS = {"a": {"x": jnp.zeros(3), "y": jnp.zeros(2)}, "b": jnp.zeros(4), "c": jnp.zeros(1)}
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def run(adam, steps):
    params, state = PARAMS, adam.init(PARAMS)
    for _ in range(steps):
        updates, state = adam.update(ONES, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_each_group_has_its_rate_and_the_rest_is_frozen():
    rates = {"a": {"x": (0.1, 1.0)}, "b": (0.02, 1.0)}
    params = run(optimizer.build(PARAMS, rates, {}, 10), 3)
    # under a constant gradient every Adam step is the learning rate
    np.testing.assert_allclose(params["a"]["x"], -0.3, rtol=1e-4)
    np.testing.assert_allclose(params["b"], -0.06, rtol=1e-4)
    np.testing.assert_array_equal(params["a"]["y"], 0.0)
    np.testing.assert_array_equal(params["c"], 0.0)


def test_a_group_starts_late():
    adam = optimizer.build(PARAMS, {"a": (0.1, 1.0), "b": (0.1, 1.0)}, {"b": 4}, 10)
    np.testing.assert_array_equal(run(adam, 4)["b"], 0.0)
    np.testing.assert_allclose(run(adam, 5)["b"], -0.1, rtol=1e-4)
    np.testing.assert_allclose(run(adam, 4)["a"]["x"], -0.4, rtol=1e-4)


def test_the_rate_decays_log_linearly():
    schedule = optimizer.decayed(0.1, 0.01, 10, 110)
    got = [float(schedule(step)) for step in (0, 9, 10, 60, 110, 500)]
    np.testing.assert_allclose(got, [0, 0, 0.1, 0.01, 0.001, 0.001], rtol=1e-5)


def test_a_rate_without_parameters_is_an_error():
    for wrong in (0.1, (0.1,), (0.1, 0.0)):
        with pytest.raises(ValueError, match=r"optimizer.rates.b: got"):
            optimizer.build(PARAMS, {"b": wrong}, {}, 10)
    with pytest.raises(ValueError, match=r"optimizer.rates: got \['a.z'\]"):
        optimizer.build(PARAMS, {"a": {"z": (0.1, 1.0)}}, {}, 10)
