"""Grey levels to the unit interval and back."""

import numpy as np
import pytest

from emgauss_jax.data.intensity import IntensityRange, find_range, from_unit, to_unit


def test_uint8_is_always_the_full_range():
    assert find_range(np.full((2, 3, 3), 7, np.uint8)) == IntensityRange(0.0, 255.0)
    means = np.array([7.25, 9.5], np.float32)
    assert find_range(means, np.uint8) == IntensityRange(0.0, 255.0)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_types_take_the_observed_range(dtype):
    assert find_range(np.array([40, 900, 65000], dtype)) == IntensityRange(40.0, 65000.0)


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
    assert (unit.min(), unit.max()) == (0.0, 1.0)
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
