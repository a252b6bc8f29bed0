"""A network, and a volume that it has not learned from."""

import os
import subprocess
import sys

import numpy as np
import pytest

from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import open_volume
from emgauss_jax.execution import workers
from emgauss_jax.execution.executors import alone, workers_of
from emgauss_jax.execution.jobs import Job, open_run, run_job
from emgauss_jax.methods import interpolate
from emgauss_jax.methods.base import Block
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.pipeline.unseen_volume import UnseenVolume, open_unseen
from emgauss_jax.storage import network_file
from emgauss_jax.storage.run_dir import claim_workdir
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import ROOT, default, fake_network, make_stack, tiny_emformer, tiny_niiv, write


@pytest.mark.slow
def test_a_volume_never_seen(tmp_path):
    """Its own volume, named as another, comes out as it did; another from slices of its own."""
    first, second = make_stack(tmp_path / "a.ome.tif"), make_stack(tmp_path / "b.ome.tif", 1)
    train_and_evaluate(tiny_niiv(first), tmp_path / "run")
    before = (tmp_path / "run" / network_file.FILE).read_bytes()
    outputs = []
    others = {"own": None, "same": UnseenVolume(first), "other": UnseenVolume(second)}
    for name, other in others.items():
        path = tmp_path / f"{name}.ome.tif"
        job = Job(str(tmp_path / "run"), False, str(path), None, "", other)
        run_job(open_run(job), job, alone())
        outputs.append(open_volume(path)[:, :, :])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert outputs[2].shape == (21, 24, 28)
    linear = interpolate.baselines(
        Block(open_volume(second)[:, :, :] / np.float32(255), np.arange(6.0), np.ones(6, bool)),
        np.arange(21) / 4, ("linear",),
    )["linear"]  # fmt: skip
    added = outputs[2] / 255 - linear
    assert 2 / 255 < np.abs(added).max() < 0.5  # the network has its say, over an interpolation
    assert (tmp_path / "run" / network_file.FILE).read_bytes() == before


