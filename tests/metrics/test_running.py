"""Sums over boxes: SSIM of boxes wider than what is computed at once is that of the planes."""

import numpy as np
import pytest

from emgauss_jax.data.tiling import Box, even_boxes
from emgauss_jax.metrics import image, running

HIDDEN = np.arange(17) % 4 != 0


def _scores(a, b, boxes):
    field = running.Field(a.shape, HIDDEN)
    sums = running.nothing(a.shape)
    for core in boxes:
        near = core.grown(running.MARGIN, a.shape).slices
        sums = running.accumulate(sums, field, a[near], b[near], core)
    return running.scores_of(sums, field)


def test_ssim_is_that_of_whole_planes():
    a, b = np.random.default_rng(0).random((2, 17, 20, 140), np.float32)
    b = 0.7 * a + 0.3 * b
    got = _scores(a, b, [Box((0, 0, 0), a.shape)])
    assert a.shape[2] > 2 * running.TILE[2]
    xy = np.asarray(image.ssim(a[HIDDEN], b[HIDDEN]), np.float64).mean()
    assert got["ssim_xy"] == pytest.approx(xy, abs=1e-6)
    for axis, name in ((1, "ssim_xz"), (2, "ssim_yz")):
        maps = image.ssim_map(*(np.moveaxis(each, axis, 0) for each in (a, b)))
        rows = np.asarray(maps, np.float64)[:, HIDDEN].mean()
        assert got[name] == pytest.approx(rows, abs=1e-6)
    assert got["ssim_xz"] != pytest.approx(got["ssim_yz"], abs=1e-6)
    boxes = even_boxes(a.shape, (9, 9, 140))  # narrower than the window, too
    assert _scores(a, b, boxes) == pytest.approx(got, abs=1e-6)


def test_a_part_without_seams_has_no_psnr_there():
    a, b = np.random.default_rng(0).random((2, 17, 12, 13), np.float32)
    field = running.Field(a.shape, HIDDEN, (np.zeros(12, bool), np.zeros(13, bool)))
    sums = running.accumulate(running.nothing(a.shape), field, a, b, Box((0, 0, 0), a.shape))
    found = running.seam_psnr(sums, field)
    assert np.isnan(found["border"])
    assert found["elsewhere"] == pytest.approx(running.scores_of(sums, field)["psnr"], abs=1e-9)
