"""One network for many volumes: learned from all, gone on with, applied to one never seen."""

import functools
import json
import os
import pathlib
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest

from emgauss_jax import cluster, network, trained
from emgauss_jax.crew import alone, workers_of
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.experiment import cut_grid, missing_of, prepare
from emgauss_jax.methods import interpolate, registry
from emgauss_jax.methods.base import Block
from emgauss_jax.other import Other, open_other
from emgauss_jax.sweep import hyper_of
from emgauss_jax.teach import fill_in
from emgauss_jax.train import train_and_evaluate
from emgauss_jax.training import fit as fit_module
from emgauss_jax.trust import OTHERS
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
    config.train.update(steps=4, steps_per_dispatch=2, ema_decay=0.0)
    config.optimizer.rates.update(encoder=(0.05, 1.0), decoder=(0.05, 1.0))  # to be seen in uint8
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def test_blocks_of_all_volumes_are_learned_from(tmp_path):
    first, second = volume(tmp_path / "a.ome.tif"), volume(tmp_path / "b.ome.tif", 1, (4, 50, 20))
    config = tiny(first, second, block__max_size=(64, 28, 28))
    blocks, learned = network.draw_blocks(prepare(config))
    assert blocks.slices.shape[1:] == (4, 24, 20)  # what both can give
    assert str(learned) == "7 blocks of 4 x 24 x 20, of 7 in 2 volumes"
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
    """Its own volume, named as another, comes out as it did; another from slices of its own."""
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
    linear = interpolate.baselines(
        Block(open_volume(second)[:, :, :] / np.float32(255), np.arange(6.0), np.ones(6, bool)),
        np.arange(21) / 4, ("linear",),
    )["linear"]  # fmt: skip
    added = outputs[2] / 255 - linear
    assert 2 / 255 < np.abs(added).max() < 0.5  # the network has its say, over an interpolation
    assert (tmp_path / "run" / trained.FILE).read_bytes() == before