@pytest.mark.slow
def test_the_command_draws_a_volume_never_seen_and_how_wrong_it_may_be(tmp_path):
    """Thinned out first, at a factor that was not learned from, one slice blank: it says so."""
    train_and_evaluate(tiny_niiv(make_stack(tmp_path / "a.ome.tif")), tmp_path / "run")
    values = tissue((25, 24, 28), 1)
    values[12] = 7  # slice 4 of those kept
    seen = write(tmp_path / "b.ome.tif", values, (10.0, 10.0, 10.0))
    outputs = {name: tmp_path / f"{name}.ome.tif" for name in ("output", "uncertainty")}
    done = subprocess.run(
        [sys.executable, "-m", "emgauss_jax.reconstruct", f"--workdir={tmp_path / 'run'}",
         f"--input={seen}", "--input_simulate_factor=3", "--factor=6", "--input_detect_missing",
         *(f"--{name}={path}" for name, path in outputs.items())],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning: 3 px from slice to slice, the network has learned from 4" in done.stderr
    assert (
        "input: 9 slices (3 missing) of 24 x 28 px, uint8, grey range 0 to 255, voxel 30 x 10 x 10 "
        "nm (z, y, x), from the file; output: 49 planes, voxel 5 x 10 x 10 nm\n"
    ) in done.stderr
    drawn, error = (open_volume(path) for path in outputs.values())
    assert drawn.shape == error.shape == (49, 24, 28)
    assert np.allclose(drawn.voxel_nm, (5, 10, 10)) and error[:, :, :].max() > 0
    assert "slice 4: blank" in done.stderr
    assert drawn[24:25, :, :].min() > 2 * 7  # nothing of it is left


@pytest.mark.parametrize(
    ("flag", "match"),
    [
        ("--input_simulate_factor=3", "without --input"),
        ("--input_voxel_nm=5,5", "without --input"),
        ("--input_detect_missing", "without --input"),
    ],
)
def test_flags_of_a_volume_that_is_not_named(tmp_path, flag, match):
    done = subprocess.run(
        [sys.executable, "-m", "emgauss_jax.reconstruct", "--workdir=w", "--output=o.tif", flag],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2 and match in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_volume_never_seen_is_drawn_by_a_cluster(tmp_path):
    """In blocks, by two workers: to the bit what one process draws."""
    pytest.importorskip("distributed", reason="wanted: pip install -e '.[cluster]'")
    first, second = (
        make_stack(tmp_path / "a.ome.zarr"),
        make_stack(tmp_path / "b.ome.zarr", 1, (6, 90, 90)),
    )
    sizes = {
        "block__max_size": (6, 48, 48),
        "block__overlap": (1, 8, 8),
        "block__region": (1, 1, 1),
    }
    train_and_evaluate(tiny_niiv(first, **sizes), tmp_path / "run")
    jobs = [
        Job(str(tmp_path / "run"), False, str(tmp_path / name), None, "", UnseenVolume(second))
        for name in ("alone.ome.zarr", "crew.ome.zarr")
    ]
    run_job(open_run(jobs[0]), jobs[0], alone())
    with workers.open_client("local", 2) as client:
        run_job(open_run(jobs[1]), jobs[1], workers_of(client))
    one, two = (open_volume(job.output)[:, :, :] for job in jobs)
    assert one.shape == (21, 90, 90)
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_missing_slices_are_drawn_and_never_looked_at(tmp_path):
    """EMformer, in blocks: the first slice, two beside each other; then with other values there."""
    missing = (0, 3, 4)
    kind = {"block__max_size": (6, 28, 28), "block__overlap": (2, 8, 8), "data__missing": missing}
    path = make_stack(tmp_path / "a.ome.tif", shape=(9, 24, 40))
    config = tiny_emformer(path, **kind)
    planes = open_volume(train_and_evaluate(config, tmp_path / "run"))[:, :, :]
    values = open_volume(path)[:, :, :]
    values[list(missing)] = 255 - values[list(missing)]
    changed = str(write(tmp_path / "changed.ome.tif", values, (40.0, 10.0, 10.0)))
    other = UnseenVolume(changed, missing=missing)
    job = Job(str(tmp_path / "run"), False, str(tmp_path / "again.ome.tif"), None, "", other)
    run_job(open_run(job), job, alone())
    np.testing.assert_array_equal(open_volume(job.output)[:, :, :], planes)
    run = prepare(config)
    assert run.grid.count == 2 and run.template.method.factors == (2, 12)
    linear = interpolate.baselines(
        Block(run.observed.unit_slices, run.observed.z, run.observed.plan.valid),
        np.arange(33) / 4, ("linear",),
    )["linear"]  # fmt: skip
    added = np.abs(planes / 255 - linear)
    assert 2 / 255 < added[[0, 12, 16]].max() < 0.5  # the network has its say there too


def test_it_has_px_and_depths_of_its_own(tmp_path):
    """What a config says of the run's own volume is not said of another."""
    own = {"data__z_nm": "0,40,90", "data__crop": "0:3,:,:", "data__missing": (1,)}
    config = tiny_niiv("somewhere", **own)
    claim_workdir(tmp_path / "run", config)
    fake_network(tmp_path / "run", config)
    path = make_stack(tmp_path / "a.ome.tif", voxel_nm=(40.0, 10.0, 5.0))
    even = open_unseen(tmp_path / "run", UnseenVolume(path)).observed
    assert even.shape == (6, 47, 28) and even.voxel_nm == (40.0, 5.0, 5.0)
    assert even.depths_nm is None and even.plan.valid.all()
    given = UnseenVolume(path, z_nm="100,120,160,200,240,280")
    uneven = open_unseen(tmp_path / "run", given).observed
    assert uneven.depths_nm.tolist() == [0, 20, 60, 100, 140, 180] and uneven.voxel_nm[0] == 36


def test_a_fit_of_its_own_volume_is_for_no_other(tmp_path):
    config = default()
    claim_workdir(tmp_path / "run", config)
    with pytest.raises(ValueError, match="workdir of emgauss"):
        open_unseen(tmp_path / "run", UnseenVolume(make_stack(tmp_path / "a.ome.tif")))


@pytest.mark.parametrize(
    ("voxel_nm", "degradation", "other", "match"),
    [
        ((10.0, 10.0, 10.0), "subsample", {}, "input: got voxels of 10 x 10 x 10 nm"),
        ((5.0, 10.0, 5.0), "subsample", {}, "slices 5 nm apart, wanted y and x no longer"),
        ((40.0, 10.0, 10.0), "average", {}, "network of averaged slices"),
        ((40.0, 10.0, 10.0), "subsample", {"dataset": "raw"}, "dataset"),
    ],
)
def test_a_volume_it_cannot_be_applied_to(tmp_path, voxel_nm, degradation, other, match):
    config = tiny_niiv("somewhere", data__degradation=degradation)
    claim_workdir(tmp_path / "run", config)
    fake_network(tmp_path / "run", config)
    path = make_stack(tmp_path / "a.ome.tif", voxel_nm=voxel_nm)
    with pytest.raises(ValueError, match=match):
        open_unseen(tmp_path / "run", UnseenVolume(path, **other))
