"""What a fork costs: real changes, kept as patches, that touch few files and work as they are."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from emgauss_jax.data.phantom import tissue
from tests.tiny_runs import ROOT

PATCHES = pathlib.Path(__file__).with_name("forks")
TINY = {
    "data.path": "phantom", "data.phantom_shape": "(17,40,40)", "data.simulate_factor": "4",
    "train.steps": "4", "prior.steps": "0", "prior.flow": "False",
}  # fmt: skip


@pytest.fixture
def fork(request, tmp_path):
    """A copy of the package and its configs with a patch applied."""
    for name in ("emgauss_jax", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    patch = PATCHES / f"{request.param}.patch"
    subprocess.run(["git", "apply", str(patch)], cwd=tmp_path, check=True)
    return tmp_path


def files_of(patch):
    return re.findall(r"^\+\+\+ b/(\S+)", (PATCHES / f"{patch}.patch").read_text(), re.M)


@pytest.mark.parametrize(
    ("name", "most"), [("deformation", 2), ("format", 2), ("source", 2), ("schedule", 1)]
)
def test_a_fork_applies_and_touches_few_files(name, most):
    assert 1 <= len(files_of(name)) <= most
    check = ["git", "apply", "--check", str(PATCHES / f"{name}.patch")]
    subprocess.run(check, cwd=ROOT, check=True)


def run(folder, *args):
    """Run Python in a fork, with the fork's own package."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(folder, config):
    settings = [f"--config.{key}={value}" for key, value in TINY.items()]
    command = ("-m", "emgauss_jax.train", f"--config=configs/{config}", "--workdir=run")
    return run(folder, *command, *settings)


@pytest.mark.slow
@pytest.mark.parametrize("fork", ["deformation"], indirect=True)
def test_a_deformation_of_a_fork_is_fitted(fork):
    train(fork, "low_rank.py")
    assert (fork / "run" / "report" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("fork", ["source"], indirect=True)
def test_a_source_of_a_fork_is_weighed_with_the_others(fork):
    train(fork, "emgauss.py")
    weights = (fork / "run" / "prior" / "weights.json").read_text()
    assert "cubic" in weights and "interpolation" in weights


@pytest.mark.parametrize("fork", ["format"], indirect=True)
def test_a_format_of_a_fork_holds_a_volume(fork):
    np.save(fork / "values.npy", tissue((5, 6, 7), 0))
    script = """
import numpy as np
from emgauss_jax.data.volume import create_volume, open_volume
values = np.load("values.npy")
with create_volume("a.raw", values.shape, values.dtype, (40, 8, 8)) as writer:
    writer[:, :, :] = values
volume = open_volume("a.raw")
assert volume.voxel_nm == (40, 8, 8) and (volume[:, :, :] == values).all()
"""
    run(fork, "-c", script)


@pytest.mark.parametrize("fork", ["schedule"], indirect=True)
def test_a_schedule_of_a_fork_sets_every_step_of_a_fit(fork):
    """Under a constant gradient Adam steps by the rate. Two of 20 steps are warm-up."""
    script = """
import jax, jax.numpy as jnp, numpy as np
from emgauss_jax.methods.base import Block, Method, no_upkeep
from emgauss_jax.training.optimizer import schedule
from emgauss_jax.training.problem import FitSettings, Problem, make_template, shapes_of, start_chunk
method = Method(
    init=lambda key, block: {"x": jnp.zeros(1)},
    loss=lambda params, *others: (-params["x"].sum(), {"x": params["x"].sum()}),
    predict=None, maintain=no_upkeep, weights={}, per_block=True,
)
block = Block(np.zeros((2, 3, 4), np.float32), np.arange(2.0), np.ones(2, bool))
settings = FitSettings(20, 0.0, 20, 20, 1, 0.0)
rates = {"x": (0.1, 0.5)}
template = make_template(method, shapes_of(block), jax.random.key(0), rates, {}, settings)
problem = Problem(template, jax.tree.map(lambda leaf: leaf[None], block))
_, metrics = template.program.advance(20, 1).run(*start_chunk(problem, [0]))
x = np.asarray(metrics["x"])[:, 0]  # before each step
np.testing.assert_allclose(np.diff(x[:4]), [0, 0.05, 0.1], atol=1e-5)
np.testing.assert_allclose(x[12] - x[11], 0.075, atol=1e-5)  # half-way down to 0.5 of the rate
late = schedule(0.1, 0.5, 10, 30)
np.testing.assert_allclose([late(n) for n in (0, 10, 12, 21, 30)], [0, 0, 0.1, 0.075, 0.05])
"""
    run(fork, "-c", script)
