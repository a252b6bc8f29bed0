"""Grey levels to the unit interval and back."""

import dataclasses
import json

import numpy as np
import pytest

from emgauss_jax.data.intensity import (
    TAIL,
    WIDE,
    IntensityRange,
    find_range,
    from_unit,
    to_unit,
)


def _tissue(low, high, dtype, size=200_000):
    return np.random.default_rng(0).uniform(low, high, size).astype(dtype)


def test_uint8_that_spans_enough_is_0_to_255():
    assert find_range(np.full((2, 3, 3), 7, np.uint8)) == IntensityRange(0.0, 255.0)
    assert find_range(_tissue(90, 90 + WIDE + 2, np.uint8)) == IntensityRange(0.0, 255.0)
    means = _tissue(30, 200, np.float32)
    assert find_range(means, np.uint8) == IntensityRange(0.0, 255.0)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (115, 126, np.uint8),
        (30_000, 37_000, np.uint16),
        (-500, 500, np.int16),
        (1e-9, 2e-9, np.float32),
        (1e5, 1e5 + 1, np.float64),
    ],
)
def test_the_range_is_that_of_all_but_a_thousandth_on_each_side(low, high, dtype):
    found = find_range(_tissue(low, high, dtype))
    width = (high - low) * 1e-3 + (np.dtype(dtype).kind in "iu")  # a level, where they are whole
    assert abs(found.low - low) <= 2 * width and abs(found.high - high) <= 2 * width


@pytest.mark.parametrize(("dtype", "extreme"), [(np.uint16, 65535), (np.float32, 1e4)])
def test_a_few_extreme_voxels_do_not_set_the_range(dtype, extreme):
    values = _tissue(1000, 1500, dtype) if dtype == np.uint16 else _tissue(0, 1, dtype)
    sound = find_range(values)
    values[:3] = extreme
    found = find_range(values)
    assert abs(found.high - sound.high) < 0.01 * sound.span
    assert not found.padding


@pytest.mark.parametrize("level", [0, 65535])
@pytest.mark.parametrize("share", [0.02, 0.6])
def test_padding_apart_from_the_tissue_is_left_out_and_said(level, share):
    values = _tissue(30_000, 37_000, np.uint16)
    sound = find_range(values)
    values[: int(share * values.size)] = level
    found = find_range(values)
    assert abs(found.low - sound.low) < 50 and abs(found.high - sound.high) < 50
    assert found.padding == ((float(level), pytest.approx(share)),)
    assert f"padding of {level} left out ({100 * share:g} % of the voxels)" in found.describe()
    unit = to_unit(values, found)
    assert unit[0] == float(level > 0)
    assert IntensityRange.from_json(json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_few_voxels_of_one_extreme_value_are_no_padding_and_not_in_the_range():
    values = _tissue(1000, 1500, np.uint16)
    sound = find_range(values)
    values[:1000] = 60_000  # a bright structure: half a percent
    found = find_range(values)
    assert abs(found.high - sound.high) < 5 and not found.padding
    assert found.far == 1000 and not found.has_hot
    assert found.describe().endswith("1000 voxels far outside: structures, which are kept")


def test_hot_pixels_are_counted_and_said():
    values = _tissue(1000, 1500, np.uint16)
    values[:3] = 65_535
    found = find_range(values)
    assert found.far == 3 and found.has_hot
    assert "3 voxels far outside: single px and pairs are replaced" in found.describe()


def test_black_that_is_near_the_tissue_is_no_padding():
    values = _tissue(1_000, 50_000, np.uint16)
    values[:100_000] = 0
    found = find_range(values)
    assert found.low == 0 and not found.padding


def test_two_values_alone_are_the_range():
    found = find_range(np.array([0, 1000] * 50, np.uint16))
    assert found == IntensityRange(0.0, 1000.0)


def test_values_outside_of_the_range_pass_through():
    found = IntensityRange(1000.0, 1500.0)
    values = np.array([0, 999, 1501, 2400, 65535], np.uint16)
    np.testing.assert_array_equal(from_unit(to_unit(values, found), found, np.uint16), values)


def test_wide_types_are_not_rounded_before_the_range_is_taken_off():
    low = 2.0**31
    values = np.array([low, low + 1, low + 2], np.uint32)
    np.testing.assert_array_equal(to_unit(values, IntensityRange(low, low + 2)), [0, 0.5, 1])


def test_constant_volume_is_widened():
    grey_range = find_range(np.full((2, 2, 2), 5.0, np.float32))
    assert grey_range == IntensityRange(5.0, 6.0)
    np.testing.assert_array_equal(to_unit(np.full(3, 5.0), grey_range), 0.0)


def test_nan_and_infinity_are_counted():
    with pytest.raises(ValueError, match="got 3 NaN or infinite voxels"):
        find_range(np.array([1.0, np.nan, np.inf, -np.inf, 2.0], np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_round_trip_is_exact(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    grey_range = find_range(values)
    unit = to_unit(values, grey_range)
    assert unit.dtype == np.float32
    assert -2 * TAIL < unit.min() <= 0 and 1 <= unit.max() < 1 + 2 * TAIL
    back = from_unit(unit, grey_range, dtype)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, values)


def test_16_bit_does_not_wrap():
    grey_range = IntensityRange(100.0, 65500.0)
    back = from_unit(np.array([-0.5, 1.5]), grey_range, np.uint16)
    np.testing.assert_array_equal(back, [0, 65535])


def test_integers_are_rounded_not_cut():
    grey_range = IntensityRange(0.0, 255.0)
    back = from_unit(np.array([99.6, 100.4]) / 255, grey_range, np.uint8)
    np.testing.assert_array_equal(back, [100, 100])


def test_floats_are_neither_rounded_nor_clipped():
    grey_range = IntensityRange(-1.0, 3.0)
    back = from_unit(np.array([-0.25, 0.3, 1.5], np.float32), grey_range, np.float32)
    np.testing.assert_allclose(back, [-2.0, 0.2, 5.0], rtol=1e-6)
    assert back.dtype == np.float32


def test_nan_is_refused_for_integers():
    with pytest.raises(ValueError, match="got 1 NaN"):
        from_unit(np.array([0.5, np.nan]), IntensityRange(0.0, 255.0), np.uint8)
