"""Sweeps: rows become units, each is what it is alone, and one that fails fails alone."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation import run_report
from emgauss_jax.pipeline.region_fit import _share_labels, fit_region
from emgauss_jax.pipeline.region_store import read_fitted
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.pseudo_labels import generate, store
from emgauss_jax.pseudo_labels.weights import SourceWeights
from emgauss_jax.storage.run_dir import read_workdir
from emgauss_jax.sweeps import plan, trial_batch
from emgauss_jax.sweeps.run_sweep import run_sweep
from emgauss_jax.sweeps.trials import trial_folder
from emgauss_jax.train import train_and_evaluate
from emgauss_jax.training import fit

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = ROOT / "launch" / "sweep.py"
SMALL = {
    "data.path": "phantom", "data.phantom_shape": "(17, 32, 28)", "data.simulate_factor": "4",
    "train.steps": "8", "train.steps_per_dispatch": "2", "prior.steps": "0", "prior.flow": "False",
    "block.max_size": "(64, 32, 24)", "train.blocks_per_chunk": "3",
}  # fmt: skip
RATE, WEIGHT = "optimizer.rates.canonical.amplitudes", "emgauss.ssim_weight"
THREE = {"slow": {RATE: (1e-3, 0.5)}, "l1": {WEIGHT: 0.0}, "no average": {"train.ema_decay": 0.0}}
DIVERGES = {RATE: (1e30, 1.0)}


def write(path, rows):
    """A file of configs/sweeps/ with rows {name: changes} of the default config."""
    calls = "".join(f"    add({name!r}, 'emgauss.py', {own!r})\n" for name, own in rows.items())
    path.write_text(f"def sweep(add):\n{calls}")
    return path


def rows_of(tmp_path, rows, **changes):
    common = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return plan.read_trials(write(tmp_path / "rows.py", rows), "", common)


def here(function, units):
    """Work through units in this process."""
    for one in units:
        yield one, function(one)


def run(tmp_path, rows, work=here):
    """Run a sweep: row -> its entry of the table."""
    table = run_sweep(rows, plan.group(rows), tmp_path / "sweep", work)
    return {entry.name: entry for entry in table}


def test_rows_that_differ_in_traced_numbers_alone_make_a_unit(tmp_path):
    others = {
        "stages": {"emgauss.stages.use_teacher": False, "train.ema_decay": 0.0},
        "seed": {"seed": 1},
        "ramp": {"emgauss.stages.weight_first": 0.5, "emgauss.stages.weight_last": 0.5},
    }
    rows = rows_of(tmp_path, THREE | others)
    assert not any(row.problem for row in rows)
    names = [[row.name for row in one.trials] for one in plan.group(rows)]
    assert names == [["slow", "l1", "no average", "ramp"], ["stages"], ["seed"]]
    hypers = {row.name: row.hyper for row in rows}
    assert hypers["slow"].rates["canonical.amplitudes"] == (1e-3, 0.5)
    assert hypers["l1"].weights["ssim_weight"] == 0 and hypers["no average"].ema_decay == 0
    parts = plan.group(rows, 3)
    assert [len(one.trials) for one in parts] == [3, 1, 1, 1]
    assert len({one.key for one in parts}) == 4
    with pytest.raises(ValueError, match="rows_per_unit: got -1"):
        plan.group(rows, -1)


def test_rows_that_cannot_be_are_named(tmp_path):
    bad = {
        "no such": {"emgauss.ssim": 1},
        "kind": {"train.checkpoint_every": "many"},
        "decay": {"train.ema_decay": 1.0},
        "rate": {RATE: (0.1,)},
        "method": {"method": "magic"},
    }
    rows = rows_of(tmp_path, {"fine": {}} | bad)
    problems = {row.name: row.problem for row in rows}
    for name, match in zip(
        problems, ("", "ssim", "many", "wanted 0 <= decay", "final fraction", "wanted one of"),
        strict=True,
    ):  # fmt: skip
        assert match in problems[name] and bool(problems[name]) == bool(match)
    assert [len(one.trials) for one in plan.group(rows)] == [1]
    assert "rows are compared" in rows_of(tmp_path, {"a": {}}, data__simulate_factor="0")[0].problem
    for names in (("a", "a/b"), ("a b", "a_b"), ("../a",), ("/a",), (" ",)):
        with pytest.raises(ValueError, match="a name of its own"):
            rows_of(tmp_path, {name: {} for name in names})
    with pytest.raises(ValueError, match="the name of a row"):
        plan.read_trials(write(tmp_path / "rows.py", {"a": {}}), "b", SMALL)
    with pytest.raises(ValueError, match="wanted a file"):
        plan.read_trials(tmp_path / "none.py", "", SMALL)


def test_trials_have_pseudo_labels_where_nothing_can_be_linked(tmp_path, monkeypatch):
    """What stays of them once a region is fitted is copied; the planes are for fits to come."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    planes, judged = np.ones((2, 3, 4), np.float16), SourceWeights({"flow": 1.0}, 2.0, {}, 3.0, {})
    z = np.zeros(2, np.float32)
    store.write_labels(shared, store.Labels(planes, planes / 2, z, 1, judged))

    def refuse(*args, **keywords):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    for _ in range(2):  # started again, it is there
        _share_labels(shared / store.FOLDER, own / store.FOLDER)
    labels = store.read_labels(own, z, 1)
    assert not (own / store.FOLDER).is_symlink() and labels.judged == judged
    np.testing.assert_array_equal(labels.spread, planes / 2)
    assert not (own / store.FOLDER / store.PLANES).exists()
    assert store.read_labels(shared, labels.z, 1).planes.all()


