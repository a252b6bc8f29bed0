"""Many fits in one program: sweeps, those of them that fail, memory, compilation."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.methods.base import Block, Method
from emgauss_jax.pipeline.region import open_region
from emgauss_jax.pipeline.region_fit import problem_of as problem_of_region
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.training import fit, metrics_log, sweep_results
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.problem import (
    FitSettings,
    Problem,
    make_template,
    shapes_of,
    start_chunk,
)
from tests.tiny_runs import default


def problem_of(shape, max_size=(64, 144, 144)):
    """The default config on a phantom of few voxels, for two steps."""
    config = default()
    config.data.path, config.data.phantom_shape, config.data.simulate_factor = "phantom", shape, 4
    config.block.max_size, config.train.steps, config.train.blocks_per_chunk = max_size, 2, 2
    run = prepare(config)
    return problem_of_region(run, 0, open_region(run, 0), None)


def test_nothing_is_compiled_twice():
    problem = problem_of((17, 32, 28))
    program = problem.template.program
    mapping = program.advance(2, 1)
    for indices in ([0], [0]):  # two chunks
        state, *given = start_chunk(problem, indices)
        for _ in range(3):
            state, _ = mapping.run(state, *given)
    assert mapping.run._cache_size() == 1


@pytest.mark.slow
def test_a_sweep_fits_every_block_with_every_hyper_parameter(tmp_path):
    problem = problem_of((17, 32, 40), (64, 32, 28))
    blocks = problem.count
    assert blocks == 2
    slow = problem.template.configured._replace(
        rates={name: (0.0, 1.0) for name in problem.template.configured.rates}
    )
    swept = dataclasses.replace(problem, sweep=(problem.template.configured, slow))
    alone, together = fit.fit(problem, tmp_path / "a"), fit.fit(swept, tmp_path / "b")
    start = start_chunk(problem, [0, 1])[0].params
    leaves = map(jax.tree.leaves, (alone, together, start))
    for one, both, first in zip(*leaves, strict=True):
        assert both.shape == (2 * blocks, *one.shape[1:])
        np.testing.assert_allclose(both[:blocks], one, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(both[blocks:], first, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="other hyper-parameters"):
        fit.fit(dataclasses.replace(swept, sweep=(slow, slow)), tmp_path / "b")


def with_settings(problem, **changes):
    settings = dataclasses.replace(problem.template.settings, **changes)
    template = dataclasses.replace(problem.template, settings=settings)
    return dataclasses.replace(problem, template=template)


@pytest.mark.slow
def test_memory_grows_no_faster_than_the_number_of_fits():
    """So what one fit takes says how many there is room for."""
    problem = problem_of((17, 32, 28))
    problem = with_settings(problem, blocks_per_chunk=0)
    assert fit.step_bytes(problem, 8) <= 8 * fit.step_bytes(problem, 1)
    many = dataclasses.replace(problem, sweep=(problem.template.configured,) * 9)
    room = fit.step_bytes(problem, 1) * 3.5 / 2**30
    for gb, blocks, want in ((room, 0, 3), (0.0, 0, fit.CPU_BLOCKS), (room, 5, 5)):
        limited = with_settings(many, memory_gb=gb, blocks_per_chunk=blocks)
        assert fit.blocks_at_once(limited) == want


def toy_problem(goals, count=1, steps=6, per_chunk=3):
    """Fits of one number each, which learns to be the block's mean times a goal."""

    def loss(params, teacher, block, key, step, weights):
        del teacher, key
        lost = (weights["goal"] < 0) & (step >= -weights["goal"])  # NaN from step -goal on
        error = jnp.sum((params["x"] - weights["goal"] * block.slices.mean()) ** 2)
        return jnp.where(lost, jnp.nan, 1.0) * error, {"error": error}

    method = Method(
        init=lambda key, block: {"x": jnp.zeros(2)},
        loss=loss,
        predict=lambda *a: None,
        maintain=lambda params, teacher, *a: (params, teacher, {"x": jnp.zeros(1, bool)}),
        weights={"goal": 1.0},
        per_block=True,
    )
    values = 1 + np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((2, 3, 4))
    blocks = Block(np.float32(values), np.ones((count, 2)) * [0, 1], np.ones((count, 2), bool))
    sweep = tuple(Hyper({"x": (0.1, 1.0)}, {"goal": goal}, 0.5) for goal in goals)
    settings = FitSettings(steps, 0.5, 2, 4, per_chunk, 0.0)
    return Problem(template_of(method, blocks, settings), blocks, sweep)


