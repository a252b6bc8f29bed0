"""PSNR and SSIM against scikit-image, and what a loss asks of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from emgauss_jax.metrics import image


def _pair(kind, shape):
    rng = np.random.default_rng(sum(shape))
    if kind == "random":
        return rng.random(shape, np.float32), rng.random(shape, np.float32)
    if kind == "flat":  # variances near zero: where float32 shows first
        base = np.full(shape, 0.8, np.float32)
        return base, base + rng.normal(0, 0.003, shape).astype(np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    clean = 0.5 + 0.4 * np.sin(x / 3) * np.cos(y / 5 + x / 11)
    return clean, (gaussian_filter(clean, 1) + rng.normal(0, 0.05, shape)).astype(np.float32)


@pytest.mark.parametrize("kind", ["random", "structured", "flat"])
@pytest.mark.parametrize("shape", [(11, 11), (32, 48), (129, 17), (64, 64)])
def test_equals_scikit_image(kind, shape):
    a, b = _pair(kind, shape)
    expected = structural_similarity(
        a.astype(np.float64),
        b.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert float(image.ssim(a, b)) == pytest.approx(expected, abs=1e-4)
    expected = peak_signal_noise_ratio(a.astype(np.float64), b.astype(np.float64), data_range=1.0)
    assert float(image.psnr(a, b)) == pytest.approx(expected, abs=1e-3)


def test_window_is_scipys_gaussian():
    random = np.random.default_rng(0).random((15, 23))
    expected = gaussian_filter(random, 1.5, mode="reflect", radius=5)[5:-5, 5:-5]
    got = image.window_mean(jnp.asarray(random, jnp.float32))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_window_gradient_is_its_transpose():
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 15, 23)), rng.random((2, 5, 13))
    out, transpose = jax.vjp(image.window_mean, jnp.asarray(x, jnp.float32))
    (back,) = transpose(jnp.asarray(y, jnp.float32))
    assert float(jnp.vdot(out, y)) == pytest.approx(float(jnp.vdot(x, back)), rel=1e-5)


def test_batches_and_data_range():
    a, b = np.random.default_rng(0).random((2, 3, 16, 20), np.float32)
    each = [float(image.ssim(x, y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(image.ssim(a, b), each, atol=1e-6)
    np.testing.assert_allclose(image.ssim(255 * a, 255 * b, 255.0), each, atol=1e-5)
    per_slice = image.psnr(a, b, axis=(-2, -1))
    assert per_slice.shape == (3,)
    # The pooled error is the mean of the errors of equally large slices.
    pooled = -10 * np.log10(np.mean(10 ** (-np.asarray(per_slice) / 10)))
    assert float(image.psnr(255 * a, 255 * b, 255.0)) == pytest.approx(pooled, abs=1e-4)


def test_identical_images():
    a = np.random.default_rng(1).random((20, 20), np.float32)
    assert float(image.psnr(a, a)) == np.inf
    assert float(image.ssim(a, a)) == pytest.approx(1.0, abs=1e-6)


def test_gradient_is_finite_and_right():
    a, b = np.random.default_rng(2).random((2, 13, 13), np.float32)
    for x, y in [(a, b), (b, b), (np.zeros_like(b), np.zeros_like(b))]:
        assert np.isfinite(jax.grad(image.ssim)(x, y)).all()
    direction = np.random.default_rng(3).normal(size=a.shape).astype(np.float32)
    step = 1e-3
    difference = (image.ssim(a + step * direction, b) - image.ssim(a - step * direction, b)) / 2
    slope = float(jnp.vdot(jax.grad(image.ssim)(a, b), direction))
    assert slope == pytest.approx(float(difference) / step, rel=1e-2)


def test_too_small_an_axis_is_named():
    with pytest.raises(ValueError, match=r"got a field of \d+ x \d+ px, wanted 11 px or more"):
        image.ssim(np.zeros((32, 10)), np.zeros((32, 10)))
