"""A file scored beside the interpolations."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest

from emgauss_jax.data.formats.interface import AT_ORIGIN
from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation.compare import evaluate_volumes
from tests.benchmarks import evaluate_scale
from tests.tiny_runs import ROOT, command, write


def test_evaluate_scores_a_file(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (12, 24, 24), dtype=np.uint8)
    reference = open_volume(write(tmp_path / "r.ome.tif", values))
    result = evaluate_volumes(reference, reference, 4, tmp_path / "out")
    assert result["scores"]["prediction"]["psnr"] is None  # of equal volumes: infinite
    assert result["scores"]["linear"]["psnr"] > 0
    assert result["notes"]["grey range"] == "0 to 255" and result["data_range"] == [0, 255]
    other = open_volume(write(tmp_path / "o.ome.tif", values, (5.0, 10.0, 10.0)))
    with pytest.raises(ValueError, match="those of the reference"):
        evaluate_volumes(other, reference, 4, tmp_path / "other")
    with pytest.raises(ValueError, match="exists"):
        evaluate_volumes(reference, reference, 4, tmp_path / "out")


def test_evaluate_says_how_volumes_are_read_and_what_they_lack(tmp_path):
    """Counted over the planes that are scored; the range is that of the observed ones."""
    values = np.full((12, 24, 24), 500, np.uint16)
    values[1], values[4] = 9000, 700  # hidden, observed
    reference = open_volume(write(tmp_path / "r.ome.tif", values))
    asked = []
    prediction = dataclasses.replace(
        reference, notes=("a note",), _absent=lambda box: asked.append(box[0]) or (3, 64)
    )
    result = evaluate_volumes(prediction, reference, 4, tmp_path / "out")
    assert asked == [slice(0, 9)]
    assert result["data_range"] == [500, 700] and result["notes"]["grey range"] == "500 to 700"
    assert result["notes"]["read"] == "prediction: a note"
    assert result["notes"]["warnings"].startswith("prediction: absent chunks: 3 of 64 are")
    assert "500 to 700" in (tmp_path / "out" / "report.html").read_text()
    for nm, warned in ((4.0, False), (6.0, True)):  # half a voxel is 5
        moved = dataclasses.replace(reference, place=AT_ORIGIN.moved((nm, 0, 0)))
        notes = evaluate_volumes(moved, reference, 4)["notes"]
        assert ("starts at 6, 0, 0 nm" in notes.get("warnings", "")) == warned
    for lacking in ("prediction", "reference"):
        pair = {"prediction": reference, "reference": reference}
        pair[lacking] = dataclasses.replace(reference, _absent=lambda box: (64, 64))
        with pytest.raises(ValueError, match="chunks: got all of 64 absent"):
            evaluate_volumes(**pair, observed_every=4, folder=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_command_states_the_range_that_its_scores_use(tmp_path):
    values = np.random.default_rng(0).integers(300, 900, (9, 24, 24), dtype=np.uint16)
    path = write(tmp_path / "r.ome.tif", values)
    asked = (f"--prediction={path}", f"--reference={path}", "--observed_every=4")
    done = subprocess.run(
        command("evaluate", *asked, f"--output={tmp_path / 'out'}"),
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    seen = values[::4]
    assert f"grey range: {seen.min()} to {seen.max()}\n" in done.stderr
    assert done.stdout == f"{tmp_path / 'out' / 'report.html'}\n"


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
    with pytest.raises(ValueError, match="uncertainty: got uint8, wanted float32"):
        evaluate_volumes(*asked[:3], tmp_path / "other", uncertainty=prediction)
    for bad in (np.nan, np.inf, -1.0):
        error[3, 2, 1] = bad
        other = open_volume(write(tmp_path / f"{bad}.ome.tif", error))
        with pytest.raises(ValueError, match="uncertainty: got 1 voxels that are NaN, infinite"):
            evaluate_volumes(*asked[:3], tmp_path / "other", uncertainty=other)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_evaluate_of_a_volume_that_is_larger_takes_no_more_memory(tmp_path):
    """32 MiB of voxels, of which the scores would take 155 bytes each in memory: 5 GiB."""
    evaluate_scale.make(tmp_path, (129, 512, 512))
    _, _, peak = evaluate_scale.score(tmp_path, 8)
    assert peak < 1.5
    notes = json.loads((tmp_path / "scores" / "metrics.json").read_text())["notes"]
    assert "mean over 4 windows of 128 x 256 x 256" in notes["fsc, cf-psnr"]
    assert notes["psnr, ssim"] == "all voxels"


@pytest.mark.parametrize("name", ["prediction", "reference"])
def test_values_that_are_no_numbers_are_told_before_anything_is_scored(name, tmp_path):
    volumes = {each: np.ones((9, 12, 12), np.float32) for each in ("prediction", "reference")}
    volumes[name][2, 3, 4:6] = np.nan, np.inf
    opened = {
        each: open_volume(write(tmp_path / f"{each}.ome.tif", values))
        for each, values in volumes.items()
    }
    with pytest.raises(ValueError, match=f"{name}: got 2 voxels that are NaN or infinite, wanted"):
        evaluate_volumes(**opened, observed_every=4, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
