"""Flat, saturated, bright and striped slices are named before a fit, sound ones are not."""

import dataclasses
import re
import types

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.array_volume import ArrayVolume
from emgauss_jax.data.intensity import range_of
from emgauss_jax.data.opening import open_unmeasured
from emgauss_jax.data.slice_checks import slice_doubts


def stack(count=20, size=72, seed=0):
    """Tissue that changes from slice to slice, f[count, size, size] around 120 of 255."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=(count, size, size)), (1.5, 2, 2))
    return 120 + 30 * smooth / smooth.std() + random.normal(scale=4, size=smooth.shape)


def told(values, missing=(), factor=0, dtype=np.uint8, volume=ArrayVolume):
    config = types.SimpleNamespace(
        path="", dataset="", crop="", missing=missing, simulate_factor=factor,
        degradation="subsample", z_nm="",
    )  # fmt: skip
    if np.issubdtype(dtype, np.integer):
        values = np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = values.astype(dtype)
    observed = open_unmeasured(config, volume(values, (50.0, 10.0, 10.0)))
    grey_range = range_of(values[np.isfinite(values)], values.dtype)
    return slice_doubts(dataclasses.replace(observed, grey_range=grey_range))


def named(line):
    """Read which slices a line names."""
    return [int(i) for i in re.findall(r"(?:[:,] )(\d+) \(", line)]


@pytest.mark.parametrize("size", [24, 72])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_said_of_a_sound_stack(size, seed):
    assert told(stack(size=size, seed=seed)) == []


def test_nothing_is_said_where_all_fields_are_half_black():
    values = stack()
    values[:, :, :36] = 0
    assert told(values) == []


@pytest.mark.parametrize(("dtype", "value"), [(np.uint16, 65535), (np.uint8, 0), (np.float32, 0.5)])
def test_slices_of_one_value(dtype, value):
    values = stack()
    values[[5, 11]] = value
    (line,) = told(values, dtype=dtype)
    assert line.startswith(f"slices of one value: 5 ({value}), 11 ({value}): leave")


def test_a_hot_pixel_is_no_stripe():
    values = stack()
    values[7, 36, 36] = 65535
    assert told(values, dtype=np.uint16) == []


def test_a_mostly_saturated_slice():
    values = stack()
    values[7] = 2 * values[7] - 10  # its median is 230: fewer than half are over 255
    values[9] = 2 * values[9] + 40  # 280: more than half are
    lines = told(values)
    (line,) = [line for line in lines if "at an end of the dtype" in line]
    assert named(line) == [9]
    share = 100 * np.mean(values[9].astype(int) >= 255)
    assert f"9 ({share:.0f} %)" in line


def test_every_tenth_slice_brighter():
    values = stack(40)
    values[3::10] += 40
    values[18] -= 60
    (line,) = told(values)
    assert "brightness jumps (grey levels" in line
    assert named(line) == [3, 13, 18, 23, 33]
    jumps = [float(jump) for jump in re.findall(r"\d+ \(([+-][\d.]+)\)", line)]
    np.testing.assert_allclose(jumps, [40, 40, -60, 40, 40], atol=5)


def test_brightness_that_jumps_everywhere_is_one_line():
    random = np.random.default_rng(0)
    values = stack() + random.permutation(np.linspace(-60, 60, 20))[:, None, None]
    (line,) = told(values)
    assert line.startswith("brightness jumps from slice to slice by")


@pytest.mark.parametrize(("axis", "name"), [(2, "x"), (1, "y")])
def test_stripes(axis, name):
    values, random = stack(), np.random.default_rng(0)
    values[6] += np.expand_dims(random.normal(scale=25, size=72), axis - 1)
    (line,) = told(values)
    assert f"striped along {name}" in line and named(line) == [6]


def test_few_are_listed():
    values = stack(30)
    values[4:20:2] = 255
    (line,) = told(values)
    assert named(line) == [4, 6, 8, 10, 12] and "and 3 more" in line


class Recording(ArrayVolume):
    """A volume that fails where a plane is read that must not be."""

    def __getitem__(self, key):
        assert all(z % 3 == 0 and z != 15 for z in range(key[0].start, key[0].stop))
        return super().__getitem__(key)


def test_neither_hidden_planes_nor_missing_slices_are_read_and_slices_are_counted():
    values = np.repeat(stack(), 3, axis=0)[:-2]
    values[[15, 30]] = 255
    (line,) = told(values, missing=(5,), factor=3, volume=Recording)
    assert named(line) == [10]


@pytest.mark.parametrize("shape", [(2, 8, 8), (3, 1, 9), (12, 60, 1), (12, 1, 1)])
def test_any_shape(shape):
    assert told(np.random.default_rng(0).integers(0, 255, shape)) == []


def test_a_part_of_a_large_field_is_read():
    read = []

    class Counting(ArrayVolume):
        def __getitem__(self, key):
            values = super().__getitem__(key)
            read.append(values.size)
            return values

    values = np.broadcast_to(stack(4, 64).astype(np.uint8)[0], (3, 64, 64))
    values = np.tile(values, (1, 48, 48)).copy()
    values[1] = 7
    (line,) = told(values, volume=Counting)
    assert "of one value, in the middle" in line
    assert sum(read) <= 2**24


def test_slices_that_are_not_finite_are_left_to_others():
    values = stack()
    values[3, 4, 5], values[6] = np.nan, 0.25
    (line,) = told(values, dtype=np.float32)
    assert named(line) == [6]
