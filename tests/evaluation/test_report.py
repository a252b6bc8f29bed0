"""The report: valid JSON, one file that needs no other, true pictures, honest words."""

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.tiling import Box
from emgauss_jax.evaluation import beside_rivals, figures, report, tables
from emgauss_jax.evaluation.beside_rivals import report_beside_rivals, score_beside_rivals
from emgauss_jax.evaluation.scoring import Expected
from tests.evaluation.comparisons import compared

DEPTH = 17
HIDDEN = np.arange(DEPTH) % 4 != 0


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture(scope="module")
def volumes():
    rng = np.random.default_rng(0)
    reference = gaussian_filter(rng.random((DEPTH, 24, 20)), 1.5).astype(np.float32)
    reference = (reference - reference.min()) / np.ptp(reference)
    observed, z = reference[::4], np.arange(DEPTH) / 4
    lower = np.minimum(z.astype(int), 3)
    fraction = (z - lower).astype(np.float32)[:, None, None]
    linear = observed[lower] * (1 - fraction) + observed[lower + 1] * fraction
    nearest = observed[np.rint(z).astype(int)]
    return {"reference": reference, "nearest": nearest, "linear": linear}


@pytest.fixture(scope="module")
def written(volumes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "report"
    rows = np.zeros(24, bool)
    rows[10:14] = True
    reference = volumes["reference"]
    ours = 0.5 * (volumes["linear"] + reference)  # half the error of linear: + 6.02 dB
    notes = {"steps": np.int64(7), "seconds": np.float32(1.5), "<b>": [float("nan")]}
    both = compared(ours, reference, method="emgauss")
    wrong = 0.5 * np.abs(ours - reference)  # knows where, not how large
    expected = Expected(Box((0, 0, 0), reference.shape), lambda box: wrong[box.slices])
    voxel_nm = np.array([20.0, 10.0, 10.0])
    result = score_beside_rivals(both, voxel_nm, notes, (rows, np.zeros(20, bool)), expected)
    report_beside_rivals(folder, both, result, voxel_nm, "A & B", expected)
    return folder, result


def test_json_is_valid_and_complete(written):
    folder, result = written
    text = (folder / "metrics.json").read_text()
    assert json.loads(text, parse_constant=_refuse) == result
    parts = {"scores", "curves", "notes", "seams", "expected_error", "data_range"}
    assert set(result) == parts
    names = ["nearest", "linear", "linear_blur", "cubic", "emgauss"]
    assert list(result["scores"]) == names
    assert {len(row) for row in result["scores"].values()} == {18}
    notes = result["notes"]
    assert notes | {"steps": 7, "seconds": 1.5, "<b>": [None]} == notes
    assert notes["fsc, cf-psnr"] == "all voxels"
    gain = result["scores"]["emgauss"]["psnr"] - result["scores"]["linear"]["psnr"]
    assert gain == pytest.approx(20 * np.log10(2), abs=1e-3)
    # SliceStack slices of an interpolation are exact: infinite, written as null.
    assert result["curves"]["psnr_z"]["linear"][0] is None
    seams = result["seams"]
    gains = [seams["emgauss"][k] - seams["linear"][k] for k in ("border", "elsewhere")]
    np.testing.assert_allclose(gains, 20 * np.log10(2), atol=1e-3)
    assert result["expected_error"] == pytest.approx({"correlation": 1.0, "ratio": 2.0}, abs=1e-5)


def test_page_needs_no_other_file(written):
    folder, _ = written
    html = (folder / "report.html").read_text()
    sources = re.findall(r'src="([^"]*)', html)
    # Three views of six columns, the colour bar, the curves.
    assert len(sources) == 3 * 6 + 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?:|file:|url\(|<link|<script|@import", html)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "report.html"]
    assert "A &amp; B" in html and "&lt;b&gt;" in html
    assert "Seams between blocks" in html
    words = " ".join(html.split())
    assert "correlation 1.00" in words and "is 2.00 times the expected" in words


def test_summary_tells_the_truth(written):
    folder, result = written
    assert "emgauss is better in PSNR (+6.02 dB)" in (folder / "report.html").read_text()
    table = {
        "emgauss": {"psnr": 24.0, "ssim_xy": 0.60, "fsim_xy": 0.82, "fsc_z": 0.40},
        "linear": {"psnr": 23.9, "ssim_xy": 0.601, "fsim_xy": 0.83, "fsc_z": None},
        "linear_blur": {"psnr": 24.5, "ssim_xy": 0.59, "fsim_xy": 0.80, "fsc_z": 0.44},
        "cubic_mean": {"psnr": 24.7, "ssim_xy": 0.57, "fsim_xy": 0.82, "fsc_z": 0.41},
    }
    assert report.summarise(table, "emgauss") == (
        "Against linear, emgauss is better in PSNR (+0.10 dB); level in SSIM xy (-0.001); "
        "worse in FSIM xy (-0.010). "
        "Against the best interpolation of each score, emgauss is level in "
        "SSIM xy (-0.001, linear); "
        "worse in PSNR (-0.70 dB, cubic_mean), FSIM xy (-0.010, linear) and "
        "fsc_z (-0.040, linear_blur). "
        "Where it is worse, interpolation that costs nothing does better."
    )
    assert "costs nothing" not in report.summarise(result["scores"], "emgauss")
    assert "no interpolation" in report.summarise({"emgauss": {}}, "emgauss")


def _cells(scores):
    """Row -> its cells in all tables of scores."""
    made = [tables.tabulate(scores, groups) for groups in tables.TABLES]
    return {name: [cell for table in made for cell in table.rows[name]] for name in scores}


def test_best_of_a_column_is_marked():
    names = [metric for groups in tables.TABLES for _, _, labels in groups for metric in labels]
    assert len(names) == len(set(names)) == 18
    low, high = dict.fromkeys(names, 1.0), dict.fromkeys(names, 2.0)
    both = _cells({"low": low, "high": high})
    # Of 18 columns only the four resolutions are better when lower.
    assert [text for text, best in both["low"] if best] == ["1"] * 4
    assert {text for text, best in both["high"] if best} == {"2.00", "2.000"}
    assert [best for _, best in both["high"]] == [not best for _, best in both["low"]]
    tied = _cells({"a": dict.fromkeys(names), "b": low, "c": low})
    assert tied["a"] == [("n/a", False)] * 18
    assert tied["b"] == tied["c"] and all(best for _, best in tied["c"])


def test_gallery_gives_no_score(volumes, tmp_path):
    linear = volumes["linear"]
    columns = {"input (nearest)": volumes["nearest"], "linear": linear, "emgauss": linear + 0.01}
    pictured, size = report.Pictured(columns, HIDDEN), np.array([20.0, 10.0, 10.0])
    report.write_gallery(tmp_path, pictured, size, "real", {}, "emgauss")
    html = (tmp_path / "report.html").read_text()
    assert "There is no ground truth" in html and "Scores" not in html
    assert len(re.findall('src="data:image/png', html)) == 3 * 4 + 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_pictures_of_a_large_volume_are_of_its_middle(monkeypatch):
    """A part of whole slices, at most so large; the report says which."""
    monkeypatch.setattr(beside_rivals, "SAMPLE", 9 * 10 * 10)
    both = compared(*np.zeros((2, 33, 30, 40), np.float32))
    plan = both.observed.plan
    sample, slices = beside_rivals.choose_sample(both.observed, plan.z_reference)
    assert np.prod(sample.shape) <= 9 * 10 * 10
    z = plan.z_reference[sample.slices[0]]
    assert z[0] == slices.start[0] and z[-1] == slices.stop[0] - 1  # no gap is cut
    centre = np.add(sample.start, sample.stop) / 2
    np.testing.assert_allclose(centre, np.array(both.shape) / 2, atol=4)
    note = beside_rivals.sample_note(sample, both.shape)["pictures"]
    assert note.startswith(f"z {sample.start[0]} to {sample.stop[0] - 1} x y ")
    assert not beside_rivals.sample_note(Box((0, 0, 0), both.shape), both.shape)


def test_views_show_the_middle_of_a_gap_at_true_proportions():
    views = figures.choose_views((DEPTH, 24, 200), HIDDEN, np.array([40.0, 10.0, 10.0]))
    xy, xz, yz = views
    assert xy.index in (6, 10)  # two planes from data, nearest the centre of 0..16
    assert (xz.index, yz.index) == (12, 100)
    assert xz.plane == (slice(0, 17), 12, slice(47, 153))
    assert xz.zoom == 2 and xz.size == (17 * 2 * 4, 106 * 2)
    assert yz.zoom == 212 // 24 and yz.size == (17 * 8 * 4, 24 * 8)
    # 30 % of 106 voxels of 10 nm is 318 nm: 200 nm is the next round length, 20 voxels of 2 px.
    assert figures.scale_bar(xy) == (40, "200 nm")
    long = xy._replace(nm_per_px=500.0)  # 30 % of 212 px is 31.8 µm
    assert figures.scale_bar(long) == (40, "20 µm")


def test_a_panel_is_its_voxels():
    plane = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 2.0]])
    uri = figures.grey_uri(plane, (0.0, 1.0))
    png = imread(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    np.testing.assert_allclose(png[..., 0], np.minimum(plane, 1.0), atol=1 / 255)
