"""The three commands: end to end, killed and resumed, and with bad input."""

import itertools
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from emgauss_jax.blend import open_fits, render
from emgauss_jax.data.boxes import Box
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import create_volume, open_volume
from emgauss_jax.evaluate import evaluate_volumes
from emgauss_jax.experiment import prepare
from emgauss_jax.labels import read_labels
from emgauss_jax.region import fit_region, open_region, prior_of
from emgauss_jax.sampling import at_depths, by_factor, isotropic
from emgauss_jax.train import train_and_evaluate
from emgauss_jax.workdir import claim_workdir, read_workdir

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.py"))
# They compile longest; networks are trained to their report in test_network.py, too.
SLOW = {"emgauss_paper", "niiv", "niiv_tiny", "emformer", "emformer_tiny"}

SMALL = {
    "emgauss": {},
    "niiv": dict(features=4, blocks=1, width=8, layers=1, batch=2, columns=16),
    "emformer": dict(
        features=4,
        deep_features=4,
        scales=1,
        stage_blocks=2,
        groups=1,
        heads=1,
        window=(2, 2, 4),
        head_features=4,
        doublings=1,
        frames=2,
        rows=3,
        columns=12,
    ),
    "siren": dict(width=8, layers=2, points=32),
}


def tiny(name="emgauss", **changes):
    """A config of configs/ on a phantom of 17 x 32 x 28 voxels, for two steps and no prior."""
    config = runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]()
    config.data.path = "phantom"
    config.data.phantom_shape = (17, 32, 28)
    config.data.simulate_factor = 4
    config.train.steps = 2
    config[config.method].update(SMALL[config.method])
    if "prior" in config:
        config.prior.steps, config.prior.probe_steps, config.prior.flow = 0, 2, False
        config.lateral.update(features=4, blocks=1, batch=1)
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


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
    assert volume.shape == (17, 32, 28) and volume.dtype == np.uint8
    np.testing.assert_allclose(volume.voxel_nm, (10, 10, 10))
    scores = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())["scores"]
    assert set(scores) == {"nearest", "linear", "linear_blur", "cubic", config.method}
    assert (tmp_path / "run" / "report" / "report.html").stat().st_size > 10_000


