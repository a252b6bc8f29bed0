"""Lateral shifts between slices are measured and told; tissue that is aligned is not doubted."""

import numpy as np
import pytest
from scipy import ndimage

from emgauss_jax.data.alignment import alignment_doubts, measure
from emgauss_jax.data.array_volume import of_array
from emgauss_jax.data.opening import open_unmeasured
from tests.tiny_runs import tiny

COUNT, EDGE, MARGIN = 14, 96, 16
NOTHING = ("", "")


@pytest.fixture(scope="module")
def tissue():
    """Membranes that change slowly along z, with a margin to cut shifted windows from."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((COUNT, EDGE + 2 * MARGIN, EDGE + 2 * MARGIN))
    field = ndimage.gaussian_filter(noise, (2, 3, 3))
    dark = np.exp(-(((field / field.std()) % 1 - 0.5) ** 2) / 0.02)
    return 190 - 130 * dark + 4 * rng.standard_normal(dark.shape)


def _cut(tissue, shifts):
    """Cut windows; what the first slice shows lies `shifts` px (y, x) further on in each."""
    return np.stack(
        [
            plane[MARGIN - y : MARGIN - y + EDGE, MARGIN - x : MARGIN - x + EDGE]
            for plane, (y, x) in zip(tissue, shifts, strict=True)
        ]
    ).clip(0, 255)


def _doubt(slices, distance_nm=80, **changes):
    config = tiny("linear", **{"data__simulate_factor": 0} | changes)
    volume = of_array(slices.astype(np.uint8), (distance_nm, 10, 10))
    return alignment_doubts(open_unmeasured(config.data, volume))


def _jitter(by):
    """Jump to and fro along both axes, by `by` px from slice to slice."""
    return [(by * (k % 2), by * (k % 3 == 0)) for k in range(COUNT)]


def test_aligned_slices_are_not_doubted(tissue):
    assert _doubt(_cut(tissue, [(0, 0)] * COUNT)) == NOTHING


@pytest.mark.parametrize("by", [3, 5, 10])
def test_jitter_is_told(tissue, by):
    line = _doubt(_cut(tissue, _jitter(by))).warning
    assert line.startswith("neighbouring slices are shifted by") and "register" in line


def test_the_direction_is_that_of_the_structures(tissue):
    shifts = [(0, 0), (4, -6)] * (COUNT // 2)
    found = measure(enumerate(_cut(tissue, shifts).astype(np.float32)))
    want = [(4, -6), (-4, 6)] * (COUNT // 2)
    np.testing.assert_allclose(np.median(found.pairs[::2, 0], 0), want[0], atol=1)
    np.testing.assert_allclose(np.median(found.pairs[1::2, 0], 0), want[1], atol=1)


def test_a_drift_is_told_with_its_direction(tissue):
    shifts = [(2 * k - MARGIN + 2, 0) for k in range(COUNT)]
    slices = _cut(tissue, shifts)
    told = _doubt(slices)
    assert "in one direction (y +2, x +0)" in told.note and not told.warning
    steep = _doubt(slices, distance_nm=15)  # 2 px sideways for 1.5 px down
    assert "in one direction (y +2, x +0)" in steep.warning and not steep.note


def test_a_missing_slice_is_not_looked_at(tissue):
    slices = _cut(tissue, [(0, 0)] * COUNT)
    slices[5] = np.random.default_rng(1).uniform(0, 255, slices[5].shape)
    assert _doubt(slices, data__missing=(5,)) == NOTHING


@pytest.mark.parametrize("shape", [(3, 96, 96), (14, 24, 96), (14, 96, 40)])
def test_too_little_to_tell(shape):
    assert _doubt(np.random.default_rng(0).uniform(0, 255, shape)) == NOTHING


@pytest.mark.parametrize("kind", ["noise", "flat", "half", "stripes"])
def test_what_is_no_shift(tissue, kind):
    rng = np.random.default_rng(2)
    slices = _cut(tissue, [(0, 0)] * COUNT)
    if kind == "noise":
        slices = rng.uniform(0, 255, slices.shape)
    elif kind == "flat":
        slices[:] = 9
    elif kind == "half":
        slices[:, :, : EDGE // 2] = 0
    else:
        slices = (slices + 40 * rng.standard_normal((COUNT, EDGE, 1))).clip(0, 255)
    assert _doubt(slices) == NOTHING
