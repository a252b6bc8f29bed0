"""One network for many volumes: learned from all, gone on with, applied to one never seen."""

import json
import pathlib
import runpy

import numpy as np
import pytest

from emgauss_jax import cluster, network, trained
from emgauss_jax.crew import alone, workers_of
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.experiment import prepare
from emgauss_jax.other import Other, open_other
from emgauss_jax.sweep import hyper_of
from emgauss_jax.train import train_and_evaluate
from emgauss_jax.training import fit as fit_module
from emgauss_jax.unit import Row, Unit, run_unit
from emgauss_jax.work import Job, open_run, run_job
from emgauss_jax.workdir import claim_workdir, read_workdir
from tests import test_commands as commands

ROOT = pathlib.Path(__file__).parents[1]


def volume(path, seed=0, shape=(6, 24, 28), voxel_nm=(40.0, 10.0, 10.0)):
    with create_volume(path, shape, np.uint8, voxel_nm) as writer:
        writer[:, :, :] = tissue(shape, seed)
    return str(path)


def tiny(path, *others, **changes):
    config = runpy.run_path(str(ROOT / "configs" / "niiv_tiny.py"))["get_config"]()
    config.data.path, config.data.paths = path, others
    config.niiv.update(features=4, blocks=1, width=8, layers=1, batch=2, rows=3, columns=16)
    config.train.update(steps=4, steps_per_dispatch=2)
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def test_blocks_of_all_volumes_are_learned_from(tmp_path):
    first, second = volume(tmp_path / "a.ome.tif"), volume(tmp_path / "b.ome.tif", 1, (4, 50, 20))
    config = tiny(first, second, block__max_size=(64, 28, 28))
    blocks = network.draw_blocks(prepare(config))
    assert blocks.slices.shape[1:] == (4, 24, 20)  # what both can give
    whole = {path: open_volume(path)[:, :, :] / np.float32(255) for path in (first, second)}
    found = [
        next(path for path, values in whole.items() if _holds(values, block))
        for block in np.asarray(blocks.slices)
    ]
    assert set(found) == {first, second}


def _holds(values, block):
    d, h, w = block.shape
    places = np.ndindex(*(n - m + 1 for n, m in zip(values.shape, block.shape, strict=True)))
    return any(np.allclose(values[z : z + d, y : y + h, x : x + w], block) for z, y, x in places)


def test_volumes_that_do_not_belong_together(tmp_path):
    first = volume(tmp_path / "a.ome.tif")
    other = volume(tmp_path / "b.ome.tif", voxel_nm=(80.0, 10.0, 10.0))
    with pytest.raises(ValueError, match=r"b\.ome\.tif: got 8 px from slice to slice, wanted 4"):
        network.check_learnable(prepare(tiny(first, other)))


def test_a_volume_never_seen(tmp_path):
    """What the network makes of a volume does not depend on which one it was trained with."""
    first, second = volume(tmp_path / "a.ome.tif"), volume(tmp_path / "b.ome.tif", 1)
    train_and_evaluate(tiny(first), tmp_path / "run")
    before = (tmp_path / "run" / trained.FILE).read_bytes()
    outputs = []
    for name, other in (("own", None), ("same", Other(first)), ("other", Other(second))):
        path = tmp_path / f"{name}.ome.tif"
        job = Job(str(tmp_path / "run"), False, str(path), None, "", other)
        run_job(open_run(job), job, alone())
        outputs.append(open_volume(path)[:, :, :])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert outputs[2].shape == (21, 24, 28)
    # It starts as linear interpolation: after four steps observed slices are almost what they were.
    np.testing.assert_allclose(outputs[2][::4], open_volume(second)[:, :, :], atol=40)
    assert (tmp_path / "run" / trained.FILE).read_bytes() == before


@pytest.mark.slow
def test_a_volume_never_seen_is_drawn_by_a_cluster(tmp_path):
    """In blocks, by two workers: to the bit what one process draws."""
    pytest.importorskip("distributed", reason="wanted: pip install -e '.[cluster]'")
    first, second = volume(tmp_path / "a.ome.zarr"), volume(tmp_path / "b.ome.zarr", 1, (6, 90, 90))
    sizes = {
        "block__max_size": (6, 48, 48),
        "block__overlap": (1, 8, 8),
        "block__region": (1, 1, 1),
    }
    train_and_evaluate(tiny(first, **sizes), tmp_path / "run")
    jobs = [
        Job(str(tmp_path / "run"), False, str(tmp_path / name), None, "", Other(second))
        for name in ("alone.ome.zarr", "crew.ome.zarr")
    ]
    run_job(open_run(jobs[0]), jobs[0], alone())
    with cluster.open_client("local", 2) as client:
        run_job(open_run(jobs[1]), jobs[1], workers_of(client))
    one, two = (open_volume(job.output)[:, :, :] for job in jobs)
    assert one.shape == (21, 90, 90)
    np.testing.assert_array_equal(one, two)


def test_a_fit_of_its_own_volume_is_for_no_other(tmp_path):
    config = runpy.run_path(str(ROOT / "configs" / "emgauss.py"))["get_config"]()
    claim_workdir(tmp_path / "run", config)
    with pytest.raises(ValueError, match="workdir of emgauss"):
        open_other(tmp_path / "run", Other(volume(tmp_path / "a.ome.tif")))