def test_the_held_out_planes_change_nothing(tmp_path):
    """Two volumes that agree on the observed slices alone are reconstructed alike."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 255, (9, 24, 24), dtype=np.uint8)
    second = rng.integers(0, 255, (9, 24, 24), dtype=np.uint8)
    second[::4] = first[::4]
    outputs = []
    for name, values in (("a", first), ("b", second)):
        path = write(tmp_path / f"{name}.ome.tif", values)
        config = tiny(data__path=str(path), train__steps=5)
        outputs.append(open_volume(train_and_evaluate(config, tmp_path / name))[:, :, :])
    np.testing.assert_array_equal(*outputs)
    assert not np.array_equal(first, second)


def test_averaged_slices(tmp_path):
    config = tiny(
        data__phantom_shape=(24, 36, 34), data__degradation="average", prior__steps=2,
    )  # fmt: skip
    output = train_and_evaluate(config, tmp_path / "run")
    assert open_volume(output).shape == (24, 36, 34)
    metrics = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    assert "cubic_mean" in metrics["scores"]


def test_several_blocks_and_missing_slices(tmp_path, monkeypatch):
    monkeypatch.setattr("emgauss_jax.region.forget", lambda folder: None)  # the labels stay
    config = tiny(
        block__max_size=(4, 28, 24), block__overlap=(2, 8, 8), data__missing=(1,),
        block__region=(9, 9, 9), data__phantom_shape=(25, 32, 28), train__blocks_per_chunk=3,
        prior__steps=2, prior__flow=True,
    )  # fmt: skip
    output = train_and_evaluate(config, tmp_path / "run")
    assert open_volume(output).shape == (25, 32, 28)
    run = prepare(config)
    region = open_region(run, 0)
    prior = prior_of(run, region).like(region.observed)
    labels = read_labels(tmp_path / "run", prior.plane_z, prior.settings.factor)
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
    values = np.random.default_rng(0).normal(size=(9, 24, 24)).astype(np.float32)
    values[2, 3, 4] = np.inf  # held out
    path = write(tmp_path / "v.ome.tif", values)
    output = train_and_evaluate(tiny(data__path=str(path)), tmp_path / "run")
    assert np.isfinite(open_volume(output)[:, :, :]).all()
    assert "not scored" in (tmp_path / "run" / "report" / "report.html").read_text()


def test_a_plane_that_lacks_gaussians_is_not_written(tmp_path):
    fit_region(prepare(tiny("emgauss_paper")), 0, tmp_path / "run")
    run = prepare(tiny("emgauss_paper", emgauss__render__capacity=2))
    fits = open_fits(run, tmp_path / "run")
    with pytest.raises(FloatingPointError, match=r"raise emgauss\.render\.capacity"):
        render(fits, np.array([0.5]), Box((0, 0, 0), run.observed.shape))


def test_a_real_stack_gets_isotropic_voxels(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (5, 30, 24), dtype=np.uint16)
    path = write(tmp_path / "stack.ome.zarr", values, (40.0, 8.0, 8.0))
    config = tiny(data__path=str(path), data__simulate_factor=0, keep_observed=True)
    volume = open_volume(train_and_evaluate(config, tmp_path / "run"))
    assert volume.path.name == "reconstruction.ome.zarr"
    assert volume.shape == (21, 30, 24) and volume.dtype == np.uint16
    np.testing.assert_allclose(volume.voxel_nm, (8, 8, 8))
    np.testing.assert_array_equal(volume[:, :, :][::5], values)
    assert (tmp_path / "run" / "report" / "report.html").exists()


def test_samplings():
    observed = prepare(tiny(data__simulate_factor=0, data__crop="0:5,:,:")).observed
    assert isotropic(observed).z.tolist() == [0, 1, 2, 3, 4]
    half = by_factor(observed, 2.5)
    np.testing.assert_allclose(half.z, np.arange(11) / 2.5)
    np.testing.assert_allclose(half.voxel_nm, (4, 10, 10))
    np.testing.assert_allclose(at_depths(observed, [0.5, 2.0]).voxel_nm, (15, 10, 10))
    for bad in (0.5, float("nan")):
        with pytest.raises(ValueError, match="factor: got"):
            by_factor(observed, bad)
    for bad in ([4.5], [-1.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="wanted rising depths from 0 to 4"):
            at_depths(observed, bad)


def test_evaluate_scores_a_file(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (12, 24, 24), dtype=np.uint8)
    reference = open_volume(write(tmp_path / "r.ome.tif", values))
    result = evaluate_volumes(reference, reference, 4, tmp_path / "out")
    assert result["scores"]["prediction"]["psnr"] is None  # of equal volumes: infinite
    assert result["scores"]["linear"]["psnr"] > 0
    other = open_volume(write(tmp_path / "o.ome.tif", values, (5.0, 10.0, 10.0)))
    with pytest.raises(ValueError, match="those of the reference"):
        evaluate_volumes(other, reference, 4, tmp_path / "other")
    with pytest.raises(ValueError, match="exists"):
        evaluate_volumes(reference, reference, 4, tmp_path / "out")


def test_evaluate_scores_what_was_made_of_averages(tmp_path):
    """Every plane is scored, beside the interpolation that keeps the means."""
    values = np.random.default_rng(0).integers(0, 255, (14, 24, 24), dtype=np.uint8)
    reference = open_volume(write(tmp_path / "r.ome.tif", values))
    means = values[:12].reshape(3, 4, 24, 24).mean(axis=1).repeat(4, axis=0)
    prediction = open_volume(write(tmp_path / "p.ome.tif", means.round().astype(np.uint8)))
    scores = evaluate_volumes(prediction, reference, 4, tmp_path / "out", "average")["scores"]
    assert "cubic_mean" in scores
    assert scores["prediction"]["psnr"] == pytest.approx(scores["nearest"]["psnr"], abs=0.05)


def test_evaluate_scores_missing_slices_apart_and_an_uncertainty(tmp_path):
    """Of a prediction that is right but for one plane, which belongs to a missing slice."""
    random = np.random.default_rng(0)
    values = random.integers(0, 200, (13, 24, 24), dtype=np.uint8)
    reference = open_volume(write(tmp_path / "r.ome.tif", values))
    wrong, error = values.copy(), np.zeros(values.shape, np.float32)
    noise = random.integers(1, 50, (24, 24))
    wrong[8] += noise.astype(np.uint8)
    error[8] = noise
    prediction = open_volume(write(tmp_path / "p.ome.tif", wrong))
    uncertainty = open_volume(write(tmp_path / "u.ome.tif", error))
    asked = (prediction, reference, 4, tmp_path / "out")
    result = evaluate_volumes(*asked, missing=(2,), uncertainty=uncertainty)
    squares = np.square(noise / 255).mean()
    assert result["missing"]["prediction"] == pytest.approx(-10 * np.log10(squares), abs=1e-3)
    assert result["missing"]["nearest"] < result["missing"]["prediction"]
    hidden = 10  # of the 13, all but the three valid slices
    pooled = -10 * np.log10(squares / hidden)
    assert result["scores"]["prediction"]["psnr"] == pytest.approx(pooled, abs=1e-3)
    assert result["expected_error"]["correlation"] == pytest.approx(1, abs=1e-3)
    assert "Missing slices" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(ValueError, match=r"uncertainty: got shape \(13, 24, 20\)"):
        other = open_volume(write(tmp_path / "o.ome.tif", error[:, :, :20]))
        evaluate_volumes(*asked[:3], tmp_path / "other", uncertainty=other)
    for bad in (np.nan, np.inf, -1.0):
        error[3, 2, 1] = bad
        other = open_volume(write(tmp_path / f"{bad}.ome.tif", error))
        with pytest.raises(ValueError, match="uncertainty: got 1 voxels that are NaN, infinite"):
            evaluate_volumes(*asked[:3], tmp_path / "other", uncertainty=other)
    assert not (tmp_path / "other").exists()


def write(path, values, voxel_nm=(10.0, 10.0, 10.0)):
    with create_volume(path, values.shape, values.dtype, voxel_nm) as writer:
        writer[:, :, :] = values
    return path


def command(name, *args):
    return [sys.executable, "-m", f"emgauss_jax.{name}", *args]


RUN = (
    f"--config={ROOT / 'configs' / 'emgauss.py'}", "--config.data.path=phantom",
    "--config.data.phantom_shape=(17,32,28)", "--config.data.simulate_factor=4",
    "--config.train.steps=400", "--config.train.steps_per_dispatch=10",
    "--config.train.checkpoint_every=20", "--config.block.max_size=(64,28,40)",
    "--config.train.blocks_per_chunk=1", "--config.prior.steps=10", "--config.lateral.features=4",
    "--config.lateral.blocks=1", "--config.prior.probe_steps=10",
)  # fmt: skip


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command("train", *RUN, f"--workdir={whole}"), check=True, cwd=ROOT)
    for enough in (5, 60):  # in the first chunk, then in the second
        process = subprocess.Popen(command("train", *RUN, f"--workdir={broken}"), cwd=ROOT)
        log = broken / "metrics.jsonl"
        while not log.exists() or log.read_text().count("\n") < enough:
            assert process.poll() is None, "it was not to end before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (broken / "reconstruction.ome.tif").exists()
    subprocess.run(command("train", *RUN, f"--workdir={broken}"), check=True, cwd=ROOT)
    assert (whole / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()
    # the files themselves hold a UUID each
    volumes = [open_volume(each / "reconstruction.ome.tif")[:, :, :] for each in (whole, broken)]
    np.testing.assert_array_equal(*volumes)
    more = tmp_path / "more.ome.tif"
    error = tmp_path / "error.ome.tif"
    args = (f"--workdir={broken}", f"--output={more}", "--factor=2.5", f"--uncertainty={error}")
    subprocess.run(command("reconstruct", *args), check=True, cwd=ROOT)
    np.testing.assert_allclose(open_volume(more).voxel_nm, (16, 10, 10))
    assert open_volume(more).shape[0] == 11
    assert open_volume(error).shape == open_volume(more).shape
    assert open_volume(error)[:, :, :].max() > 1  # grey levels


def test_damaged_slices_are_listed_and_left_out(tmp_path):
    """They are told on stderr and in the report; the reconstruction does without them."""
    values = tissue((8, 24, 28), 0)
    values[3], values[5] = 99, values[4]
    path = write(tmp_path / "a.ome.tif", values, (20.0, 10.0, 10.0))
    done = subprocess.run(
        command("train", f"--config={ROOT / 'configs' / 'siren.py'}", f"--config.data.path={path}",
                "--config.train.steps=2", "--config.siren.width=4", "--config.siren.layers=1",
                "--detect_missing", f"--workdir={tmp_path / 'run'}"),
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "slice 3: blank" in done.stderr and "slice 5: repeats" in done.stderr
    assert tuple(read_workdir(tmp_path / "run").data.missing) == (3, 5)
    report = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "<td>missing slices</td><td>3, 5</td>" in report
    assert "<td>of these, found damaged</td><td>3 blank: contrast 0" in report


BAD = {
    "no such file": {"data__path": "nowhere.tif"},
    "wanted a volume": {"data__path": ""},
    "wanted one of": {"method": "magic"},
    "wanted 0 \\(off\\) or a whole number >= 2": {"data__simulate_factor": 1},
    "wanted 2 or more": {"data__simulate_factor": 100},
    "2 or more valid slices": {"data__missing": (0, 1, 2, 3)},
    "crop: got": {"data__crop": "0:99,:,:"},
    "degradation: got": {"data__degradation": "blur"},
    "backend binned draws": {"emgauss__render__blend": "alpha"},
    "emgauss.deformation: got 'flow'": {"emgauss__deformation": "flow"},
    "ema_decay: got": {"train__ema_decay": 1.0},
    "overlap: got": {"block__overlap": (4, 200, 16)},
    "wanted 1 or more of each": {"train__steps": 0},
    "neighbours must share a slice": {
        "data__phantom_shape": (70, 24, 24),
        "data__simulate_factor": 0,
        "block__max_size": (6, 24, 24),
        "block__overlap": (0, 8, 8),
    },
    "wanted three whole numbers": {"block__max_size": (64, 24)},
    "phantom_shape: got": {"data__phantom_shape": (17, 40)},
    "planes_per_step 0": {"emgauss__planes_per_step": 0},
    "blocks_per_chunk -1": {"train__blocks_per_chunk": -1},
    "at least 11": {"data__crop": ":,0:8,0:8"},
}


@pytest.mark.parametrize("match", BAD)
def test_bad_settings_say_what_was_wanted(match, tmp_path):
    with pytest.raises(ValueError, match=match):
        train_and_evaluate(tiny(**BAD[match]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_volumes_say_what_was_wanted(tmp_path):
    nan = np.ones((9, 24, 24), np.float32)
    nan[4], nan[8, 3, 5] = np.nan, np.inf
    flat = np.zeros((9, 24, 24), np.uint8)
    isotropic_only = write(tmp_path / "iso.ome.tif", flat, (4.0, 10.0, 10.0))
    tifffile.imwrite(tmp_path / "plain.tif", flat)
    (tmp_path / "text.tif").write_text("no image")
    cases = {
        "slices 1, 2: got NaN": {"data__path": str(write(tmp_path / "nan.ome.tif", nan))},
        "data.voxel_nm": {"data__path": str(tmp_path / "plain.tif")},
        "text.tif": {"data__path": str(tmp_path / "text.tif")},
        "wanted z >= y": {"data__path": str(isotropic_only), "data__simulate_factor": 0},
    }
    for match, changes in cases.items():
        with pytest.raises(ValueError, match=match):
            train_and_evaluate(tiny(**changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_workdir_belongs_to_one_config(tmp_path):
    claim_workdir(tmp_path / "run", tiny())
    claim_workdir(tmp_path / "run", tiny())
    with pytest.raises(ValueError, match=r"config.seed=0, got config.seed=1"):
        claim_workdir(tmp_path / "run", tiny(seed=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="something else"):
        claim_workdir(tmp_path / "mine", tiny())


@pytest.mark.parametrize(
    ("name", "args", "match"),
    [
        ("train", ["--config=configs/emgauss.py", "--workdir=W"], "wanted a volume"),
        ("train", ["--config=configs/emgauss.py", "--config.sed=1"], "sed"),
        ("train", ["--config=configs/none.py", "--workdir=W"], "none.py"),
        ("train", [], "wanted --config"),
        ("reconstruct", ["--workdir=nowhere", "--output=o.ome.tif"], "wanted one made by train"),
        ("evaluate", ["--prediction=a.tif"], "--reference"),
        (
            "reconstruct",
            ["--workdir=W", "--output=o.tif", "--input=i.tif", "--input_missing=2,b"],
            "input_missing: got ['2', 'b'], wanted whole numbers",
        ),
    ],
)
def test_commands_fail_in_one_line(name, args, match, tmp_path):
    args = [arg.replace("W", str(tmp_path / "run")) for arg in args]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command(name, *args), capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and match in lines[0], done.stderr
    assert not (tmp_path / "run").exists()
