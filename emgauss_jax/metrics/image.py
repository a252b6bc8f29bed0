"""PSNR and SSIM of images; both are differentiable, so a loss can use what the report prints.

The Gaussian window is a weighted sum of 11 shifted copies along one axis, then along the other. On
a CPU this takes half as long as products with banded matrices, gradient included, and its cost
grows linearly with the number of pixels.

Letters: H W lateral size in px.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.errors import InputError

SIGMA = 1.5  # px
RADIUS = 5  # px, an 11-tap window
_BELL = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
TAPS = tuple((_BELL / _BELL.sum()).tolist())
K1, K2 = 0.01, 0.03


def _slide(images: jax.Array, axis: int) -> jax.Array:
    """Sum 11 shifted, weighted copies along one axis, which becomes 10 px shorter."""
    length = images.shape[axis] - 2 * RADIUS
    shifted = (jax.lax.slice_in_dim(images, i, i + length, axis=axis) for i in range(len(TAPS)))
    return sum(tap * each for tap, each in zip(TAPS, shifted, strict=True))


@jax.custom_vjp
def window_mean(images: jax.Array) -> jax.Array:
    """Average over the 11-tap, sigma 1.5 px window of SSIM, where it lies inside the image.

    Args:
      images: f32[..., H, W].

    Returns:
      f32[..., H - 10, W - 10].
    """
    # The barrier keeps the compiler from merging two passes of 11 taps into one of 121.
    return _slide(jax.lax.optimization_barrier(_slide(images, -2)), -1)


def _window_mean_forward(images):
    return window_mean(images), None


def _window_mean_backward(_, grad):
    """Average the zero-padded gradient: the window is symmetric, so it is its own transpose."""
    frame = [(0, 0)] * (grad.ndim - 2) + [(2 * RADIUS, 2 * RADIUS)] * 2
    return (window_mean(jnp.pad(grad, frame)),)


window_mean.defvjp(_window_mean_forward, _window_mean_backward)


def psnr(
    a: jax.Array, b: jax.Array, data_range: float = 1.0, axis: tuple[int, ...] | None = None
) -> jax.Array:
    """Measure the peak signal-to-noise ratio (PSNR).

    Args:
      a: f32[...], intensity.
      b: f32[...], intensity; the same shape.
      data_range: the difference of the highest and lowest possible intensity.
      axis: the axes over which squared errors are averaged; None averages over all.

    Returns:
      f32[], or f32 of the axes that are left, dB, higher is better; +inf where a equals b.

    Source: 10 log10(data_range^2 / mean squared error), the usual definition.
    """
    error = jnp.mean(jnp.square(a - b), axis=axis)
    return 20.0 * np.log10(data_range) - 10.0 * jnp.log10(error)


def ssim_map(a: jax.Array, b: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Measure the structural similarity (SSIM) around every pixel.

    Args:
      a: f32[..., H, W], intensity; H and W at least 11 px.
      b: f32[..., H, W], intensity.
      data_range: the difference of the highest and lowest possible intensity.

    Returns:
      f32[..., H, W], in [-1, 1]; borders are mirrored about the edge of the outer pixel
      (`scipy.ndimage` mode "reflect").

    Raises:
      InputError: an image is smaller than the window.

    Source: Wang et al., TIP 2004; window and borders as scikit-image with
      `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
    """
    _check_size(a)
    frame = [(0, 0)] * (a.ndim - 2) + [(RADIUS, RADIUS)] * 2
    a, b = (jnp.pad(image, frame, mode="symmetric") for image in (a, b))
    return _ssim_inside(a, b, data_range)


def ssim(a: jax.Array, b: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Measure the mean structural similarity (SSIM) of images.

    The mean is taken over the pixels whose window, 11 px wide, lies inside the image.

    Args:
      a: f32[..., H, W], intensity; H and W at least 11 px.
      b: f32[..., H, W], intensity.
      data_range: the difference of the highest and lowest possible intensity.

    Returns:
      f32[...], one value for every image, in [-1, 1], higher is better; 1 for identical images.

    Raises:
      InputError: an image is smaller than the window.

    Source: Wang et al., TIP 2004, with its Gaussian window of sigma 1.5 px.
    """
    _check_size(a)
    return jnp.mean(_ssim_inside(a, b, data_range), axis=(-2, -1))


def _check_size(image: jax.Array) -> None:
    height, width = image.shape[-2:]
    if min(height, width) < 2 * RADIUS + 1:
        raise InputError(
            f"SSIM: got a field of {height} x {width} px, wanted 11 px or more a side, as its "
            "window has; --config=linear takes any field"
        )


def _ssim_inside(a: jax.Array, b: jax.Array, data_range: float) -> jax.Array:
    """SSIM where the window lies inside, f32[..., H - 10, W - 10]."""
    return _ssim_of(window_mean(_moments(a, b, data_range)), data_range)


def _moments(a: jax.Array, b: jax.Array, data_range: float) -> jax.Array:
    """Stack what SSIM averages; half the range is subtracted, so that float32 rounds less."""
    a, b = a - 0.5 * data_range, b - 0.5 * data_range
    return jnp.stack([a, b, a * a + b * b, a * b])


def _ssim_of(means: jax.Array, data_range: float) -> jax.Array:
    """Compute SSIM f32[...] of the averages f32[4, ...] of `_moments`."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_a, mean_b, squares, product = means
    variances = squares - mean_a**2 - mean_b**2
    covariance = product - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5 * data_range, mean_b + 0.5 * data_range
    structure = (2.0 * covariance + c2) / (variances + c2)
    return structure * (2.0 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)


def ssim_of_box(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Measure the SSIM around every voxel of a box in its xy, xz and yz plane.

    Args:
      a: f32[D + 10, H + 10, W + 10], intensity, data range 1; the outer 5 voxels are seen only.
      b: f32[D + 10, H + 10, W + 10].

    Returns:
      Three f32[D, H, W].
    """
    moments, core = _moments(a, b, 1.0), slice(RADIUS, -RADIUS)
    # The barrier keeps the compiler from merging two passes of 11 taps into one of 121.
    along_x = jax.lax.optimization_barrier(_slide(moments, 3))
    along_y = jax.lax.optimization_barrier(_slide(moments[..., core], 2))
    planes = _slide(along_x[:, core], 2), _slide(along_x[:, :, core], 1), _slide(along_y, 1)
    return tuple(_ssim_of(means, 1.0) for means in planes)