def test_the_command_draws_a_volume_never_seen_and_how_wrong_it_may_be(tmp_path):
    """Thinned out first, at a factor that was not learned from: it says so."""
    train_and_evaluate(tiny(volume(tmp_path / "a.ome.tif")), tmp_path / "run")
    seen = volume(tmp_path / "b.ome.tif", 1, (25, 24, 28), (10.0, 10.0, 10.0))
    outputs = {name: tmp_path / f"{name}.ome.tif" for name in ("output", "uncertainty")}
    done = subprocess.run(
        [sys.executable, "-m", "emgauss_jax.reconstruct", f"--workdir={tmp_path / 'run'}",
         f"--input={seen}", "--input_simulate_factor=3", "--factor=6",
         *(f"--{name}={path}" for name, path in outputs.items())],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "input: 3 px from slice to slice, the network has learned from 4" in done.stderr
    drawn, error = (open_volume(path) for path in outputs.values())
    assert drawn.shape == error.shape == (49, 24, 28)
    assert np.allclose(drawn.voxel_nm, (5, 10, 10)) and error[:, :, :].max() > 0


@pytest.mark.parametrize(
    ("flag", "match"),
    [
        ("--input_simulate_factor=3", "without --input"),
        ("--input_voxel_nm=5,5", "without --input"),
    ],
)
def test_flags_of_a_volume_that_is_not_named(tmp_path, flag, match):
    done = subprocess.run(
        [sys.executable, "-m", "emgauss_jax.reconstruct", "--workdir=w", "--output=o.tif", flag],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2 and match in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_network_that_teaches_is_asked_for_planes_slab_by_slab(tmp_path):
    path = volume(tmp_path / "a.ome.tif", shape=(20, 24, 28))
    train_and_evaluate(tiny(path), tmp_path / "network")
    config = emgauss(path, tmp_path / "network")
    run = prepare(config)
    prior = run.prior.of(run.observed)
    found = fill_in(prior, None, prior.stack, prior.depths)[OTHERS]
    assert len(prior.depths) == 77  # more than one slab
    method, params = trained.open_network(tmp_path / "network", prior.sampled)
    draw = jax.jit(method.predict_with_error)
    want = draw(params, prior.stack, prior.depths.astype(np.float32))
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


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


def fake_network(workdir, config):
    method = registry.build("niiv", config, registry.Sampled())
    learned = trained.Learned(4, 1, 1, 1, (6, 24, 28))
    trained.write(workdir, method.init(jax.random.key(0), None), learned)


@pytest.mark.parametrize(
    ("voxel_nm", "degradation", "other", "match"),
    [
        ((10.0, 10.0, 10.0), "subsample", {}, "input: got voxels of 10 x 10 x 10 nm"),
        ((40.0, 10.0, 5.0), "subsample", {}, "input: got voxels of 40 x 10 x 5 nm"),
        ((40.0, 10.0, 10.0), "average", {}, "network of averaged slices"),
        ((40.0, 10.0, 10.0), "subsample", {"dataset": "raw"}, "dataset"),
    ],
)
def test_a_volume_it_cannot_be_applied_to(tmp_path, voxel_nm, degradation, other, match):
    config = tiny("somewhere", data__degradation=degradation)
    claim_workdir(tmp_path / "run", config)
    fake_network(tmp_path / "run", config)
    path = volume(tmp_path / "a.ome.tif", voxel_nm=voxel_nm)
    with pytest.raises(ValueError, match=match):
        open_other(tmp_path / "run", Other(path, **other))


@pytest.mark.parametrize(
    ("changes", "shape", "match"),
    [
        (
            {"block__max_size": (64, 6, 6), "block__overlap": (1, 1, 1)},
            (6, 24, 28),
            "blocks of 6 x 6 px, wanted 11 px",
        ),
        ({}, (6, 8, 28), "blocks of 8 x 28 px, wanted 11 px"),
        ({"data__voxel_nm": (40.0, 10.0, 5.0)}, (6, 24, 28), "wanted y = x"),
    ],
)
def test_what_cannot_be_learned_from(tmp_path, changes, shape, match):
    path = volume(tmp_path / "a.ome.tif", shape=shape)
    with pytest.raises(ValueError, match=match):
        train_and_evaluate(tiny(path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def tiny_emformer(path, **changes):
    config = commands.tiny("emformer_tiny", data__path=path, data__simulate_factor=0)
    config.train.update(steps=4, steps_per_dispatch=2, ema_decay=0.0)
    config.optimizer.rates.update(network=(0.05, 1.0))  # to be seen in uint8
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def test_missing_slices_are_drawn_and_never_looked_at(tmp_path):
    """EMformer, in blocks: the first slice, two beside each other; then with other values there."""
    missing = (0, 3, 4)
    kind = {"block__max_size": (6, 28, 28), "block__overlap": (2, 8, 8), "data__missing": missing}
    path = volume(tmp_path / "a.ome.tif", shape=(9, 24, 40))
    config = tiny_emformer(path, **kind)
    planes = open_volume(train_and_evaluate(config, tmp_path / "run"))[:, :, :]
    values = open_volume(path)[:, :, :]
    values[list(missing)] = 255 - values[list(missing)]
    changed = str(commands.write(tmp_path / "changed.ome.tif", values, (40.0, 10.0, 10.0)))
    other = Other(changed, missing=missing)
    job = Job(str(tmp_path / "run"), False, str(tmp_path / "again.ome.tif"), None, "", other)
    run_job(open_run(job), job, alone())
    np.testing.assert_array_equal(open_volume(job.output)[:, :, :], planes)
    run = prepare(config)
    assert run.grid.count == 2 and run.problem.method.factors == (2, 12)
    linear = interpolate.baselines(
        Block(run.observed.unit_slices, run.observed.z, run.observed.plan.valid),
        np.arange(33) / 4, ("linear",),
    )["linear"]  # fmt: skip
    added = np.abs(planes / 255 - linear)
    assert 2 / 255 < added[[0, 12, 16]].max() < 0.5  # the network has its say there too


@pytest.mark.parametrize(
    ("missing", "size", "want"),
    [
        ((), 3, (0, 0, 0)),
        ((0, 1), 3, (2, 0, 0)),
        ((9,), 3, (0, 0, 1)),
        ((2, 3, 8), 7, (0, 3, 0)),  # all valid ones are one block
        ((2, 3, 8), 3, (0, 2, 0)),  # 1 4 5 lack two, 5 6 7 none, 6 7 9 one
    ],
)
def test_slices_that_a_block_may_lack(missing, size, want):
    valid = np.ones(10, bool)
    valid[list(missing)] = False
    grid = cut_grid((int(valid.sum()), 20, 20), (size, 20, 20), (1, 0, 0))
    assert missing_of(valid, grid) == want


def test_small_volumes_are_learned_from_as_often_as_large_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "MOST_BLOCKS", 4)
    large = volume(tmp_path / "a.ome.tif", shape=(6, 96, 96))
    small = volume(tmp_path / "b.ome.tif", 1, (6, 24, 24))
    config = tiny(large, small, block__max_size=(64, 24, 24))
    blocks, learned = network.draw_blocks(prepare(config))
    assert (learned.blocks, learned.of) == (4, 17)
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


@pytest.mark.slow
def test_a_network_of_other_stacks_teaches(tmp_path):
    """Its planes are weighed with the rest; once labels are made it is needed no more."""
    first, second = volume(tmp_path / "a.ome.tif"), volume(tmp_path / "b.ome.tif", 1)
    claim_workdir(tmp_path / "network", tiny(first))
    fake_network(tmp_path / "network", tiny(first))
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


@pytest.mark.slow
def test_rows_of_a_sweep_are_the_networks_of_each_alone(tmp_path):
    """Two that differ in a traced number; one that fails takes none with it."""
    first = volume(tmp_path / "a.ome.tif", shape=(21, 24, 28), voxel_nm=(10.0, 10.0, 10.0))
    rates = {"fine": 0.01, "faster": 0.03, "lost": 3e38}
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
    like = registry.build("niiv", configs["fine"], registry.Sampled())
    found = {}
    for name in ("fine", "faster"):
        train_and_evaluate(configs[name], tmp_path / name)
        alone_ = trained.read(tmp_path / name, like)
        found[name] = trained.read(tmp_path / "sweep" / "rows" / name, like)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-4), found[name], alone_)
        assert outcomes[name].scores
    first, second = (each["decoder"]["Dense_1"]["kernel"] for each in found.values())
    assert np.abs(first - second).max() > 1e-3
