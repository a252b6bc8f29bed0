"""PSNR and SSIM of images, differentiable, so that a loss can use what the report prints.

The Gaussian window is a banded matrix: `filter(x) = My @ x @ Mx.T`. At block sizes (64 to 256 px)
a dense product is the quickest filter there is on a CPU and the native operation of a TPU.

Letters: H W lateral size in px, L a length in px.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

SIGMA = 1.5  # px
RADIUS = 5  # px, an 11-tap window
K1, K2 = 0.01, 0.03


@lru_cache(maxsize=64)
def window_matrix(length: int) -> np.ndarray:
    """Build the matrix that filters an axis with the SSIM window.

    Args:
      length: L, px; at least 11.

    Returns:
      f32[L, L], rows sum to 1; borders mirrored about the edge of the outer pixel
      (`scipy.ndimage` mode "reflect"). Read only, because it is cached.

    Raises:
      ValueError: the axis is shorter than the window.
    """
    size = 2 * RADIUS + 1
    if length < size:
        raise ValueError(f"SSIM window: got an axis of {length} px, wanted at least {size}")
    taps = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    taps /= taps.sum()
    column = np.arange(length)[:, None] + np.arange(-RADIUS, RADIUS + 1)
    column = np.where(column < 0, -1 - column, column)
    column = np.where(column >= length, 2 * length - 1 - column, column)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], column), taps)
    matrix = matrix.astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def gaussian_filter(images: jax.Array) -> jax.Array:
    """Filter images with the 11-tap, sigma 1.5 px window of SSIM.

    Args:
      images: f32[..., H, W].

    Returns:
      f32[..., H, W].
    """
    rows, columns = window_matrix(images.shape[-2]), window_matrix(images.shape[-1])
    # HIGHEST: variances are small differences of large numbers, which TF32 or bf16 would spoil.
    precision = jax.lax.Precision.HIGHEST
    blurred = jnp.einsum("...hw,xw->...hx", images, columns, precision=precision)
    return jnp.einsum("yh,...hx->...yx", rows, blurred, precision=precision)


def psnr(
    a: jax.Array, b: jax.Array, data_range: float = 1.0, axis: tuple[int, ...] | None = None
) -> jax.Array:
    """Measure the peak signal-to-noise ratio.

    Args:
      a: f32[...], intensity.
      b: f32[...], intensity; the same shape.
      data_range: the span of intensities.
      axis: the axes whose squared errors are pooled; None pools all of them.

    Returns:
      f32[] (or one value for every index of the axes left), dB; +inf where a equals b.
    """
    error = jnp.mean(jnp.square(a - b), axis=axis)
    return 20.0 * np.log10(data_range) - 10.0 * jnp.log10(error)


def ssim_map(a: jax.Array, b: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Measure the structural similarity around every pixel.

    Args:
      a: f32[..., H, W], intensity; H and W at least 11 px.
      b: f32[..., H, W], intensity.
      data_range: the span of intensities.

    Returns:
      f32[..., H, W], at most 1.

    Raises:
      ValueError: an image is smaller than the window.

    Source: Wang et al., TIP 2004; window and borders as scikit-image with
      `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    middle = 0.5 * data_range  # variances do not see a shift, float32 does
    a, b = a - middle, b - middle
    moments = gaussian_filter(jnp.stack([a, b, a * a + b * b, a * b]))
    mean_a, mean_b, squares, product = moments
    variances = squares - mean_a**2 - mean_b**2
    covariance = product - mean_a * mean_b
    mean_a, mean_b = mean_a + middle, mean_b + middle
    structure = (2.0 * covariance + c2) / (variances + c2)
    return structure * (2.0 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)


def ssim(a: jax.Array, b: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Average the structural similarity over the pixels whose window lies inside the image.

    Args:
      a: f32[..., H, W], intensity; H and W at least 11 px.
      b: f32[..., H, W], intensity.
      data_range: the span of intensities.

    Returns:
      f32[...], one value for every image.

    Raises:
      ValueError: an image is smaller than the window.
    """
    inside = ssim_map(a, b, data_range)[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    return jnp.mean(inside, axis=(-2, -1))
