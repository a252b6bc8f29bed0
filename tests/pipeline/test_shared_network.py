"""One network for all blocks of many volumes: what it learns from, killed, in a sweep."""

import functools

import jax
import numpy as np
import pytest

from emgauss_jax.data.volume import open_volume
from emgauss_jax.methods import registry
from emgauss_jax.pipeline import learning_blocks, shared_network
from emgauss_jax.pipeline.cutting import cut_grid
from emgauss_jax.pipeline.run import missing_of, prepare
from emgauss_jax.storage import network_file
from emgauss_jax.sweeps.plan import hyper_of
from emgauss_jax.sweeps.trial_batch import run_batch
from emgauss_jax.sweeps.trials import Trial, TrialBatch
from emgauss_jax.train import train_and_evaluate
from emgauss_jax.training import fit as fit_module
from tests.tiny_runs import make_stack, tiny_niiv


def test_blocks_of_all_volumes_are_learned_from(tmp_path):
    first, second = (
        make_stack(tmp_path / "a.ome.tif"),
        make_stack(tmp_path / "b.ome.tif", 1, (4, 50, 20)),
    )
    config = tiny_niiv(first, second, block__max_size=(64, 28, 28))
    blocks, learned = learning_blocks.draw_blocks(prepare(config))
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
    first = make_stack(tmp_path / "a.ome.tif")
    other = make_stack(tmp_path / "b.ome.tif", voxel_nm=(80.0, 10.0, 10.0))
    with pytest.raises(ValueError, match=r"b\.ome\.tif: got 8 px from slice to slice, wanted 4"):
        shared_network.check_inputs(prepare(tiny_niiv(first, other)), tmp_path)


@pytest.mark.parametrize(
    ("changes", "shape", "match"),
    [
        (
            {"block__max_size": (64, 6, 6), "block__overlap": (1, 1, 1)},
            (6, 24, 28),
            "blocks of 6 x 6 px, wanted 11 px",
        ),
        ({}, (6, 8, 28), "blocks of 8 x 28 px, wanted 11 px"),
        ({"data__voxel_nm": (14.0, 10.0, 10.0)}, (6, 24, 28), "wanted z 1.5 times y"),
    ],
)
def test_what_cannot_be_learned_from(tmp_path, changes, shape, match):
    path = make_stack(tmp_path / "a.ome.tif", shape=shape)
    with pytest.raises(ValueError, match=match):
        train_and_evaluate(tiny_niiv(path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
    monkeypatch.setattr(learning_blocks, "MOST_BLOCKS", 4)
    large = make_stack(tmp_path / "a.ome.tif", shape=(6, 96, 96))
    few = make_stack(tmp_path / "b.ome.tif", 1, (6, 24, 24))
    config = tiny_niiv(large, few, block__max_size=(64, 24, 24))
    blocks, learned = learning_blocks.draw_blocks(prepare(config))
    assert (learned.blocks, learned.of) == (4, 17)
    values = open_volume(few)[:, :, :] / np.float32(255)
    assert len(blocks.z) == 4
    assert sum(np.allclose(block, values) for block in blocks.slices) == 1


def test_killed_and_started_again(tmp_path, monkeypatch):
    """The network is the same to the bit; that a whole run goes on is tested in test_commands."""
    path = make_stack(tmp_path / "a.ome.tif")
    run = prepare(tiny_niiv(path, train__checkpoint_every=2))
    saved = fit_module.checkpoint.save

    def killed(folder, step, tree):
        saved(folder, step, tree)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module.checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        shared_network.fit_network(run, tmp_path / "broken")
    monkeypatch.undo()
    for name in ("whole", "broken"):
        shared_network.fit_network(run, tmp_path / name)
        assert not (tmp_path / name / "checkpoints").exists()
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1] and logs[0].count("\n") == 2
    files = [(tmp_path / name / network_file.FILE).read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]


@pytest.mark.slow
def test_rows_of_a_sweep_are_the_networks_of_each_alone(tmp_path):
    """Two that differ in a traced number; one that fails takes none with it."""
    first = make_stack(tmp_path / "a.ome.tif", shape=(21, 24, 28), voxel_nm=(10.0, 10.0, 10.0))
    rates = {"fine": 0.01, "faster": 0.03, "lost": 3e38}
    configs = {
        name: tiny_niiv(first, data__simulate_factor=4, optimizer__rates__decoder=(rate, 0.1))
        for name, rate in rates.items()
    }
    rows = tuple(
        Trial(name, {}, config.copy_and_resolve_references(), hyper_of(config))
        for name, config in configs.items()
    )
    outcomes = run_batch(tmp_path / "sweep", TrialBatch("key", rows))
    assert "nonfinite" in outcomes["lost"].reason
    like = registry.build("niiv", configs["fine"], registry.AxialSampling()).init
    found = {}
    for name in ("fine", "faster"):
        train_and_evaluate(configs[name], tmp_path / name)
        alone_ = network_file.read(tmp_path / name, like)
        found[name] = network_file.read(tmp_path / "sweep" / "rows" / name, like)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-4), found[name], alone_)
        assert outcomes[name].scores
    first, second = (each["decoder"]["Dense_1"]["kernel"] for each in found.values())
    assert np.abs(first - second).max() > 1e-3
