"""The step: EMA, upkeep, sharing out, devices."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training import fit, metrics_log, parallel
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.hyperparams import Hyper, check_like, stack
from emgauss_jax.training.optimizer import optimizer_of
from emgauss_jax.training.state import init_params, init_state
from emgauss_jax.training.step import make_advance, make_step

PARAMS = {"x": jnp.zeros(2)}
OPTIMIZER = optimizer_of(PARAMS, {"x": (0.1, 1.0)}, {}, 10)
KEY = jax.random.key(0)


def toy(upkeep_at=-1):
    """A method that learns one number a block: the mean of its slices."""

    def loss(params, teacher, block, key, step, weights):
        del teacher, key, step
        error = jnp.sum((params["x"] - weights["goal"] * block.slices.mean()) ** 2)
        return error, {"x": params["x"].sum()}

    def maintain(params, teacher, block, key, step):
        del block, key
        return params, teacher, {"x": jnp.broadcast_to(step == upkeep_at, (1,))}

    return Method(
        init=lambda key, block: {"x": jnp.zeros(2)},
        loss=loss,
        predict=lambda *a: None,
        maintain=maintain,
        weights={"goal": 1.0},
        per_block=True,
    )


def blocks(count):
    values = jnp.arange(count, dtype=jnp.float32)[:, None, None, None] * jnp.ones((2, 3, 4))
    z = jnp.broadcast_to(jnp.arange(2.0), (count, 2))
    return Block(values, z, jnp.ones((count, 2), bool))


def hyper(ema_decay=0.9, rate=0.1, goal=1.0):
    return Hyper({"x": (rate, 1.0)}, {"goal": goal}, ema_decay)


def start(method, count, *hypers, optimizer=OPTIMIZER):
    """The state, the step, and what the step is given beside the state."""
    keys = jax.random.split(jax.random.key(0), count)
    params = init_params(method, blocks(count), keys)
    stacked = jax.tree.map(jnp.asarray, stack(hypers or [hyper()] * count))
    state = init_state(optimizer, params, stacked.rates)
    return state, make_step(method, optimizer), (blocks(count), keys, stacked)


def test_the_teacher_is_the_moving_average():
    method = toy()
    state, step, given = start(method, 3)
    teacher = np.zeros((3, 2))
    for _ in range(4):
        state, _ = step(state, *given)
        teacher = 0.9 * teacher + 0.1 * np.asarray(state.params["x"])
    np.testing.assert_allclose(state.teacher["x"], teacher, rtol=1e-5)
    assert int(state.step) == 4


def test_without_decay_the_teacher_is_the_student():
    method = toy()
    state, step, given = start(method, 2, *[hyper(ema_decay=0.0)] * 2)
    state, _ = step(state, *given)
    np.testing.assert_array_equal(state.teacher["x"], state.params["x"])


def test_fits_of_one_program_differ_in_their_hyper_parameters():
    """Each of four equals the fit that has its numbers alone."""
    method = toy()
    each = [hyper(), hyper(ema_decay=0.5), hyper(rate=0.02), hyper(goal=3.0)]
    state, step, given = start(method, 4, *each)
    same = jax.tree.map(lambda leaf: leaf[np.full(4, 2)], given[0])  # the block of slices 2
    together, _ = make_advance(step, 5)(state, same, *given[1:])
    leaves = [np.asarray(leaf) for leaf in (together.params["x"], together.teacher["x"])]
    assert len({round(float(leaf[i, 0]), 4) for leaf in leaves for i in range(4)}) == 7
    for i in range(4):
        state, step, given = start(method, 4, *[each[i]] * 4)
        alone, _ = make_advance(step, 5)(state, same, *given[1:])
        np.testing.assert_allclose(leaves[0][i], alone.params["x"][0], rtol=1e-6)
        np.testing.assert_allclose(leaves[1][i], alone.teacher["x"][0], rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (hyper(ema_decay=1.0), "ema_decay 1.0"),
        (hyper(rate=-0.1), "rate x"),
        (hyper()._replace(weights={"gaol": 1.0}), r"weights \['gaol'\], wanted \['goal'\]"),
        (hyper()._replace(rates={}), r"rates \[\], wanted \['x'\]"),
    ],
)
def test_a_sweep_names_what_the_config_names(wrong, match):
    check_like(hyper(goal=7.0), hyper())
    with pytest.raises(ValueError, match=match):
        check_like(wrong, hyper())


def test_fresh_places_start_their_moments_again():
    method = toy(upkeep_at=1)
    state, step, given = start(method, 2)
    for want_zero in (False, True, False):
        state, _ = step(state, *given)
        moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if np.shape(leaf) == (2, 2)]
        assert len(moments) == 2
        assert all(bool((leaf == 0).all()) == want_zero for leaf in (m[1] for m in moments))


def test_another_transformation_takes_the_place_of_the_default():
    """This one keeps the rate in its state, which a dispatch donates; the rate itself is kept."""

    def injected(rates):
        return optax.inject_hyperparams(optax.sgd)(rates["x"][0])

    state, step, given = start(toy(), 2, hyper(rate=0.1), hyper(rate=0.2), optimizer=injected)
    mapping = parallel.map_blocks(make_advance(step, 2), 1)
    for _ in range(2):
        state, _ = mapping.run(state, *given)
    assert mapping.run._cache_size() == 1
    # of goal 1, the second block's mean, is left 1 - 2 * 0.2 after each step
    np.testing.assert_allclose(state.params["x"][1], 1 - 0.6**4, rtol=1e-5)


def test_many_steps_in_one_dispatch_equal_single_ones():
    method = toy()
    state, step, given = start(method, 2)
    together, metrics = make_advance(step, 5)(state, *given)
    assert metrics["x"].shape == (5, 2)
    for _ in range(5):
        state, _ = step(state, *given)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_is_not_finite_is_noticed():
    method = toy()
    state, step, given = start(method, 3)
    _, metrics = step(state, *given)
    np.testing.assert_array_equal(metrics["nonfinite"], 0)
    bad = state._replace(params={"x": state.params["x"].at[1, 0].set(jnp.nan)})
    _, metrics = step(bad, *given)
    np.testing.assert_array_equal(metrics["nonfinite"], [0, 1, 0])


def test_blocks_are_shared_out_evenly():
    for count in range(1, 30):
        for limit in (1, 3, 8):
            for devices in (1, 2, 4):
                chunks = fit.share_out(count, limit, min(devices, count))
                assert {i for chunk in chunks for i in chunk} == set(range(count))
                sizes = {len(chunk) for chunk in chunks}
                assert len(sizes) == 1 and max(sizes) <= limit * devices
                assert sizes.pop() % min(devices, count) == 0


def test_two_devices_equal_one():
    """In a process of its own: the number of devices is fixed when JAX starts."""
    code = (
        "import importlib.util as u, jax\n"
        f"spec = u.spec_from_file_location('here', {__file__!r})\n"
        "here = u.module_from_spec(spec); spec.loader.exec_module(here)\n"
        "assert jax.local_device_count() == 2\n"
        "here.compare_devices()\n"
        "here.compare_devices_of_a_shared_network()\n"
    )
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def compare_devices():
    """Four blocks on two devices and on one."""
    method = toy()
    results = []
    for devices in (1, 2):
        state, step, given = start(method, 4)
        advance = make_advance(step, 3)
        mapping = parallel.map_blocks(advance, devices)
        spread = [mapping.spread(each) for each in (state, *given)]
        state, metrics = mapping.run(*spread)
        assert metrics["x"].shape == ((3, 4) if devices == 1 else (2, 3, 2))
        results.append(mapping.gather(state))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def shared(count, batch, devices=1):
    """One network for some blocks: the state, the step, and what it is given beside the state."""
    method = toy()._replace(per_block=False, batch=batch)
    stacked, keys = jax.tree.map(lambda leaf: leaf[None], blocks(count)), jax.random.split(KEY, 1)
    params = init_params(method, stacked, keys)
    numbers = stack([hyper()])
    state = init_state(OPTIMIZER, params, numbers.rates)
    return state, make_step(method, OPTIMIZER, devices), (stacked, keys, numbers)


def test_a_shared_network_learns_from_all_blocks():
    """Numbers of 0 to 4: what is learned ends between them, and nothing has a block axis."""
    state, step, given = shared(5, 3)
    state, metrics = make_advance(step, 200)(state, *given)
    assert state.params["x"].shape == (1, 2) and metrics["x"].shape == (200, 1)
    np.testing.assert_allclose(state.teacher["x"], 2.0, atol=0.5)


def compare_devices_of_a_shared_network():
    """Gradients averaged over two devices are those of one that takes all blocks of a step."""
    results = []
    for devices in (1, 2):
        state, step, given = shared(5, 4, devices)
        mapping = parallel.map_shared(make_advance(step, 3), devices)
        state, metrics = mapping.run(*(mapping.spread(each) for each in (state, *given)))
        assert metrics["x"].shape == (3, 1)
        results.append((mapping.gather(state), metrics))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_log_forgets_what_is_done_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with metrics_log.open_metrics(tmp_path, 0, 0) as file:
        for chunk, step in ((0, 10), (0, 20), (1, 10), (1, 20)):
            metrics_log.write_metrics(file, chunk, step, {"loss": 1.0})
        file.write('{"chunk": 1, "st')  # killed while writing
    with metrics_log.open_metrics(tmp_path, 1, 10):
        pass
    assert path.read_text().count("\n") == 3
    assert path.read_text().endswith('{"chunk": 1, "step": 10, "loss": 1.0}\n')


def test_the_log_is_whole_whenever_it_is_killed(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    with metrics_log.open_metrics(tmp_path, 0, 0) as file:
        metrics_log.write_failure(file, 0, 10, 1, Failure(9, "nonfinite"))
    before = path.read_text()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pathlib.Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        metrics_log.open_metrics(tmp_path, 0, 10)
    assert path.read_text() == before