def test_the_sweeps_of_this_repository_can_be_read():
    counts = {}
    for path in sorted((ROOT / "configs" / "sweeps").glob("*.py")):
        rows = plan.read_trials(path, "", {"data.simulate_factor": "8"})
        assert not any(row.problem for row in rows)
        counts[path.stem] = len(rows), len(plan.group(rows))
    assert counts == {"ablation": (14, 13), "methods": (5, 5), "rates": (24, 1)}


@pytest.mark.slow
def test_rows_of_a_unit_are_what_each_is_alone_and_one_that_diverges_fails_alone(tmp_path):
    rows = rows_of(tmp_path, {"bad": DIVERGES} | THREE)
    table = run(tmp_path, rows)
    assert table["bad"].failure.startswith("step 1: got nonfinite 1, wanted 0")
    csv = (tmp_path / "sweep" / "table.csv").read_text()
    assert csv.count("\n") == 9 and "got nonfinite" in csv  # a head, four rivals
    for row in rows[1:]:
        folder = trial_folder(tmp_path / "sweep", row.name)
        one_run = prepare(row.config)
        fit_region(one_run, 0, tmp_path / "alone" / row.name)
        pair = [read_fitted(one_run, 0, each) for each in (tmp_path / "alone" / row.name, folder)]
        leaves = (jax.tree.leaves(each.params) for each in pair)
        for one, other in zip(*leaves, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    path = train_and_evaluate(row.config, tmp_path / "run")
    volumes = [open_volume(each)[:, :, :].astype(int) for each in (path, folder / path.name)]
    assert np.abs(volumes[0] - volumes[1]).max() <= 1
    scores = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())["scores"]
    seconds = {name: table[row.name].scores.pop(name) for name in ("fit_s", "draw_s")}
    assert min(seconds.values()) > 0
    assert table[row.name].scores == pytest.approx(scores["emgauss"], rel=1e-3)
    assert len({table[name].scores["psnr"] for name in THREE}) == 3


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """Killed in the report of the second row; then the failed row alone is tried again."""
    rows = rows_of(
        tmp_path, {"first": {}, "bad": DIVERGES, "last": {WEIGHT: 0.0}}, prior__flow="True"
    )
    reported = []

    def report_once(run, path, folder):
        if reported:
            raise KeyboardInterrupt
        reported.append(folder)
        run_report.report_run(run, path, folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trial_batch, "report_run", report_once)
        run(tmp_path, rows)
    volume = reported[0] / "reconstruction.ome.tif"
    made = volume.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(fit, "_dispatches", None)  # every step has been done
        patch.setattr(generate, "judge", None)
        table = run(tmp_path, rows)
    assert volume.stat().st_mtime_ns == made
    assert table["last"].scores["fit_s"] is None  # seconds since a start, which this was not
    assert [bool(table[row.name].failure) for row in rows] == [False, True, False]
    assert not list((tmp_path / "sweep" / "units").glob("*/fit_*"))
    tried = []
    again = run(
        tmp_path, rows, lambda function, units: (tried.extend(units), here(function, units))[1]
    )
    assert [[row.name for row in one.trials] for one in tried] == [["bad"]]
    assert again == table
    folder = trial_folder(tmp_path / "sweep", "last")
    labels = read_fitted(prepare(read_workdir(folder)), 0, folder).labels
    assert labels.judged.weights["flow"] >= 0


