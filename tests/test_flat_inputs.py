"""Volumes of one intensity, and those with blocks of one: every method and command has an answer.

It is the right voxels, or one line; never NaN, which JSON does not have, nor a traceback.
"""

import json

import numpy as np
import pytest

import emgauss_jax
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import open_volume
from emgauss_jax.execution.executors import alone
from emgauss_jax.execution.jobs import Job, open_run, run_job
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.pipeline.unseen_volume import UnseenVolume
from emgauss_jax.sweeps import plan
from emgauss_jax.sweeps.run_sweep import run_sweep
from emgauss_jax.sweeps.trials import Trial
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import SMALL, tiny, write

SHAPE, EDGE = (17, 32, 40), 16  # of a block in x
FAR = np.s_[:, :, 28:]  # of blocks of one intensity alone
NETWORKS = ("niiv", "emformer")
CASES = [(method, name) for method in SMALL for name in ("flat", "beside one intensity")]
CASES += [("emgauss", "flat float"), ("emgauss", "padded")]
VOXEL = (10.0, 10.0, 10.0)


def scene(name):
    """Isotropic voxels: one intensity, or tissue with one intensity beside it."""
    if name.startswith("flat"):
        dtype, value = {"flat": ("uint8", 100), "flat float": ("float32", 0.25)}[name]
        return np.full(SHAPE, value, dtype)
    values = tissue(SHAPE, 0)
    values = values.astype("uint16") * 20 + 30_000 if name == "padded" else values
    values[:, :, EDGE:] = 0 if name == "padded" else 77
    return values


def settings(name, path):
    """A config of three regions of a block each."""
    return tiny(
        name, data__path=str(path), block__max_size=(64, 32, EDGE), block__overlap=(1, 4, 4),
        block__region=(1, 1, 1),
    )  # fmt: skip


def check_json(folder):
    """Every file is JSON by the letter."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for path in folder.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    for path in folder.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line, parse_constant=refuse)


def attempt(method, name, do):
    """Do something; a network has nothing to learn from one intensity, and says so."""
    if method in NETWORKS and name.startswith("flat"):
        with pytest.raises(InputError, match="got voxels of one intensity alone, wanted some"):
            do()
        return False
    do()
    return True


def sweep(folder, config):
    """Sweep two rows that share a program: row -> its entry of the table."""
    trials = []
    for name, decay in (("a", 0.0), ("b", 0.5)):
        own = config.copy_and_resolve_references()
        own.train.ema_decay = decay
        trials.append(Trial(name, {}, own, prepare(own).template.configured))
    batches = plan.group(trials)
    assert len(batches) == 1
    table = run_sweep(trials, batches, folder / "sweep", lambda do, all: ((x, do(x)) for x in all))
    check_json(folder / "sweep")
    return {entry.name: entry for entry in table if entry.name in "ab"}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), CASES)
def test_every_command_has_an_answer(tmp_path, method, name):
    values = scene(name)
    config = settings(method, write(tmp_path / "v.ome.zarr", values, VOXEL))
    run = tmp_path / "run"
    fitted = attempt(method, name, lambda: train_and_evaluate(config, run))
    if fitted:
        check_json(run)
        got = open_volume(run / "reconstruction.ome.zarr")[:, :, :]
        assert np.isfinite(got).all()
        if name.startswith("flat"):
            np.testing.assert_array_equal(got, values)
        elif method not in NETWORKS:  # which draw the blocks of one intensity, too
            np.testing.assert_array_equal(got[FAR], values[FAR])
        output, errors = tmp_path / "r.ome.zarr", tmp_path / "u.ome.zarr"
        job = Job(str(run), False, str(output), ("factor", 2.0), str(errors))
        run_job(open_run(job), job, alone())
        expected = open_volume(errors)[:, :, :]
        assert (expected >= 0).all() and np.isfinite(expected).all()
    entries = sweep(tmp_path, config)
    assert [bool(each.failure) for each in entries.values()] == [not fitted] * 2
    check_api(tmp_path, method, name, config, values)


def check_api(folder, method, name, config, values):
    """Fit, save and load what the library is given as an array."""
    config.data.path, config.data.simulate_factor = "", 0

    def fit():
        made = emgauss_jax.fit(values[::4], voxel_nm=(40.0, 10.0, 10.0), config=config)
        drawn = made.volume()
        assert np.isfinite(drawn).all() and np.isfinite(made.uncertainty()).all()
        made.report(folder / "report")
        made.save(folder / "fit.safetensors")
        again = emgauss_jax.load(folder / "fit.safetensors").volume()
        np.testing.assert_array_equal(again, drawn)

    attempt(method, name, fit)


@pytest.mark.slow
@pytest.mark.parametrize("method", NETWORKS)
def test_a_network_draws_another_volume_of_one_intensity(tmp_path, method):
    path = write(tmp_path / "v.ome.zarr", scene("beside one intensity"), VOXEL)
    train_and_evaluate(settings(method, path), tmp_path / "run")
    flat = write(tmp_path / "flat.ome.zarr", scene("flat")[::4], (40.0, 10.0, 10.0))
    unseen = UnseenVolume(str(flat), "", (0.0, 0.0, 0.0), 0, (), "")
    job = Job(str(tmp_path / "run"), False, str(tmp_path / "r.ome.zarr"), None, "", unseen)
    run_job(open_run(job), job, alone())
    assert (open_volume(tmp_path / "r.ome.zarr")[:, :, :] == 100).all()


@pytest.mark.parametrize("missing", [(0, 1, 2, 3, 4), (1, 2, 3, 4)])
def test_a_stack_without_two_valid_slices_is_refused_in_a_line(tmp_path, missing):
    path = write(tmp_path / "v.ome.zarr", scene("flat"), VOXEL)
    config = settings("linear", path)
    config.data.missing = missing
    with pytest.raises(InputError, match=r"missing: got|valid"):
        train_and_evaluate(config, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("flat", ["prediction", "reference", "both", "observed"])
def test_what_is_of_one_intensity_is_scored_without_nan(tmp_path, flat):
    volumes = {"prediction": tissue(SHAPE, 0), "reference": tissue(SHAPE, 1)}
    for name in volumes:
        if flat in (name, "both"):
            volumes[name] = scene("flat")
    if flat == "observed":
        volumes["reference"][::4] = 100
    result = emgauss_jax.evaluate(
        volumes["prediction"], volumes["reference"], observed_every=4, voxel_nm=VOXEL,
        report=tmp_path / "report",
    )  # fmt: skip
    check_json(tmp_path / "report")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    psnr = result["scores"]["prediction"]["psnr"]
    assert psnr is None if flat == "both" else psnr > 0  # None: infinite
