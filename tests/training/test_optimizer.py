"""Groups, freezing, decay, and what starts anew."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emgauss_jax.render.gaussians import Gaussians
from emgauss_jax.training import optimizer

PARAMS = {"a": {"x": jnp.zeros(3), "y": jnp.zeros(2)}, "b": jnp.zeros(4), "c": jnp.zeros(1)}
ONES = jax.tree.map(jnp.ones_like, PARAMS)
GROUPS = {"a": {"x": "first", "y": "second"}, "b": "second", "c": "first"}


def run(rates, start, steps):
    """Update so many times; the rates are traced, as in a step."""
    of_rates = optimizer.optimizer_of(PARAMS, rates, start, 10)

    @jax.jit
    def update(params, state, rates):
        updates, state = of_rates(rates).update(ONES, state, params)
        return optax.apply_updates(params, updates), state

    named = optimizer.ends(rates)
    params, state = PARAMS, of_rates(named).init(PARAMS)
    for _ in range(steps):
        params, state = update(params, state, named)
    return params


def test_each_group_has_its_rate_and_the_rest_is_frozen():
    rates = {"a": {"x": (0.1, 1.0)}, "b": (0.02, 1.0)}
    params = run(rates, {}, 3)
    # under a constant gradient every Adam step is the learning rate
    np.testing.assert_allclose(params["a"]["x"], -0.3, rtol=1e-4)
    np.testing.assert_allclose(params["b"], -0.06, rtol=1e-4)
    np.testing.assert_array_equal(params["a"]["y"], 0.0)
    np.testing.assert_array_equal(params["c"], 0.0)


def test_what_is_frozen_stays_whatever_the_transformation(monkeypatch):
    monkeypatch.setattr(optimizer, "make_optimizer", lambda *given: optax.sgd(0.5))
    params = run({"b": (0.02, 1.0)}, {}, 2)
    np.testing.assert_array_equal(params.pop("b"), -1.0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(params))


def test_a_group_starts_late():
    given = {"a": (0.1, 1.0), "b": (0.1, 1.0)}, {"b": 4}
    np.testing.assert_array_equal(run(*given, 4)["b"], 0.0)
    params = run(*given, 5)
    np.testing.assert_allclose(params["b"], -0.1, rtol=1e-4)
    np.testing.assert_allclose(params["a"]["x"], -0.5, rtol=1e-4)


def test_the_rate_decays_log_linearly():
    rate = optimizer.schedule(0.1, 0.01, 10, 110)
    got = [float(rate(count)) for count in (0, 9, 10, 60, 110, 500)]
    np.testing.assert_allclose(got, [0, 0, 0.1, 0.01, 0.001, 0.001], rtol=1e-5)


def test_groups_are_named_by_path_in_dicts_and_named_tuples():
    gaussians = Gaussians(*Gaussians._fields)
    params = {"canonical": gaussians, "net": {"Dense_0": {"kernel": 0, "bias": 0}}}
    rates = {"canonical": {"means": (1, 1)}, "net": {"Dense_0": (1, 1)}, "canonic": (1, 1)}
    groups = optimizer.param_groups(params, rates)
    assert groups["canonical"].means == "canonical.means"
    assert set(groups["canonical"]) == {"canonical.means", "frozen"}
    assert groups["net"] == {"Dense_0": dict.fromkeys(("kernel", "bias"), "net.Dense_0")}


@pytest.mark.parametrize(
    ("rates", "start", "match"),
    [
        ({"b": 0.1}, {}, r"optimizer.rates.b: got"),
        ({"b": (0.1,)}, {}, r"optimizer.rates.b: got"),
        ({"b": (0.1, 0.0)}, {}, r"optimizer.rates.b: got"),
        ({"a": {"z": (0.1, 1.0)}}, {}, r"optimizer.rates: got \['a.z'\]"),
        ({"b": {"z": (0.1, 1.0)}}, {}, r"optimizer.rates: got \['b.z'\]"),
        ({"b": (0.1, 1.0)}, {"z": 1}, r"optimizer.start: got \['z'\], wanted some of \['b'\]"),
        ({"b": (0.1, 1.0)}, {"b": 1, "c": 1}, r"optimizer.start: got \['c'\]"),  # c is frozen
    ],
)
def test_a_name_without_parameters_is_an_error(rates, start, match):
    with pytest.raises(ValueError, match=match):
        optimizer.optimizer_of(PARAMS, rates, start, 10)


@pytest.mark.parametrize(
    ("transformation", "kept"),  # how many leaves it keeps of x, y, b and c
    [
        (optax.scale_by_adam(), (2, 2, 2, 2)),
        (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)), (2, 2, 2, 2)),
        (optax.partition({"first": optax.adam(0.1), "second": optax.sgd(0.1, 0.9)}, GROUPS),
         (2, 1, 1, 2)),
        (optax.apply_if_finite(optax.inject_hyperparams(optax.lion)(0.1), 3), (1, 1, 1, 1)),
    ],
    ids=["adam", "clipped adam", "adam and momentum", "injected lion"],
)  # fmt: skip
def test_fresh_places_start_anew_in_any_transformation(transformation, kept):
    """The second place of x and all of b; shapes tell whose a leaf is."""
    fresh = jax.tree.map(lambda leaf: jnp.zeros(1, bool), PARAMS)
    fresh["a"]["x"], fresh["b"] = jnp.array([False, True, False]), jnp.array([True])
    _, before = transformation.update(ONES, transformation.init(PARAMS), PARAMS)
    after = optimizer.restart(transformation, before, PARAMS, fresh)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    shapes = [leaf.shape for leaf in jax.tree.leaves(after)]
    assert tuple(shapes.count((size,)) for size in (3, 2, 4, 1)) == kept
    goes_on = {(3,): [1, 0, 1], (4,): 0}
    for old, new in zip(*map(jax.tree.leaves, (before, after)), strict=True):
        assert old.ndim == 0 or (old != 0).all()
        np.testing.assert_array_equal(new, old * np.array(goes_on.get(old.shape, 1)))


def test_a_fresh_place_of_a_copy_of_the_parameters_is_as_its_parameter():
    transformation = optax.contrib.schedule_free_sgd(0.1)
    _, state = transformation.update(ONES, transformation.init(PARAMS), PARAMS)
    moved = jax.tree.map(lambda leaf: leaf + 7.0, PARAMS)
    fresh = jax.tree.map(lambda leaf: jnp.array([leaf.size == 4]), PARAMS)
    copy = optimizer.restart(transformation, state, moved, fresh).z
    np.testing.assert_array_equal(copy["b"], moved["b"])
    np.testing.assert_array_equal(copy["a"]["x"], state.z["a"]["x"])
    assert (state.z["b"] != moved["b"]).all()
