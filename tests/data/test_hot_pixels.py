"""Single extreme pixels are replaced; structures, however bright, are not."""

import numpy as np
import pytest

from emgauss_jax.data.hot_pixels import without_hot_pixels

LIMITS = (0.0, 100.0)


def _images(dtype=np.float32):
    return np.random.default_rng(0).integers(20, 80, (3, 9, 11)).astype(dtype)


@pytest.mark.parametrize("value", [65535, -3000])
@pytest.mark.parametrize("place", [(1, 4, 5), (0, 0, 0), (2, 8, 10), (1, 0, 5)])
def test_a_hot_pixel_becomes_the_median_of_those_around_it(place, value):
    images = _images()
    hot = images.copy()
    hot[place] = value
    cleaned = without_hot_pixels(hot, LIMITS)
    z, y, x = place
    around = images[z, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].ravel().tolist()
    around.remove(images[place])
    images[place] = np.median(around)
    np.testing.assert_array_equal(cleaned, images)
    assert hot[place] == value  # the caller's array is untouched


def test_a_pair_is_replaced_and_a_bright_structure_is_kept():
    images = _images()
    images[0, 3, 3:5] = 9000
    images[2, 2:5, 6:8] = 9000
    cleaned = without_hot_pixels(images, LIMITS)
    assert cleaned[0].max() < 100
    np.testing.assert_array_equal(cleaned[1:], images[1:])


def test_neighbours_are_those_of_the_same_image():
    images = _images()
    images[:, 4, 4] = 9000  # one in each image
    assert without_hot_pixels(images, LIMITS).max() < 100


def test_padding_is_never_hot():
    images = _images()
    images[1, 4, 4] = -500
    assert (without_hot_pixels(images, LIMITS, [-500.0]) == images).all()


def test_nothing_to_do_and_nothing_around():
    images = _images(np.uint8)
    assert without_hot_pixels(images, (-1.0, 256.0)) is images
    lone = np.full((2, 1, 1), 9000.0)
    np.testing.assert_array_equal(without_hot_pixels(lone, LIMITS), lone)


def test_blocks_of_slices():
    images = np.stack([_images(), _images()])
    images[1, 2, 4, 4] = 9000
    assert without_hot_pixels(images, LIMITS).max() < 100


@pytest.mark.parametrize("step", [(0, 1), (1, 1)])
def test_a_thin_line_is_kept_to_its_ends(step):
    images = _images()
    places = np.array([2, 2]) + np.outer(range(4), step)
    images[1][tuple(places.T)] = 9000
    np.testing.assert_array_equal(without_hot_pixels(images, LIMITS), images)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_kept(value):
    images = _images()
    images[1, 4, 4] = value
    np.testing.assert_array_equal(without_hot_pixels(images, LIMITS), images)
