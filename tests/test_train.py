"""A run from its config to its volume and report."""

import itertools
import json
import types

import numpy as np
import pytest

from emgauss_jax.data.tiling import Box
from emgauss_jax.data.volume import open_volume
from emgauss_jax.methods.base import Block
from emgauss_jax.pipeline.region import label_template_of, open_region
from emgauss_jax.pipeline.region_fit import fit_region
from emgauss_jax.pipeline.region_store import fits_in
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.pipeline.stitching import open_fits, render
from emgauss_jax.pseudo_labels import store
from emgauss_jax.pseudo_labels.store import read_labels
from emgauss_jax.train import train_and_evaluate
from tests.tiny_runs import ROOT, tiny, write

SHAPE = (17, 32, 28)  # that of `tiny`: tests of one shape share what they compile
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.py"))
# They compile longest; networks are trained to their report in test_other.py, too.
SLOW = {"emgauss_paper", "niiv", "niiv_tiny", "emformer", "emformer_tiny"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in CONFIGS
    ],
)
def test_every_config_takes_a_step_to_its_report(path, tmp_path):
    config = tiny(path.stem)
    output = train_and_evaluate(config, tmp_path / "run")
    volume = open_volume(output)
    assert volume.shape == SHAPE and volume.dtype == np.uint8
    np.testing.assert_allclose(volume.voxel_nm, (10, 10, 10))
    scores = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())["scores"]
    assert set(scores) == {"nearest", "linear", "linear_blur", "cubic", config.method}
    assert (tmp_path / "run" / "report" / "report.html").stat().st_size > 10_000


