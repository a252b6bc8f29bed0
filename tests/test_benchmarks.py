"""The commands of tests/benchmarks still fit the package: they are never collected themselves."""

import importlib
import pathlib

import jax
import numpy as np
import pytest

from emgauss_jax.train import train_and_evaluate
from tests.benchmarks import agreement, backends, fit, peers, render, scenes
from tests.tiny_runs import tiny

COMMANDS = sorted(path.stem for path in pathlib.Path(scenes.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_can_be_imported(name):
    importlib.import_module(f"tests.benchmarks.{name}")


def test_a_block_to_measure_holds_the_slices_of_its_volume():
    run, _, block = render.start(24, 17)
    np.testing.assert_array_equal(block.slices, run.observed.unit_slices)
    assert block.slices.std() > 0.01


def test_the_separable_backend_draws_what_the_reference_does():
    """In value and gradient; the package's own backends are compared in tests/render."""
    absent = dict.fromkeys(peers.BLENDS, "absent")
    ours = {"separable": backends.BACKENDS["separable"]}
    differences, barred = agreement.check(absent, ours)
    assert barred == absent
    assert differences["separable"] < 1e-5


def test_missing_planes_are_timed():
    row = render.render_row(24, 17, repeats=1, with_torch=False)
    assert row["planes"] == 14 and row["ms in all"] > 0


def test_a_fit_is_judged_beside_linear_interpolation():
    run, params, block = render.start(24, 17)
    judge = fit.Judge(run, block)
    assert 5 < judge(jax.tree.map(lambda leaf: leaf[None], params)) < judge.linear < 40


@pytest.mark.slow
def test_the_splats_of_a_finished_fit(tmp_path):
    train_and_evaluate(tiny(), tmp_path / "run")
    splats, shape = scenes.fitted(tmp_path / "run")
    assert shape == (32, 28) and splats.means.shape == (len(splats.opacities), 2)
    assert np.isfinite(splats.means).all()
