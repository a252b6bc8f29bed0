"""SIGTERM to all processes of a command, as schedulers do: nothing is lost or called failed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from emgauss_jax.data.volume import open_volume
from tests.tiny_runs import ROOT, command, make_stack

LONG_S = 60  # for what is put off until a checkpoint is saved, on a busy machine


def flags(folder):
    """A siren on four regions of a block each, which fit for some seconds."""
    settings = {
        "data.path": make_stack(folder / "stack.ome.zarr", shape=(6, 70, 70)),
        "train.steps": 1200, "train.steps_per_dispatch": 4, "train.checkpoint_every": 400,
        "siren.width": 4, "siren.layers": 1, "siren.points": 32, "block.max_size": "(64,40,40)",
        "block.region": "(1,1,1)",
    }  # fmt: skip
    return [f"--config.{name}={value}" for name, value in settings.items()]


def start(*asked):
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        asked, cwd=ROOT, start_new_session=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(*asked):
    """Run a command to its end, which is to be good."""
    process = start(*asked)
    _, told = process.communicate(timeout=400)
    assert process.returncode == 0, told[-2000:]


def stop(process, ready):
    """Send SIGTERM to the group as soon as something is there; return what is told from then on."""
    while not ready():
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=LONG_S)  # ends with the last that holds stderr
    assert process.returncode == 143, told[-2000:]
    assert "Traceback" not in told and told.count("SIGTERM") == 1, told
    return told.splitlines()[-1]


def lines_of(log):
    return log.read_text().count("\n") if log.exists() else 0


def voxels(path):
    return open_volume(path)[:, :, :]


def saved(told, log):
    """Tell the step at which a fit says that it was saved, if its log agrees."""
    step = int(told.removeprefix("SIGTERM at step ").split(":")[0])
    assert told == f"SIGTERM at step {step}: saved, the same command goes on"
    assert step == json.loads(log.read_text().splitlines()[-1])["step"] and step % 400
    return step


@pytest.mark.slow
def test_train_and_reconstruct(tmp_path):
    asked = [*command("train", f"--config={ROOT / 'configs' / 'siren.py'}"), *flags(tmp_path)]
    run, whole = tmp_path / "run", tmp_path / "whole"
    log = run / "regions" / "000001" / "metrics.jsonl"
    told = stop(start(*asked, f"--workdir={run}"), lambda: lines_of(log) > 3)
    step = saved(told, log)
    finish(*asked, f"--workdir={run}")
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(4, 1201, 4)) and step in steps
    finish(*asked, f"--workdir={whole}")
    name = "reconstruction.ome.zarr"
    np.testing.assert_array_equal(voxels(run / name), voxels(whole / name))
    again = command("reconstruct", f"--workdir={run}", "--factor=7.5")
    one, two = (f"--output={tmp_path / each}.ome.zarr" for each in ("one", "two"))
    done = tmp_path / ".one.ome.zarr.shared" / "done"
    told = stop(start(*again, one), lambda: done.exists() and any(done.iterdir()))
    assert told == "SIGTERM: ended, what is finished is kept, the same command goes on"
    for each in (one, two):
        finish(*again, each)
    np.testing.assert_array_equal(
        voxels(tmp_path / "one.ome.zarr"), voxels(tmp_path / "two.ome.zarr")
    )
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"stack.ome.zarr", "run", "whole", "one.ome.zarr", "two.ome.zarr"}


@pytest.mark.slow
def test_workers_of_a_cluster(tmp_path):
    """A worker does not save what it is at: at most `checkpoint_every` steps are done again."""
    pytest.importorskip("distributed", reason="pip install -e '.[cluster]'")
    asked = [*command("train", f"--config={ROOT / 'configs' / 'siren.py'}"), *flags(tmp_path)]
    run, whole = tmp_path / "run", tmp_path / "whole"
    logs = [run / "regions" / f"{index:06d}" / "metrics.jsonl" for index in range(4)]
    process = start(*asked, f"--workdir={run}", "--cluster=local", "--workers=2")
    told = stop(process, lambda: sum(map(lines_of, logs)) > 20)
    assert told == "SIGTERM: ended, what is finished is kept, the same command goes on"
    assert not (run / "failed.json").exists()
    finish(*asked, f"--workdir={run}", "--cluster=local", "--workers=2")
    finish(*asked, f"--workdir={whole}")
    name = "reconstruction.ome.zarr"
    np.testing.assert_array_equal(voxels(run / name), voxels(whole / name))


def sweep(folder):
    """A sweep of two units of a row each."""
    path = folder / "rows.py"
    path.write_text(
        "def sweep(add):\n"
        "    add('first', 'siren.py', {})\n"
        "    add('last', 'siren.py', {'seed': 1})\n"
    )
    settings = {
        "data.path": "phantom", "data.phantom_shape": "(17,32,28)", "data.simulate_factor": 4,
        "train.steps": 1200, "train.steps_per_dispatch": 4, "train.checkpoint_every": 400,
        "siren.width": 4, "siren.layers": 1, "siren.points": 32,
    }  # fmt: skip
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "emgauss_jax.sweep", f"--config={path}", *flags]


def kept(folder):
    """What stays of the rows of a sweep and has no time in it."""
    return {
        row: ((folder / "rows" / row / "metrics.jsonl").read_bytes(),
              voxels(folder / "rows" / row / "reconstruction.ome.tif").tobytes())
        for row in ("first", "last")
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("to", ["group", "parent", "child"])
def test_sweep(to, tmp_path):
    """The unit that is at work saves its checkpoint, and no row is tabulated as crashed."""
    asked, run = sweep(tmp_path), tmp_path / "run"
    process = start(*asked, f"--workdir={run}")

    def log():
        return next(iter(sorted(run.glob("units/*/fit_*/metrics.jsonl"))), run / "none")

    if to == "group":
        told = stop(process, lambda: lines_of(log()) > 3)
    else:
        told = stop_one(process, to, lambda: lines_of(log()) > 3)
    saved(told, log())
    assert not (run / "table.csv").exists() and not list(run.rglob("traceback.txt"))
    finish(*asked, f"--workdir={run}")
    assert (run / "table.csv").read_text().count("\n") > 2
    if to == "group":
        finish(*asked, f"--workdir={tmp_path / 'whole'}")
        assert kept(run) == kept(tmp_path / "whole")


def stop_one(process, to, ready):
    """As `stop`, but the signal goes to the command's first process alone, or to its task's."""
    psutil = pytest.importorskip("psutil", reason="wanted: pip install -e '.[cluster]'")
    while not ready():
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.01)
    those = psutil.Process(process.pid).children(recursive=True)
    (child,) = (each for each in those if "spawn_main" in " ".join(each.cmdline()))
    (child if to == "child" else psutil.Process(process.pid)).terminate()
    _, told = process.communicate(timeout=LONG_S)
    assert process.returncode == 143 and "Traceback" not in told, told[-2000:]
    return told.splitlines()[-1]
