"""Slices of one value and jumps of brightness are told; sound slices are not."""

import numpy as np
import pytest
from scipy import ndimage

from emgauss_jax.data.array_volume import of_array
from emgauss_jax.data.odd_slices import slice_doubts
from emgauss_jax.data.opening import open_unmeasured
from tests.tiny_runs import tiny


def _slices(dtype=np.uint8, shape=(12, 64, 72)):
    noise = np.random.default_rng(0).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, (1, 2, 2))
    return np.clip(128 + 30 * smooth / smooth.std(), 0, 255).astype(dtype)


def _doubts(slices, **changes):
    config = tiny("linear", **{"data__simulate_factor": 0} | changes)
    return slice_doubts(open_unmeasured(config.data, of_array(slices, (40, 8, 8))))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sound_slices(dtype):
    assert _doubts(_slices(dtype)) == []


@pytest.mark.parametrize("value", [0, 255])
def test_slices_of_one_value_are_named(value):
    slices = _slices()
    slices[[4, 9]] = value
    assert _doubts(slices) == [
        f"slices 4, 9: all px are {value}; leave them out by data.missing or --detect_missing"
    ]
    assert _doubts(slices, data__missing=(4, 9)) == []


@pytest.mark.parametrize("by", [-60, 60])
def test_jumps_of_brightness_are_named(by):
    slices = _slices().astype(np.int16)
    slices[[3, 11]] += by
    (line,) = _doubts(slices)
    assert line.startswith("slices 3, 11: brighter or darker")


def test_where_every_second_slice_is_brighter_all_are_said_to_jump():
    slices = _slices().astype(np.int16)
    slices[::2] += 60
    (line,) = _doubts(slices)
    assert line.startswith("brightness jumps by") and "from slice to slice" in line


def test_a_half_black_field_and_a_slow_change_are_no_jumps():
    slices = _slices().astype(np.float32) + 20 * np.arange(12)[:, None, None]
    slices[:, :, :36] = 0
    assert _doubts(slices) == []


def test_flat_volumes_and_few_slices():
    assert _doubts(np.full((5, 20, 20), 7, np.uint8)) == []
    assert _doubts(_slices()[:2]) == []


def test_long_lists_are_cut():
    slices = _slices()
    slices[::2] = 255
    assert _doubts(slices)[0].startswith("slices 0, 2, 4, 6, 8 and 1 more: all px are 255")


def test_little_is_read_of_a_large_field(monkeypatch):
    monkeypatch.setattr("emgauss_jax.data.odd_slices.LOOKED_AT", 12 * 32 * 32)
    slices = _slices()
    slices[:, :8] = 77  # outside of what is looked at
    slices[5, 16:48, 20:52] = 255
    assert _doubts(slices)[0].startswith("slices 5: all px are 255")
