"""The flow finds a motion wider than what moves; planes between follow it."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.methods import optical_flow


def texture(shape=(48, 72), seed=0):
    """Structures of about 4 px, unit variance."""
    image = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0, mode="wrap")
    return (image / image.std()).astype(np.float32)


def moved(count, by=(3, -5)):
    """Slices of a texture that moves by whole px from one to the next."""
    image = texture()
    return np.stack([np.roll(image, (i * by[0], i * by[1]), (0, 1)) for i in range(count)])


@pytest.fixture(scope="module")
def flows():
    return optical_flow.find_flows(moved(3))


def test_finds_a_motion_wider_than_the_structures(flows):
    inner = np.asarray(flows.forth)[:, :, 10:-10, 10:-10]
    assert np.abs(np.median(inner, axis=(0, 2, 3)) - (3, -5)).max() < 0.3
    inner = np.asarray(flows.back)[:, :, 10:-10, 10:-10]
    assert np.abs(np.median(inner, axis=(0, 2, 3)) - (-3, 5)).max() < 0.3


def test_nothing_moves_between_equal_slices():
    flows = optical_flow.find_flows(np.stack([texture()] * 2))
    assert max(np.abs(f).max() for f in flows) < 1e-3


@pytest.mark.parametrize("shape", [(40, 36), (5, 11)])
def test_blank_and_small_slices_stay_finite(shape):
    assert np.isfinite(
        optical_flow.fill_in(np.zeros((2, *shape), np.float32), np.float32([0.5]))
    ).all()


def test_contrast_does_not_matter(flows):
    other = optical_flow.find_flows(100 + 7 * moved(3))
    np.testing.assert_allclose(other.forth, flows.forth, atol=0.05)


def test_warp_moves_by_the_flow():
    image = jnp.asarray(texture())
    by = jnp.broadcast_to(jnp.asarray([3.0, -5.0])[:, None, None], (2, *image.shape))
    want = np.roll(image, (-3, 5), (0, 1))[:-3, 5:]
    np.testing.assert_allclose(optical_flow.warp(image, by)[:-3, 5:], want, atol=1e-6)


def test_slices_stay_as_they_are_and_planes_between_follow():
    slices = moved(3, (4, -6))
    planes, deviation = optical_flow.fill_in(slices, np.float32([0.0, 0.5, 1.0, 2.0]))
    np.testing.assert_allclose(planes[jnp.array([0, 2, 3])], slices, atol=1e-5)
    truth, inside = moved(2, (2, -3))[1], (slice(12, -12),) * 2  # half a slice is half the motion
    error = np.square(planes[1] - truth)[inside].mean()
    linear = np.square((slices[0] + slices[1]) / 2 - truth)[inside].mean()
    assert error < 0.25 * linear
    np.testing.assert_allclose(deviation[jnp.array([0, 2, 3])], 0.0, atol=1e-6)
    apart = np.abs(slices[0] - slices[1])[inside].mean() / 2
    assert 0 < deviation[1][inside].mean() < 0.5 * apart
