"""One volume, however its regions are shared out, killed and started again."""

import collections
import contextlib
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.opening import open_stack
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.execution import executors, jobs
from emgauss_jax.execution.jobs import Job, phases
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.reconstruct import at_work, check_outputs
from emgauss_jax.storage.locks import locked
from emgauss_jax.storage.run_dir import claim_workdir, read_workdir, write_grey_range
from emgauss_jax.sweeps.plan import read_config
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import tiny

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "emgauss.py"


def settings_of(folder):
    """Settings of a run on 3 regions of 3 blocks, of a float32 volume made in the folder."""
    path = folder / "stack.ome.zarr"
    if not path.exists():
        values = tissue((6, 70, 70), 0).astype(np.float32)
        with create_volume(path, values.shape, values.dtype, (40.0, 10.0, 10.0)) as writer:
            writer[:, :, :] = values
    return {
        "data.path": str(path), "train.steps": "20", "train.steps_per_dispatch": "5",
        "prior.steps": "5", "prior.probe_steps": "2", "prior.flow": "False",
        "lateral.features": "4", "lateral.blocks": "1", "block.max_size": "(64,40,40)",
        "block.region": "(1,3,1)",
    }  # fmt: skip


def flags(folder):
    settings = settings_of(folder)
    return [
        f"--config={CONFIG}", *(f"--config.{key}={value}" for key, value in settings.items())
    ]  # fmt: skip


def train(arguments, workdir, *more, **env):
    """Start a train; a process group of its own, so that all of it can be killed."""
    command = [sys.executable, "-m", "emgauss_jax.train", *arguments, f"--workdir={workdir}", *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    """Wait for a train that is to end well."""
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-2000:]


def voxels(workdir):
    return open_volume(workdir / "reconstruction.ome.zarr")[:, :, :]


