"""The report: valid JSON, one file that needs no other, true pictures, honest words."""

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.ndimage import gaussian_filter

from emgauss_jax.evaluation import figures, report, tables

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
    seams = np.zeros((24, 20), bool)
    seams[10:14] = True
    reference = volumes["reference"]
    predictions = {
        "emgauss": 0.5 * (volumes["linear"] + reference),  # half the error of linear: + 6.02 dB
        "linear": volumes["linear"],
        "nearest": volumes["nearest"],
    }
    notes = {"steps": np.int64(7), "seconds": np.float32(1.5), "<b>": [float("nan")]}
    given = (folder, reference, predictions, HIDDEN, (20.0, 10.0, 10.0), "A & B", notes)
    expected = 0.5 * np.abs(predictions["emgauss"] - reference)  # knows where, not how large
    return folder, report.write_report(*given, seams=seams, expected=expected)


def test_json_is_valid_and_complete(written):
    folder, result = written
    text = (folder / "metrics.json").read_text()
    assert json.loads(text, parse_constant=_refuse) == result
    assert set(result) == {"scores", "curves", "notes", "seams", "expected_error"}
    assert list(result["scores"]) == ["nearest", "linear", "emgauss"]
    assert {len(row) for row in result["scores"].values()} == {18}
    assert result["notes"] == {"steps": 7, "seconds": 1.5, "<b>": [None]}
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
    nearest, linear = volumes["nearest"], volumes["linear"]
    given = (tmp_path, linear + 0.01, nearest, linear, HIDDEN, (20.0, 10.0, 10.0), "real", {})
    report.write_gallery(*given)
    html = (tmp_path / "report.html").read_text()
    assert "There is no ground truth" in html and "Scores" not in html
    assert len(re.findall('src="data:image/png', html)) == 3 * 4 + 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(
        ValueError, match=r"nearest: got shape \(3, 24, 20\), wanted \(17, 24, 20\)"
    ):
        report.write_gallery(tmp_path, linear, nearest[:3], *given[3:])


def test_an_expected_error_of_another_shape_is_named_and_nothing_written(volumes, tmp_path):
    given = (tmp_path / "new", volumes["reference"], {"emgauss": volumes["linear"]}, HIDDEN)
    with pytest.raises(ValueError, match=r"expected: got shape \(3, 24, 20\)"):
        report.write_report(*given, 10.0, "title", {}, expected=volumes["linear"][:3])
    assert not (tmp_path / "new").exists()


def test_unknown_method_is_named_and_nothing_written(volumes, tmp_path):
    predictions = {"linear": volumes["linear"]}
    with pytest.raises(ValueError, match=r"method: got 'emgauss', wanted one of \['linear'\]"):
        report.write_report(
            tmp_path / "new", volumes["reference"], predictions, HIDDEN, 10.0, "title", {}
        )
    assert not (tmp_path / "new").exists()


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
