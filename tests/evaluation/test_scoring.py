"""Scores from boxes: those of the whole volume in memory, which voxels count, and their limits."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.tiling import Box
from emgauss_jax.evaluation import scoring
from emgauss_jax.evaluation.comparison import predict, read
from emgauss_jax.evaluation.scoring import Expected, boxes_of, judge_errors, score
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import baselines
from emgauss_jax.metrics import fourier, fsim, image, scores
from tests.evaluation.comparisons import compared

KEYS = {"psnr", "fsc_z"} | {
    f"{metric}_{direction}"
    for metric in ("psnr", "ssim", "fsim", "cf_psnr")
    for direction in ("xy", "xz", "yz")
}
KEYS |= {f"{kind}_res_nm_{t}" for kind in ("fsc", "fsc_z") for t in ("0143", "05")}
SIZE = np.full(3, 10.0)  # nm
CASES = [
    ("subsample", (3, 4)),
    pytest.param("subsample", (), marks=pytest.mark.slow),
    pytest.param("average", (), marks=pytest.mark.slow),
    pytest.param("average", (2,), marks=pytest.mark.slow),
]


def _volume(seed, shape=(17, 16, 20)):
    return np.random.default_rng(seed).random(shape, np.float32)


def _ours(prediction, reference, voxel_nm=SIZE, **more):
    return score(compared(prediction, reference), np.array(voxel_nm), **more)["scores"]["ours"]


@pytest.fixture
def without_fsim(monkeypatch):
    """It takes longest, and is tested apart."""

    def nothing(compared, *_):
        return {name: {} for name in compared.names}

    monkeypatch.setattr(scoring, "fsim_scores", nothing)


def _whole(prediction, reference, hidden):
    """PSNR and SSIM of volumes in memory, plane by plane."""

    def decibel(error, axis=None):
        return -10 * np.log10(error.mean(axis=axis, dtype=np.float64))

    squares = np.square(prediction - reference)[hidden]
    found = {"psnr": decibel(squares)}
    for axis, name in enumerate(("xy", "xz", "yz")):
        others = tuple(each for each in range(3) if each != axis)
        found[f"psnr_{name}"] = decibel(squares, others).mean()
        a, b = (
            np.moveaxis(each[hidden] if name == "xy" else each, axis, 0)
            for each in (prediction, reference)
        )
        if name == "xy":
            found["ssim_xy"] = np.asarray(image.ssim(a, b), np.float64).mean()
        else:
            found[f"ssim_{name}"] = np.asarray(image.ssim_map(a, b), np.float64)[:, hidden].mean()
    return found


@pytest.mark.parametrize(("degradation", "missing"), CASES)
def test_boxes_add_up_to_what_the_whole_volume_has(degradation, missing, without_fsim):
    """Of every interpolation, too: each voxel is the same in whichever box it lies."""
    reference = gaussian_filter(_volume(0, (53, 40, 36)), 1.0)
    reference = (reference - reference.min()) / np.ptp(reference)
    ours = gaussian_filter(reference, (1.5, 0.5, 0.5))
    both = compared(ours, reference, 4, degradation, missing)
    observed, plan = both.observed, both.observed.plan
    lines = np.arange(40) % 13 < 2, np.arange(36) == 7
    result = score(both, SIZE, lines, planes=20, area=700)
    assert len(boxes_of(both.shape, 20, 700)) == 3 * 2 * 2
    block = Block(observed.unit_slices, observed.z, plan.valid)
    volumes = baselines(block, plan.z_reference, both.names[:-1]) | {"ours": ours[: both.shape[0]]}
    truth = reference[: both.shape[0]]
    near = lines[0][:, None] | lines[1]
    for name, volume in volumes.items():
        want = _whole(volume, truth, plan.hidden)
        got = result["scores"][name]
        assert {each: got[each] for each in want} == pytest.approx(want, abs=1e-6), name
        squares = np.square(volume - truth)
        by_plane = -10 * np.log10(squares[plan.hidden].mean(axis=(1, 2), dtype=np.float64))
        at = np.array(result["curves"]["psnr_z"][name])[plan.hidden]
        np.testing.assert_allclose(at, by_plane, atol=1e-6)
        for part, where in (("border", near), ("elsewhere", ~near)):
            seam = -10 * np.log10(squares[plan.hidden][:, where].mean(dtype=np.float64))
            assert result["seams"][name][part] == pytest.approx(seam, abs=1e-6)
        assert ("missing" in result) == bool(missing)
        if missing:
            lost = -10 * np.log10(squares[plan.lost].mean(dtype=np.float64))
            assert result["missing"][name] == pytest.approx(lost, abs=1e-6)
        assert got["fsc_z"] == pytest.approx(fourier.fsc_z(volume, truth), abs=1e-6)
        cf_psnr = fourier.cf_psnr(np.moveaxis(volume, 1, 0), np.moveaxis(truth, 1, 0)).mean()
        assert got["cf_psnr_xz"] == pytest.approx(cf_psnr, abs=1e-5)


def test_far_slices_do_not_weigh_in_a_box():
    """Of 120 slices a box looks at 16 on either side; what is left out is below rounding."""
    reference = _volume(0, (239, 4, 5))
    for degradation in ("subsample", "average"):
        both = compared(reference, reference, 2, degradation)
        observed, plan = both.observed, both.observed.plan
        box = Box((100, 1, 0), (12, 3, 5))
        seen = read(both, box)
        assert len(seen.block.slices) < 50
        block = Block(observed.unit_slices, observed.z, plan.valid)
        for name in both.names[:-1]:
            want = baselines(block, plan.z_reference[100:112], (name,))[name][:, 1:]
            got = predict(both, seen, name, box)
            np.testing.assert_allclose(got, want, atol=5e-7, err_msg=name)


def test_equal_volumes_reach_every_limit():
    reference = _volume(0)
    got = _ours(reference, reference, (40.0, 8.0, 8.0))
    assert set(got) == KEYS
    for name, value in got.items():
        if "psnr" in name:
            assert value == np.inf, name
        elif name.startswith(("ssim", "fsim")) or name == "fsc_z":
            assert value == pytest.approx(1.0, abs=1e-5), name
    # Never below a threshold: Nyquist, two voxels along the direction.
    assert got["fsc_z_res_nm_05"] == 80.0
    assert got["fsc_res_nm_0143"] == pytest.approx(2 * (40 * 8 * 8) ** (1 / 3))


def test_observed_planes_do_not_count(without_fsim):
    reference, hidden = _volume(1), np.arange(17) % 4 != 0
    prediction = reference.copy()
    prediction[~hidden] = 0.0
    got = _ours(prediction, reference)
    assert all(got[name] == np.inf for name in ("psnr", "psnr_xy", "psnr_xz", "psnr_yz"))
    assert got["ssim_xy"] == pytest.approx(1.0, abs=1e-5)
    prediction[hidden] = reference[hidden] + 0.1
    got = _ours(prediction, reference)
    for name in ("psnr", "psnr_xy", "psnr_xz", "psnr_yz"):
        assert got[name] == pytest.approx(20.0, abs=1e-4)  # an error of 0.1 everywhere


def test_pooled_differs_from_the_mean_of_slices(without_fsim):
    reference = np.zeros((17, 16, 20), np.float32)
    level = np.where(np.arange(17) % 4 == 2, 0.1, 0.01).astype(np.float32)
    got = _ours(reference + level[:, None, None], reference)
    # Four of twelve hidden slices at 20 dB, eight at 40 dB.
    assert got["psnr_xy"] == pytest.approx((4 * 20 + 8 * 40) / 12, abs=1e-4)
    assert got["psnr"] == pytest.approx(-10 * np.log10((4 * 1e-2 + 8 * 1e-4) / 12), abs=1e-4)


def test_too_small_a_volume_is_nan_not_a_crash():
    reference, prediction = _volume(7, (5, 12, 13)), _volume(8, (5, 12, 13))
    got = _ours(prediction, reference)
    nothing = {name for name, value in got.items() if np.isnan(value)}
    axial = {f"{metric}_{plane}" for metric in ("ssim", "fsim") for plane in ("xz", "yz")}
    assert nothing == axial | {name for name in KEYS if name.startswith("fsc")}
    got = _ours(prediction[:, :4, :4], reference[:, :4, :4])
    assert np.isnan(got["ssim_xy"]) and np.isfinite(got["psnr"])


def test_spectra_are_the_mean_over_the_windows(monkeypatch, without_fsim):
    monkeypatch.setattr(scores, "WINDOW", 16**3)
    monkeypatch.setattr(scores, "EDGES", (16, 16, 16))
    reference, prediction = _volume(0, (33, 17, 32)), _volume(1, (33, 17, 32))
    prediction += reference
    boxes = scores.windows(reference.shape)
    # Two along z and x, in the middle of each half; of 17 px one, whose middle is theirs.
    assert {box.start for box in boxes} == {(z, 0, x) for z in (0, 16) for x in (0, 16)}
    assert "mean over 4 windows of 16 x 16 x 16 voxels" in scores.describe_windows(reference.shape)
    result = score(compared(prediction, reference), SIZE)
    parts = [(prediction[box.slices], reference[box.slices]) for box in boxes]
    curves = np.mean([fourier.fsc(*pair)[1] for pair in parts], axis=0)
    np.testing.assert_allclose(result["curves"]["fsc"]["ours"], curves, atol=1e-9)
    axial = [fourier.cf_psnr(*(np.moveaxis(v, 2, 0) for v in pair)).mean() for pair in parts]
    assert result["scores"]["ours"]["cf_psnr_yz"] == pytest.approx(np.mean(axial))
    hidden = [np.arange(box.start[0], box.stop[0]) % 4 != 0 for box in boxes]
    xy = [fourier.cf_psnr(a[h], b[h]).mean() for (a, b), h in zip(parts, hidden, strict=True)]
    assert result["scores"]["ours"]["cf_psnr_xy"] == pytest.approx(np.mean(xy))


@pytest.mark.parametrize("shape", [(65, 128, 128), (249, 250, 250), (4, 2048, 2048)])
def test_a_volume_of_2_to_the_24_voxels_is_one_window(shape):
    assert scores.windows(shape) == (Box((0, 0, 0), shape),)
    assert scores.describe_windows(shape) == "all voxels"


def test_windows_lie_inside_and_are_at_most_eight():
    for shape in [
        (1290, 1290, 1290),
        (65, 20000, 20000),
        (257, 257, 257),
        (401, 400, 640),
        (383, 384, 385),
        (2, 300, 90000),
    ]:
        boxes = scores.windows(shape)
        assert len(boxes) <= 8
        for box in boxes:
            assert min(box.start) >= 0 and np.prod(box.shape) <= scores.WINDOW
            assert all(stop <= length for stop, length in zip(box.stop, shape, strict=True))


def test_fsim_is_that_of_64_evenly_spaced_planes_averaged_down_in_boxes():
    """Planes of 600 px a side are averaged over 2 x 2 px, in boxes of odd sizes."""
    assert scores.chosen_planes(64).tolist() == list(range(64))
    many = scores.chosen_planes(1000)
    assert len(many) == 64 and many[0] == 0 and many[-1] == 999 and np.ptp(np.diff(many)) <= 1
    plane = _volume(0, (1, 600, 601))
    size = fsim.pool_size(600, 601)
    assert size == 2
    pooled = np.zeros((1, 300, 300), np.float32)
    for box in boxes_of(plane.shape, 1, 50_000):
        fsim.add_pooled(pooled, plane[box.slices], box.start[1:], size)
    want = plane[0, :600, :600].reshape(300, 2, 300, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(pooled[0], want, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(21, 24, 28), (25, 400, 16)])
def test_fsim_from_boxes_is_that_of_the_planes(shape):
    """With 400 px a direction has more planes than are chosen."""
    reference, ours = _volume(0, shape), gaussian_filter(_volume(0, shape), 0.7)
    both = compared(ours, reference)
    got = score(both, SIZE, planes=8, area=500)["scores"]["ours"]
    for axis, name in enumerate(("xy", "xz", "yz")):
        a, b = (np.moveaxis(each, axis, 0) for each in (ours, reference))
        planes = np.flatnonzero(both.observed.plan.hidden) if axis == 0 else np.arange(len(a))
        planes = planes[scores.chosen_planes(len(planes))]
        want = np.asarray(fsim.fsim(a[planes], b[planes]), np.float64).mean()
        assert got[f"fsim_{name}"] == pytest.approx(want, abs=1e-6), name


def test_expected_errors_are_judged_alike_in_boxes():
    reference, error = _volume(3, (17, 60, 70)), 0.1 * _volume(4, (17, 60, 70))
    both = compared(reference + error, reference)
    expected = Expected(Box((0, 0, 0), both.shape), lambda box: np.sqrt(error[box.slices]))
    one, whole = (judge_errors(both, expected, 9, area) for area in (800, 10**6))
    assert one == pytest.approx(whole, abs=1e-6)
    hidden = both.observed.plan.hidden
    ratio = np.sqrt(np.square(error[hidden]).mean() / error[hidden].mean())
    assert one["ratio"] == pytest.approx(ratio, rel=1e-4)


def test_boxes_cover_a_volume_once():
    for shape in ((130, 30, 50), (70, 300, 40), (5, 900, 1000)):
        count = np.zeros(shape, int)
        for box in boxes_of(shape, 64, 10_000):
            count[box.slices] += 1
            assert box.shape[0] <= 64 and box.shape[1] * box.shape[2] <= 10_000
        assert (count == 1).all()