def contents(workdir):
    """Every file of an output, by name."""
    folder = workdir / "reconstruction.ome.zarr"
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def counts(workdir):
    """Count how often each unit was finished."""
    lines = map(json.loads, (workdir / "work.jsonl").read_text().splitlines())
    return collections.Counter((line["phase"], line["unit"]) for line in lines)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run by one process on one device, and its flags."""
    folder = tmp_path_factory.mktemp("scale")
    arguments = flags(folder)
    finish(train(arguments, folder / "whole"))
    done = counts(folder / "whole")
    assert sorted(unit for phase, unit in done if phase == "fit") == [0, 1, 2]
    assert set(done.values()) == {1}
    return arguments, folder / "whole"


@pytest.mark.slow
def test_eight_devices_give_the_volume_of_one(whole, tmp_path):
    arguments, one = whole
    xla = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    finish(train(arguments, tmp_path / "devices", XLA_FLAGS=xla))
    span = np.ptp(voxels(one))
    np.testing.assert_allclose(voxels(tmp_path / "devices"), voxels(one), atol=1e-5 * span)


@pytest.mark.slow
def test_killed_workers_and_runs_leave_no_trace(whole, tmp_path):
    psutil = pytest.importorskip("psutil", reason="wanted: pip install -e '.[cluster]'")
    arguments, one = whole
    log = tmp_path / "run" / "work.jsonl"
    process = train(arguments, tmp_path / "run", "--cluster=local", "--workers=2")
    wait_for_lines(log, 1, process)
    nannies = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in nannies if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    wait_for_lines(log, 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    for child in nannies:
        if child.is_running():
            child.kill()
    finished = counts(tmp_path / "run")
    finish(train(arguments, tmp_path / "run", "--cluster=local", "--workers=2"))
    assert contents(tmp_path / "run") == contents(one)
    assert counts(tmp_path / "run") == counts(one)  # what was done before too, once
    assert all(counts(one)[unit] == 1 for unit in finished)


def wait_for_lines(path, count, process):
    """Wait until a log has so many lines, while the process lives."""
    while not path.exists() or path.read_text().count("\n") < count:
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.02)


def test_sigterm_saves_what_is_under_way(tmp_path):
    """That a fit goes on from there to the same result is tested in test_commands."""
    arguments = [*flags(tmp_path), "--config.prior.steps=0", "--config.prior.flow=False"]
    process = train([*arguments, "--config.train.steps=100000"], tmp_path / "run")
    folder = tmp_path / "run" / "regions" / "000000"
    wait_for_lines(folder / "metrics.jsonl", 1, process)
    process.terminate()
    _, error = process.communicate(timeout=100)
    assert process.returncode == 143, error
    (saved,) = (folder / "checkpoints" / "chunk_0000").glob("[0-9]*")
    step = int(saved.name)
    assert error.splitlines()[-1] == f"SIGTERM at step {step}: saved, the same command goes on"
    assert step == json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]


def test_two_runs_on_one_workdir(tmp_path):
    with (
        locked(tmp_path / "run" / ".lock"),
        pytest.raises(ValueError, match="got it locked by another process"),
        locked(tmp_path / "run" / ".lock"),
    ):
        pass
    with locked(tmp_path / "run" / ".lock"):  # free again
        pass


def test_units_left_out_are_found(monkeypatch):
    done = {0, 2}
    phase = Phase("render", 3, lambda unit: unit in done, done.add)
    monkeypatch.setattr(jobs, "phases", lambda run, job: (phase,))
    lazy = executors.Executor(
        True,
        lambda here, anywhere, units, name: {},
        functools.partial(executors.see_done, patience_s=0.0),
    )
    job = Job("", False, "", None, "")
    with pytest.raises(ValueError, match=r"render: got 1 tasks undone, wanted none: \[1\]"):
        jobs.run_job(None, job, lazy)
    jobs.run_job(None, job, executors.alone())
    assert done == {0, 1, 2}


@pytest.mark.slow
def test_a_chunk_that_cannot_be_read_costs_no_finished_region(tmp_path):
    settings = settings_of(tmp_path) | {"prior.steps": "0", "prior.flow": "False"}
    config = read_config(CONFIG, settings)
    config.block.region = (1, 1, 1)
    (chunk,) = (path for path in (tmp_path / "stack.ome.zarr" / "0").rglob("1") if path.is_file()
                and path.parent.name == "0")  # fmt: skip
    whole = chunk.read_bytes()
    write_grey_range(tmp_path / "run", open_stack(config.data).grey_range)
    claimed = tmp_path / "run" / "grey_range.json"
    grey_range = claimed.read_text()
    claimed.unlink()
    claim_workdir(tmp_path / "run", config)
    claimed.write_text(grey_range)  # measured before the disk went bad
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"stack\.ome\.zarr: cannot be read as zarr3 in"):
        train_and_evaluate(config, tmp_path / "run")
    before = counts(tmp_path / "run")
    assert before and not (tmp_path / "run" / "reconstruction.ome.zarr").exists()
    chunk.write_bytes(whole)
    train_and_evaluate(config, tmp_path / "run")
    assert set(counts(tmp_path / "run").values()) == {1}
    assert before.keys() < counts(tmp_path / "run").keys()
    check_that_another_reconstruction_is_not_gone_on_with(tmp_path / "run", tmp_path / "sub")


def check_that_another_reconstruction_is_not_gone_on_with(workdir, folder):
    """What was begun at a path and killed belongs to its depths, to planes or to errors."""
    run = prepare(read_workdir(workdir), workdir)
    folder.mkdir()
    path = str(folder / ".." / "z.ome.zarr")
    job = Job(str(workdir), False, path, ("z", (0.0, 1.0, 2.0)), "")
    tiles, *_ = phases(run, job)
    tiles.do(0)
    assert phases(run, job)[0].done(0)
    for other in (
        job._replace(asked=("z", (1.0, 2.0, 3.0))),
        job._replace(output="", uncertainty=path),
    ):
        with pytest.raises(ValueError, match=r"content: got planes of .*, wanted"):
            phases(run, other)


def test_an_output_and_its_uncertainty_are_two_files():
    with pytest.raises(ValueError, match="wanted another path than the output's"):
        check_outputs("a.zarr", "./a.zarr")


def test_killed_between_two_outputs_the_same_command_goes_on_and_no_other_does(tmp_path):
    paths = [str(tmp_path / name) for name in ("planes.tif", "errors.tif")]
    job = Job(str(tmp_path / "workdir"), False, paths[0], None, paths[1])
    run = prepare(tiny())
    with contextlib.suppress(KeyboardInterrupt), at_work(run, job):
        pathlib.Path(paths[0]).touch()
        raise KeyboardInterrupt
    for other in (job._replace(asked=("factor", 3.0)), job._replace(workdir="another")):
        with pytest.raises(InputError, match="exists already"), at_work(run, other):
            pass
    with at_work(run, job):
        pathlib.Path(paths[1]).touch()
    with pytest.raises(InputError, match="exists already"), at_work(run, job):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"planes.tif", "errors.tif"}
