"""Grey levels from a stack to its output and scores: extremes, padding, narrow ranges."""

import numpy as np
import pytest
from scipy import ndimage

import emgauss_jax as eg

FACTOR, VOXEL = 4, (10.0, 10.0, 10.0)
HOT = {"uint16": 65535, "float32": 1e4}


def _tissue(dtype="uint16", shape=(25, 32, 36)):
    """Smooth structures, [0, 1] as float32 and 1000 to 1500 as uint16."""
    noise = np.random.default_rng(0).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 2)
    unit = np.clip(0.5 + smooth / smooth.std() / 6, 0, 1)
    return unit.astype(dtype) if dtype == "float32" else (1000 + 500 * unit).astype(dtype)


def _linear(volume):
    return eg.fit(volume, voxel_nm=VOXEL, config="linear", data__simulate_factor=FACTOR)


def _rmse(one, other, where=None):
    error = np.square(one.astype(np.float64) - other.astype(np.float64))
    return float(np.sqrt(error[where].mean() if where is not None else error.mean()))


@pytest.mark.parametrize("dtype", HOT)
def test_a_hot_pixel_in_an_observed_slice_does_not_spread(dtype):
    volume = _tissue(dtype)
    sound = _rmse(_linear(volume).volume(), volume)
    hot, others = volume.copy(), np.ones(volume.shape, bool)
    hot[8, 16, 16], others[8, 16, 16] = HOT[dtype], False
    assert _rmse(_linear(hot).volume(), volume, others) < 1.001 * sound


@pytest.mark.parametrize("dtype", HOT)
@pytest.mark.parametrize("plane", [8, 10])  # observed, hidden
def test_a_hot_pixel_does_not_set_the_score(dtype, plane):
    volume = _tissue(dtype)
    hot = volume.copy()
    hot[plane, 16, 16] = HOT[dtype]
    made = _linear(volume).volume()
    sound, found = (
        eg.evaluate(made, each, observed_every=FACTOR)["scores"]["prediction"]["psnr"]
        for each in (volume, hot)
    )
    assert abs(sound - found) < 0.1


def test_a_hot_pixel_of_a_prediction_is_an_error():
    volume = _tissue()
    made = _linear(volume).volume()
    hot = made.copy()
    hot[10, 16, 16] = 65535
    sound, found = (
        eg.evaluate(each, volume, observed_every=FACTOR)["scores"]["prediction"]["psnr"]
        for each in (made, hot)
    )
    assert found < sound - 10


def test_padding_far_from_the_tissue_stays_where_it_is():
    volume = _tissue() + np.uint16(30_000)
    padded = volume.copy()
    padded[:, :6] = 0
    fit = _linear(padded)
    assert fit.run.observed.grey_range.padding[0][0] == 0
    made = fit.volume()
    assert (made[:, :6] == 0).all()
    np.testing.assert_array_equal(made[:, 6:], _linear(volume[:, 6:]).volume())


def test_structures_outside_of_the_range_keep_their_grey_levels():
    volume = _tissue(shape=(25, 64, 64))
    volume[8:17, 30:33, 30:33] = 60_000
    made = _linear(volume).volume()
    assert (made[8:17, 30:33, 30:33] == 60_000).all()


def test_sparse_dots_in_every_slice_are_structures():
    """On a flat background a dot of one pixel is far outside of the range, but there are many."""
    rng = np.random.default_rng(0)
    volume = rng.normal(1000, 3, (25, 48, 48)).astype(np.uint16)
    volume[:, rng.integers(0, 48, 12), rng.integers(0, 48, 12)] = 4000
    fit = _linear(volume)
    assert not fit.run.observed.grey_range.has_hot
    assert (fit.volume()[::FACTOR] == volume[::FACTOR]).all()


def test_a_mask_is_refused():
    volume = np.ma.masked_array(_tissue())
    volume[2, :5, :5] = np.ma.masked
    with pytest.raises(eg.InputError, match="25 masked voxels"):
        _linear(volume)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "float16", "float64", "bool"])
def test_other_types_come_back_as_they_were(dtype):
    unit = _tissue("float32")
    volume = unit > 0.5 if dtype == "bool" else (unit * 100 - (dtype[0] != "u") * 50).astype(dtype)
    made = _linear(volume).volume()
    wanted = volume * np.uint8(255) if dtype == "bool" else volume
    assert made.dtype == wanted.dtype
    np.testing.assert_allclose(made[::FACTOR], wanted[::FACTOR], rtol=1e-3, atol=1e-4)


def test_where_px_are_not_square_hot_pixels_and_padding_are_not_mixed_in():
    volume = _tissue(shape=(9, 24, 40)) + np.uint16(30_000)
    volume[:, :6] = 0
    hot = volume.copy()
    hot[4, 15, 20] = 65_535
    sound, found = (eg.fit(each, voxel_nm=(80, 20, 10), config="linear") for each in (volume, hot))
    assert sound.run.observed.grey_range.padding[0][0] == 0
    made = found.volume()
    assert made.shape[1:] == (47, 40)
    assert (made[:, :12] == 0).all() and made[:, 12:].min() > 30_500  # up to half way to row 6
    assert made.max() < 32_000
    elsewhere = np.ones(made.shape, bool)
    elsewhere[24:41, 24:38, 18:23] = False
    # but for rounding: one voxel moves the quantiles a little
    np.testing.assert_allclose(made[elsewhere], sound.volume()[elsewhere], atol=1)
