"""Many fits in one program: sweeps, memory, compilation."""

import dataclasses
import pathlib
import runpy

import jax
import numpy as np
import pytest

from emgauss_jax.experiment import prepare
from emgauss_jax.region import open_region
from emgauss_jax.region import problem_of as problem_of_region
from emgauss_jax.training import fit
from emgauss_jax.training.problem import start_chunk

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "emgauss.py"


def problem_of(shape, max_size=(64, 144, 144)):
    """The default config on a phantom of few voxels, for two steps."""
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.data.path, config.data.phantom_shape, config.data.simulate_factor = "phantom", shape, 4
    config.block.max_size, config.train.steps, config.train.blocks_per_chunk = max_size, 2, 2
    run = prepare(config)
    return problem_of_region(run, 0, open_region(run, 0), None)


def test_nothing_is_compiled_twice():
    problem = problem_of((17, 32, 28))
    program = problem.program
    mapping = program.advance(2, 1)
    for indices in ([0], [0]):  # two chunks
        state, *given = start_chunk(problem, indices)
        for _ in range(3):
            state, _ = mapping.run(state, *given)
    assert mapping.run._cache_size() == 1


def test_a_sweep_fits_every_block_with_every_hyper_parameter(tmp_path):
    problem = problem_of((17, 32, 40), (64, 32, 28))
    blocks = problem.count
    assert blocks == 2
    slow = problem.configured._replace(
        rates={name: (0.0, 1.0) for name in problem.configured.rates}
    )
    swept = dataclasses.replace(problem, sweep=(problem.configured, slow))
    alone, together = fit.fit(problem, tmp_path / "a"), fit.fit(swept, tmp_path / "b")
    start = start_chunk(problem, [0, 1])[0].params
    leaves = map(jax.tree.leaves, (alone, together, start))
    for one, both, first in zip(*leaves, strict=True):
        assert both.shape == (2 * blocks, *one.shape[1:])
        np.testing.assert_allclose(both[:blocks], one, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(both[blocks:], first, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="other hyper-parameters"):
        fit.fit(dataclasses.replace(swept, sweep=(slow, slow)), tmp_path / "b")


def test_memory_grows_no_faster_than_the_number_of_fits():
    """So what one fit takes says how many there is room for."""
    problem = problem_of((17, 32, 28))
    problem = dataclasses.replace(
        problem, settings=dataclasses.replace(problem.settings, blocks_per_chunk=0)
    )
    assert fit.step_bytes(problem, 8) <= 8 * fit.step_bytes(problem, 1)
    many = dataclasses.replace(problem, sweep=(problem.configured,) * 9)
    room = fit.step_bytes(problem, 1) * 3.5 / 2**30
    for gb, blocks, want in ((room, 0, 3), (0.0, 0, fit.CPU_BLOCKS), (room, 5, 5)):
        settings = dataclasses.replace(many.settings, memory_gb=gb, blocks_per_chunk=blocks)
        assert fit.blocks_at_once(dataclasses.replace(many, settings=settings)) == want