@pytest.mark.slow
def test_a_row_folder_belongs_to_one_config(tmp_path):
    first = run(tmp_path, rows_of(tmp_path, {"a": {}}))
    other = run(tmp_path, rows_of(tmp_path, {"a": {WEIGHT: 0.5}, "b": {WEIGHT: 0.5}}))
    assert not first["a"].failure and not other["b"].failure
    assert "emgauss.ssim_weight=0.2, got" in other["a"].failure


@pytest.mark.slow
def test_a_unit_that_crashes_fails_alone(tmp_path):
    def work(function, units):
        for one in units:
            yield one, RuntimeError("killed") if one.trials[0].name == "a" else function(one)

    table = run(tmp_path, rows_of(tmp_path, {"a": {}, "b": {"seed": 1}}), work)
    assert table["a"].failure.startswith("RuntimeError, see units/") and table["b"].scores
    assert "killed" in (tmp_path / "sweep" / table["a"].failure.split()[-1]).read_text()


def start(tmp_path, rows, *args, workdir="sweep"):
    """Start the command in a process of its own."""
    settings = [f"--config.{key}={value}" for key, value in SMALL.items()]
    path = write(tmp_path / "rows.py", rows)
    args = (f"--config={path}", f"--workdir={tmp_path / workdir}", *settings, *args)
    return subprocess.Popen(
        [sys.executable, COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip


def command(*args, **keywords):
    """Run the command to its end."""
    process = start(*args, **keywords)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.slow
def test_a_dry_run_names_units_and_bad_rows_and_writes_nothing(tmp_path):
    done = command(
        tmp_path, THREE | {"bad": {"train.checkpoint_every": 0}, "other": {"seed": 2}}, "--dry_run"
    )
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0].endswith("3 rows x 2 blocks = 6 fits")
    assert lines[1:4] == ["  slow", "  l1", "  no average"]
    assert lines[4].endswith("1 rows x 2 blocks = 2 fits") and lines[5] == "  other"
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: 1 of 5 rows failed: bad: train: got steps 8")
    assert {path.name for path in tmp_path.iterdir()} == {"rows.py"}
    assert command(tmp_path, THREE, "--dry_run").returncode == 0
    assert "wanted --config.KEY=VALUE" in command(tmp_path, THREE, "--confg=1").stderr


@pytest.mark.slow
@pytest.mark.parametrize("args", [(), ("--cluster=local", "--workers=2")], ids=["alone", "dask"])
def test_the_command_runs_units_and_fails_in_one_line(args, tmp_path):
    if args:
        pytest.importorskip("distributed", reason="pip install -e '.[cluster]'")
    rows = THREE | {"other": {"seed": 2}, "bad": DIVERGES, "phantom": {"data.path": "none.tif"}}
    del rows["l1"]  # and a flag goes over a row's own setting, so that "phantom" has a volume
    done = command(tmp_path, rows, *args)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 5 rows failed: bad: step 1: got nonfinite")
    assert all(f"| {name} |" in done.stdout for name in rows)
    assert (tmp_path / "sweep" / "table.html").exists()


@pytest.mark.slow
def test_a_killed_command_goes_on_from_its_checkpoint(tmp_path):
    long = ("--config.train.steps=400", "--config.train.checkpoint_every=20")
    assert command(tmp_path, THREE, *long, workdir="whole").returncode == 0
    process = start(tmp_path, THREE, *long)
    logs, lines = (tmp_path / "sweep" / "units"), 0
    while lines < 150:
        assert process.poll() is None, "it was not to end before it was killed"
        lines = sum(log.read_text().count("\n") for log in logs.glob("*/fit_*/metrics.jsonl"))
        time.sleep(0.01)
    process.kill()
    process.communicate()  # ends with the last process that holds its output
    (log,) = logs.glob("*/fit_*/metrics.jsonl")
    (newest,) = (log.parent / "checkpoints" / "chunk_0000").glob("[0-9]*")
    assert 20 <= int(newest.stem) < 400  # the step
    done = command(tmp_path, THREE, *long)
    assert done.returncode == 0
    for name in ("slow", "l1", "no_average"):
        texts = [tmp_path / each / "rows" / name / "metrics.jsonl" for each in ("whole", "sweep")]
        assert len({path.read_bytes() for path in texts}) == 1