def test_the_held_out_planes_change_nothing(tmp_path):
    """Two volumes that agree on the observed slices alone are reconstructed alike."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 255, (2, *SHAPE), dtype=np.uint8)
    second[::4] = first[::4]
    outputs = []
    for name, values in (("a", first), ("b", second)):
        path = write(tmp_path / f"{name}.ome.tif", values)
        config = tiny(data__path=str(path))
        outputs.append(open_volume(train_and_evaluate(config, tmp_path / name))[:, :, :])
    np.testing.assert_array_equal(*outputs)
    assert not np.array_equal(first, second)


@pytest.mark.slow
def test_averaged_slices(tmp_path):
    config = tiny(
        data__phantom_shape=(24, 36, 34), data__degradation="average", prior__steps=2,
    )  # fmt: skip
    output = train_and_evaluate(config, tmp_path / "run")
    assert open_volume(output).shape == (24, 36, 34)
    metrics = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    assert "cubic_mean" in metrics["scores"]


@pytest.mark.slow
def test_several_blocks_and_missing_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "forget", lambda folder: None)  # the labels stay
    config = tiny(
        block__max_size=(4, 28, 24), block__overlap=(2, 8, 8), data__missing=(1,),
        block__region=(9, 9, 9), data__phantom_shape=(25, 32, 28), train__blocks_per_chunk=3,
        prior__steps=2, prior__flow=True,
    )  # fmt: skip
    output = train_and_evaluate(config, tmp_path / "run")
    assert open_volume(output).shape == (25, 32, 28)
    run = prepare(config)
    region = open_region(run, 0)
    template = label_template_of(run, region)
    plane_z = template.plane_z(region.observed)
    labels = read_labels(tmp_path / "run", plane_z, template.factor)
    blocks = region.cut(region.live, labels)
    assert len(blocks.z) > 3
    for i, box in enumerate(region.boxes):
        assert blocks.label_z[i][0] == blocks.z[i][0] and blocks.label_z[i][-1] == blocks.z[i][-1]
        planes = labels.planes[np.isin(labels.z, blocks.label_z[i]), *box.slices[1:]]
        np.testing.assert_array_equal(blocks.labels[i], planes)
    seams = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())["seams"]
    assert set(seams["emgauss"]) == {"border", "elsewhere"}


def test_a_constant_block_is_passed_through(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (9, 24, 60), dtype=np.uint8)
    values[:, :, :34] = 7
    path = write(tmp_path / "v.ome.zarr", values)
    config = tiny(data__path=str(path), block__max_size=(64, 24, 20), block__overlap=(2, 8, 4))
    config.block.region = (1, 1, 1)
    run = prepare(config)
    volume = open_volume(train_and_evaluate(config, tmp_path / "run"))
    assert len(run.regions) == 4
    live = [index for index in range(4) if open_region(run, index).live]
    assert live == [2, 3]
    for index in range(4):
        folder = tmp_path / "run" / "regions" / f"{index:06d}"
        assert (folder / "metrics.jsonl").exists() == (index in live)
    assert (volume[:, :, : run.grid.starts[2][2]] == 7).all()
    report = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "2, passed through" in report


def test_missing_slices_at_a_block_border_are_a_wider_gap():
    config = tiny(
        data__phantom_shape=(70, 24, 24), data__missing=(3, 4, 5, 6, 7, 8), data__simulate_factor=0,
        block__max_size=(6, 24, 24), block__overlap=(2, 8, 8), block__region=(99, 1, 1),
    )  # fmt: skip
    region = open_region(prepare(config), 0)
    z = region.cut(region.live, None).z
    assert len(z) > 1 and set(z.ravel()) == set(range(70)) - set(range(3, 9))
    for before, after in itertools.pairwise(z):
        assert (np.diff(before) > 0).all() and before[-2] >= after[0]  # they share two slices


def test_an_unscorable_reference_costs_no_volume(tmp_path):
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    values[2, 3, 4] = np.inf  # held out
    path = write(tmp_path / "v.ome.tif", values)
    output = train_and_evaluate(tiny(data__path=str(path)), tmp_path / "run")
    assert np.isfinite(open_volume(output)[:, :, :]).all()
    assert "not scored" in (tmp_path / "run" / "report" / "report.html").read_text()


@pytest.mark.slow
def test_a_plane_that_lacks_gaussians_is_not_written(tmp_path):
    fitted = prepare(tiny("emgauss_paper"))
    fit_region(fitted, 0, tmp_path / "run")
    run = prepare(tiny("emgauss_paper", emgauss__render__capacity=2))
    fits = open_fits(run, fits_in(fitted, tmp_path / "run"))
    with pytest.raises(FloatingPointError, match=r"raise emgauss\.render\.capacity"):
        render(fits, np.array([0.5]), Box((0, 0, 0), run.observed.shape))


def test_what_a_block_draws_outside_itself_is_nobodys(tmp_path):
    """A damaged plane counts where it has weight: in the block that holds its depth."""
    run = prepare(tiny(
        "siren", data__phantom_shape=(40, 24, 24), data__simulate_factor=0,
        block__max_size=(6, 24, 24), block__overlap=(1, 8, 8),
    ))  # fmt: skip

    def draw(block, z):
        inside = (z >= block.z[0]) & (z <= block.z[-1])
        return np.where(inside, 0.5, np.nan)[:, None, None] + np.zeros((1, 24, 24))

    grid = run.grid
    assert grid.count == len(run.regions) > 3

    def opened(index):
        block = Block(None, grid.starts[0][index] + np.arange(grid.size[0]), None)
        region = types.SimpleNamespace(constants=[np.nan])
        return types.SimpleNamespace(region=region, block=lambda i: (block,))

    fits = open_fits(run, fits_in(run, tmp_path))._replace(predict=draw, open=opened)
    part = Box((0, 0, 0), run.observed.shape)
    np.testing.assert_allclose(render(fits, np.arange(0, 39, 0.7), part), 0.5)


def test_a_real_stack_gets_isotropic_voxels(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (5, *SHAPE[1:]), dtype=np.uint16)
    path = write(tmp_path / "stack.ome.zarr", values, (40.0, 8.0, 8.0))
    config = tiny(data__path=str(path), data__simulate_factor=0, keep_observed=True)
    volume = open_volume(train_and_evaluate(config, tmp_path / "run"))
    assert volume.path.name == "reconstruction.ome.zarr"
    assert volume.shape == (21, *SHAPE[1:]) and volume.dtype == np.uint16
    np.testing.assert_allclose(volume.voxel_nm, (8, 8, 8))
    np.testing.assert_array_equal(volume[:, :, :][::5], values)
    assert (tmp_path / "run" / "report" / "report.html").exists()
