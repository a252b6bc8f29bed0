"""The table of scores: which voxels count, limits, and what the axial numbers mean."""

import numpy as np
import pytest

from emgauss_jax.metrics import image, scores

KEYS = {"psnr", "fsc_z"} | {
    f"{metric}_{direction}"
    for metric in ("psnr", "ssim", "fsim", "cf_psnr")
    for direction in ("xy", "xz", "yz")
}
KEYS |= {f"{kind}_res_nm_{t}" for kind in ("fsc", "fsc_z") for t in ("0143", "05")}
HIDDEN = np.arange(17) % 4 != 0


def _volume(seed, shape=(17, 16, 20)):
    return np.random.default_rng(seed).random(shape, np.float32)


def score(prediction, reference, hidden, voxel_nm):
    return scores.evaluate({"prediction": prediction}, reference, hidden, voxel_nm).scores[
        "prediction"
    ]


def test_equal_volumes_reach_every_limit():
    reference = _volume(0)
    got = score(reference, reference, HIDDEN, (40.0, 8.0, 8.0))
    assert set(got) == KEYS
    for name, value in got.items():
        if "psnr" in name:
            assert value == np.inf, name
        elif name.startswith(("ssim", "fsim")) or name == "fsc_z":
            assert value == pytest.approx(1.0, abs=1e-5), name
    # Never below a threshold: Nyquist, two voxels along the direction.
    assert got["fsc_z_res_nm_05"] == 80.0
    assert got["fsc_res_nm_0143"] == pytest.approx(2 * (40 * 8 * 8) ** (1 / 3))


def test_observed_planes_do_not_count():
    reference = _volume(1)
    prediction = reference.copy()
    prediction[~HIDDEN] = 0.0
    got = score(prediction, reference, HIDDEN, 10.0)
    assert all(got[name] == np.inf for name in ("psnr", "psnr_xy", "psnr_xz", "psnr_yz"))
    assert got["ssim_xy"] == pytest.approx(1.0, abs=1e-5)
    prediction[HIDDEN] = reference[HIDDEN] + 0.1
    got = score(prediction, reference, HIDDEN, 10.0)
    for name in ("psnr", "psnr_xy", "psnr_xz", "psnr_yz"):
        assert got[name] == pytest.approx(20.0, abs=1e-4)  # an error of 0.1 everywhere


def test_pooled_differs_from_the_mean_of_slices():
    reference = np.zeros((17, 16, 20), np.float32)
    level = np.where(np.arange(17) % 4 == 2, 0.1, 0.01).astype(np.float32)
    got = score(reference + level[:, None, None], reference, HIDDEN, 10.0)
    # Four of twelve hidden slices at 20 dB, eight at 40 dB.
    assert got["psnr_xy"] == pytest.approx((4 * 20 + 8 * 40) / 12, abs=1e-4)
    assert got["psnr"] == pytest.approx(-10 * np.log10((4 * 1e-2 + 8 * 1e-4) / 12), abs=1e-4)


def test_axial_ssim_is_the_map_on_hidden_rows():
    prediction, reference = _volume(2), _volume(3)
    got = score(prediction, reference, HIDDEN, 10.0)
    xz = [
        np.asarray(image.ssim_map(prediction[:, y], reference[:, y]))[HIDDEN].mean()
        for y in range(16)
    ]
    yz = [
        np.asarray(image.ssim_map(prediction[:, :, x], reference[:, :, x]))[HIDDEN].mean()
        for x in range(20)
    ]
    assert got["ssim_xz"] == pytest.approx(np.mean(xz), abs=1e-6)
    assert got["ssim_yz"] == pytest.approx(np.mean(yz), abs=1e-6)
    assert got["ssim_xz"] != pytest.approx(got["ssim_yz"], abs=1e-6)


def test_several_at_once_score_as_one_by_one():
    reference, first, second = _volume(4), _volume(5), 0.5 * _volume(6)
    both = scores.evaluate({"a": first, "b": second}, reference, HIDDEN, 10.0)
    assert both.scores["a"] == score(first, reference, HIDDEN, 10.0)
    assert both.scores["b"] == score(second, reference, HIDDEN, 10.0)
    curves = both.curves
    assert len(curves["psnr_z"]["a"]) == len(curves["z"]) == len(curves["hidden"]) == 17
    assert len(curves["fsc"]["b"]) == len(curves["fsc_z"]["b"]) == len(curves["frequency"])
    assert len(curves["cf_psnr_xy"]["a"]) == len(curves["band"])
    # The full band is the plain PSNR.
    assert curves["cf_psnr_xy"]["a"][-1] == pytest.approx(both.scores["a"]["psnr_xy"], abs=1e-4)


def test_too_small_a_volume_is_nan_not_a_crash():
    reference, prediction = _volume(7, (5, 12, 13)), _volume(8, (5, 12, 13))
    hidden = np.array([False, True, True, True, False])
    got = score(prediction, reference, hidden, 10.0)
    nothing = {name for name, value in got.items() if np.isnan(value)}
    axial = {f"{metric}_{plane}" for metric in ("ssim", "fsim") for plane in ("xz", "yz")}
    assert nothing == axial | {name for name in KEYS if name.startswith("fsc")}
    got = score(prediction[:, :4, :4], reference[:, :4, :4], hidden, 10.0)
    assert np.isnan(got["ssim_xy"]) and np.isfinite(got["psnr"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": _volume(0)[:5]}, r"prediction: got shape \(5, 16, 20\), wanted \(17"),
        ({"hidden": np.zeros(17, bool)}, "hidden: got .* 0 planes .* at least one"),
        ({"hidden": HIDDEN[:3]}, r"hidden: got shape \(3,\)"),
        ({"prediction": np.full((17, 16, 20), np.nan)}, "prediction: got 5440 voxels"),
        ({"reference": np.zeros((0, 4, 4))}, "reference: got shape"),
    ],
)
def test_errors_say_what_was_got_and_wanted(change, message):
    given = {"prediction": _volume(0), "reference": _volume(1), "hidden": HIDDEN, "voxel_nm": 10.0}
    with pytest.raises(ValueError, match=message):
        score(**(given | change))