def template_of(method, blocks, settings):
    shapes = shapes_of(jax.tree.map(lambda leaf: leaf[0], blocks))
    return make_template(method, shapes, jax.random.key(0), {"x": (0.1, 1.0)}, {}, settings)


def test_a_fit_of_a_sweep_that_fails_fails_alone(tmp_path):
    """Two blocks: both fits of the second hyper-parameters end at step 3, no other does."""
    good = fit.fit(toy_problem((1.0, 2.0, 3.0), 2), tmp_path / "good")["x"]
    problem = toy_problem((1.0, -3.0, 3.0), 2)
    mixed = fit.fit(problem, tmp_path / "mixed")["x"]
    failures = sweep_results.failed(problem, tmp_path / "mixed")
    assert list(failures) == [1] and failures[1].step == 3
    assert str(failures[1]) == "step 3: got nonfinite 1, wanted 0: lower the learning rates"
    np.testing.assert_array_equal(mixed[[0, 1, 4, 5]], good[[0, 1, 4, 5]])
    lines = list(map(json.loads, (tmp_path / "mixed" / metrics_log.FILE).read_text().splitlines()))
    assert all(np.isfinite(line["error"]) for line in lines if "error" in line)
    assert {line["hyper"] for line in lines if line["step"] == 6} == {0, 2}
    with pytest.raises(FloatingPointError, match="step 0: got nonfinite"):
        alone = dataclasses.replace(problem, sweep=())
        method, settings = alone.template.method, alone.template.settings
        bad = method._replace(loss=lambda *a: (jnp.nan * a[0]["x"].sum(), {}))
        template = template_of(bad, alone.blocks, settings)
        fit.fit(dataclasses.replace(alone, template=template), tmp_path / "alone")


def test_a_failure_is_remembered_where_a_sweep_goes_on(tmp_path, monkeypatch):
    """Killed after its first checkpoint, at step 4; the second chunk has nothing but failures."""
    problem = toy_problem((1.0, -1.0, 2.0, -2.0, -3.0), per_chunk=3)
    whole = fit.fit(problem, tmp_path / "whole")["x"]
    save = fit.checkpoint.save

    def save_and_die(folder, step, state):
        save(folder, step, state)
        raise KeyboardInterrupt

    for _ in range(3):
        monkeypatch.setattr(fit.checkpoint, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(problem, tmp_path / "broken")
    monkeypatch.undo()
    broken = fit.fit(problem, tmp_path / "broken")["x"]
    np.testing.assert_array_equal(broken[[0, 2]], whole[[0, 2]])
    texts = [(tmp_path / name / metrics_log.FILE).read_text() for name in ("whole", "broken")]
    assert texts[0] == texts[1]
    steps = {
        which: failure.step
        for which, failure in sweep_results.failed(problem, tmp_path / "broken").items()
    }
    assert steps == {1: 1, 3: 2, 4: 3}


def test_a_fit_of_a_sweep_is_picked_as_if_it_had_been_made_alone(tmp_path):
    problem = toy_problem((1.0, 2.0), count=2)
    teachers = fit.fit(problem, tmp_path / "sweep")
    alone = dataclasses.replace(problem, sweep=problem.sweep[1:])
    made = fit.fit(alone, tmp_path / "alone")
    np.testing.assert_allclose(sweep_results.pick(problem, teachers, 1)["x"], made["x"], rtol=1e-5)
    metrics_log.copy_metrics(tmp_path / "sweep" / metrics_log.FILE, tmp_path / "copy.jsonl", 1)
    logs = [
        path.read_text().splitlines()
        for path in (tmp_path / "copy.jsonl", tmp_path / "alone" / metrics_log.FILE)
    ]
    copied, own = ([json.loads(line) for line in text] for text in logs)
    assert [line["step"] for line in copied] == [line["step"] for line in own] == [2, 4, 6]
    errors = [[line["error"] for line in lines] for lines in (copied, own)]
    np.testing.assert_allclose(*errors, rtol=1e-5)