@pytest.mark.parametrize(
    ("voxel_nm", "degradation", "other", "match"),
    [
        ((10.0, 10.0, 10.0), "subsample", {}, "input: got voxels of 10 x 10 x 10 nm"),
        ((40.0, 10.0, 10.0), "average", {}, "network of averaged slices"),
        ((40.0, 10.0, 10.0), "subsample", {"dataset": "raw"}, "dataset"),
    ],
)
def test_a_volume_it_cannot_be_applied_to(tmp_path, voxel_nm, degradation, other, match):
    config = tiny("somewhere", data__degradation=degradation)
    claim_workdir(tmp_path / "run", config)
    path = volume(tmp_path / "a.ome.tif", voxel_nm=voxel_nm)
    with pytest.raises(ValueError, match=match):
        open_other(tmp_path / "run", Other(path, **other))


@pytest.mark.parametrize(
    ("changes", "shape", "match"),
    [
        (
            {"block__max_size": (64, 6, 6), "block__overlap": (1, 1, 1)},
            (6, 24, 28),
            "blocks of 6 x 6 px, wanted 9 px",
        ),
        ({"data__missing": (1,)}, (6, 24, 28), "missing slices"),
        ({}, (6, 8, 28), "blocks of 8 x 28 px, wanted 9 px"),
        ({"data__voxel_nm": (40.0, 10.0, 5.0)}, (6, 24, 28), "wanted y = x"),
    ],
)
def test_what_cannot_be_learned_from(tmp_path, changes, shape, match):
    path = volume(tmp_path / "a.ome.tif", shape=shape)
    with pytest.raises(ValueError, match=match):
        train_and_evaluate(tiny(path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_small_volumes_are_learned_from_as_often_as_large_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "MOST_BLOCKS", 4)
    large = volume(tmp_path / "a.ome.tif", shape=(6, 96, 96))
    small = volume(tmp_path / "b.ome.tif", 1, (6, 24, 24))
    blocks = network.draw_blocks(prepare(tiny(large, small, block__max_size=(64, 24, 24))))
    values = open_volume(small)[:, :, :] / np.float32(255)
    assert len(blocks.z) == 4
    assert sum(np.allclose(block, values) for block in blocks.slices) == 1


def test_killed_and_started_again(tmp_path, monkeypatch):
    path = volume(tmp_path / "a.ome.tif")
    whole = train_and_evaluate(tiny(path), tmp_path / "whole")
    config = tiny(path, train__checkpoint_every=2)
    saved = fit_module.checkpoint.save

    def killed(path, tree):
        saved(path, tree)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module.checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config, tmp_path / "run")
    monkeypatch.undo()
    again = train_and_evaluate(config, tmp_path / "run")
    np.testing.assert_array_equal(open_volume(again)[:, :, :], open_volume(whole)[:, :, :])
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert read_workdir(tmp_path / "run").method == "niiv"


def emgauss(path, teacher):
    config = commands.tiny(data__path=path, data__simulate_factor=0, prior__flow=True)
    config.prior.network = str(teacher)
    return config


def test_a_network_of_other_stacks_teaches(tmp_path):
    """Its planes are weighed with the rest; once labels are made it is needed no more."""
    first, second = volume(tmp_path / "a.ome.tif"), volume(tmp_path / "b.ome.tif", 1)
    train_and_evaluate(tiny(first), tmp_path / "network")
    config = emgauss(second, tmp_path / "network")
    output = train_and_evaluate(config, tmp_path / "run")
    trust = json.loads((tmp_path / "run" / "prior" / "outcome.json").read_text())
    assert set(trust["weights"]) == {"interpolation", "flow", "trained network"}
    assert set(trust["wide_weights"]) == {"interpolation", "flow"}
    (tmp_path / "network" / trained.FILE).unlink()
    job = Job(str(tmp_path / "run"), False, str(tmp_path / "again.ome.tif"), None, "")
    run_job(open_run(job), job, alone())
    again = open_volume(tmp_path / "again.ome.tif")[:, :, :]
    np.testing.assert_array_equal(again, open_volume(output)[:, :, :])


def test_a_network_that_cannot_teach(tmp_path):
    first = volume(tmp_path / "a.ome.tif")
    claim_workdir(tmp_path / "averaged", tiny(first, data__degradation="average"))
    claim_workdir(tmp_path / "unfitted", tiny(first))
    for name, match in (
        ("nowhere", "wanted one made by train"),
        ("averaged", "learned from 'average', wanted 'subsample'"),
        ("unfitted", "got no fitted network"),
    ):
        with pytest.raises(ValueError, match=match):
            train_and_evaluate(emgauss(first, tmp_path / name), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_rows_of_a_sweep_are_the_networks_of_each_alone(tmp_path):
    """Two that differ in a traced number; one that fails takes none with it."""
    first = volume(tmp_path / "a.ome.tif", shape=(21, 24, 28), voxel_nm=(10.0, 10.0, 10.0))
    rates = {"fine": 1e-3, "faster": 2e-3, "lost": 3e38}
    configs = {
        name: tiny(first, data__simulate_factor=4, optimizer__rates__decoder=(rate, 0.1))
        for name, rate in rates.items()
    }
    rows = tuple(
        Row(name, {}, config.copy_and_resolve_references(), hyper_of(config))
        for name, config in configs.items()
    )
    outcomes = run_unit(tmp_path / "sweep", Unit("key", rows))
    assert "nonfinite" in outcomes["lost"].reason
    for name in ("fine", "faster"):
        alone_ = train_and_evaluate(configs[name], tmp_path / name)
        row = tmp_path / "sweep" / "rows" / name / alone_.name
        np.testing.assert_allclose(
            open_volume(row)[:, :, :] * 1.0, open_volume(alone_)[:, :, :], atol=1.0
        )
        assert outcomes[name].scores
