"""FSIM: how alike two images are in phase congruency and gradient, weighted by phase congruency.

`fsim` compares two stacks of images. A report averages planes down box by box (`add_pooled`), then
calls `features_of_pooled` and `fsim_from_features`, so that the features of the reference are
computed once for all predictions.

Letters: N images, H W their size in px, A filter orientations, S filter scales.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ORIENTATIONS, SCALES = 4, 4
SHORTEST_WAVE = 6.0  # px; each scale doubles it
SIGMA_F = 0.55
DELTA_THETA = 1.2
NOISE_DEVIATIONS = 2.0
T_CONGRUENCY, T_GRADIENT = 0.85, 160.0


class Features(NamedTuple):
    """What FSIM compares of N images."""

    congruency: jax.Array  # f32[N, H, W], in [0, 1]
    gradient: jax.Array  # f32[N, H, W], grey levels per px


def _frequencies(length: int) -> np.ndarray:
    # An odd axis is divided by length - 1, as the published code does.
    return np.fft.fftfreq(length) * (length / (length - 1) if length % 2 else 1.0)


@lru_cache(maxsize=8)
def _filter_bank(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Build the log-Gabor filters and the energy below which an orientation holds only noise.

    Returns:
      filters f32[A, S, H, W] in the frequency plane, zero frequency first; and
      f32[A], the noise threshold in units of the median amplitude at the smallest scale.
    """
    fy, fx = np.meshgrid(_frequencies(height), _frequencies(width), indexing="ij")
    radius, theta = np.hypot(fy, fx), np.arctan2(-fx, fy)
    lowpass = 1.0 / (1.0 + (radius / 0.45) ** 30)
    radius[0, 0] = 1.0
    center = 1.0 / (SHORTEST_WAVE * 2.0 ** np.arange(SCALES))[:, None, None]
    radial = lowpass * np.exp(-(np.log(radius / center) ** 2) / (2 * np.log(SIGMA_F) ** 2))
    radial[:, 0, 0] = 0.0
    angle = (np.pi / ORIENTATIONS * np.arange(ORIENTATIONS))[:, None, None]
    distance = np.abs(np.angle(np.exp(1j * (theta - angle))))
    spread = np.exp(-(distance**2) / (2 * (np.pi / (ORIENTATIONS * DELTA_THETA)) ** 2))
    filters = spread[:, None] * radial
    # Energy of filtered white noise: sum of squares plus twice the cross terms = square of the sum.
    kernels = np.fft.ifft2(filters).real * np.sqrt(height * width)
    gain = np.sum(kernels.sum(axis=1) ** 2, axis=(-2, -1))
    gain /= np.sum(filters[:, 0] ** 2, axis=(-2, -1))
    # Amplitudes of noise are Rayleigh: median^2 = ln(2) mean square; tau^2 = half the energy.
    tau = np.sqrt(gain / np.log(2.0))
    threshold = tau * (np.sqrt(np.pi / 2) + NOISE_DEVIATIONS * np.sqrt(2 - np.pi / 2))
    return filters.astype(np.float32), (threshold / 1.7).astype(np.float32)


def _lower_median(values: jax.Array) -> jax.Array:
    """Select the lower median of each row of numbers >= 0; f32[A, P] to f32[A].

    Bit by bit, from the highest: numbers >= 0 sort like their bit patterns. Exact, and several
    times quicker than XLA's sort, which would take most of FSIM's time on a CPU.
    """
    patterns = jax.lax.bitcast_convert_type(values, jnp.int32)
    rank = (values.shape[-1] - 1) // 2

    def decide(step, found):
        candidate = found | (1 << (30 - step))
        below = jnp.sum(patterns < candidate[:, None], axis=-1)
        return jnp.where(below <= rank, candidate, found)

    found = jax.lax.fori_loop(0, 31, decide, jnp.zeros(values.shape[:1], jnp.int32))
    return jax.lax.bitcast_convert_type(found, values.dtype)


def _phase_congruency(image: jax.Array) -> jax.Array:
    """Measure how well the phases of all scales agree; f32[H, W] in 0..255 to f32[H, W]."""
    filters, threshold = _filter_bank(*image.shape)
    tiny = jnp.finfo(image.dtype).eps
    response = jnp.fft.ifft2(jnp.fft.fft2(image) * filters)  # even + i odd, c64[A, S, H, W]
    amplitude = jnp.abs(response)
    mean = response.sum(axis=1, keepdims=True)
    aligned = response * jnp.conj(mean / (jnp.abs(mean) + tiny))
    energy = jnp.sum(aligned.real - jnp.abs(aligned.imag), axis=1)
    median = _lower_median(amplitude[:, 0].reshape(ORIENTATIONS, -1))
    energy = jnp.maximum(energy - (threshold * median)[:, None, None], 0.0)
    return (energy.sum(axis=0) + tiny) / (amplitude.sum(axis=(0, 1)) + tiny)


def _gradient(image: jax.Array) -> jax.Array:
    """Measure the Scharr gradient magnitude, zeros beyond the border."""
    padded = jnp.pad(image, 1)
    smooth_y = 3 * padded[:-2] + 10 * padded[1:-1] + 3 * padded[2:]
    smooth_x = 3 * padded[:, :-2] + 10 * padded[:, 1:-1] + 3 * padded[:, 2:]
    dx = (smooth_y[:, 2:] - smooth_y[:, :-2]) / 16
    dy = (smooth_x[2:] - smooth_x[:-2]) / 16
    return jnp.sqrt(dx**2 + dy**2)


def pool_size(height: int, width: int) -> int:
    """Tell how many px a side are averaged: images have about 256 px on their shorter side then."""
    return max(1, round(min(height, width) / 256))


def _pool(images: jax.Array) -> jax.Array:
    size = pool_size(*images.shape[1:])
    count, height, width = (len(images), *(n // size for n in images.shape[1:]))
    blocks = images[:, : height * size, : width * size]
    return blocks.reshape(count, height, size, width, size).mean(axis=(2, 4))


def add_pooled(pooled: np.ndarray, part: np.ndarray, start: tuple[int, int], size: int) -> None:
    """Add a part of images to their averages over size x size px, in place.

    Args:
      pooled: f32[N, H // size, W // size].
      part: f32[N, R, C].
      start: row and column of the images at which the part lies.
      size: of `pool_size`.
    """
    window = []
    for axis, first in zip((1, 2), start, strict=True):
        part = part.take(np.arange(min(part.shape[axis], pooled.shape[axis] * size - first)), axis)
        bins, starts = np.unique((first + np.arange(part.shape[axis])) // size, return_index=True)
        if not len(bins):
            return
        part = np.add.reduceat(part, starts, axis=axis)
        window.append(slice(bins[0], bins[-1] + 1))
    pooled[:, *window] += part / size**2


def fsim_features(images: jax.Array) -> Features:
    """Compute the features of a stack of images.

    Args:
      images: f32[N, H, W], intensity, data range 1.

    Returns:
      Two maps for every image, averaged down by a whole number from 384 px on (shorter side).
    """
    return features_of_pooled(_pool(images))


@jax.jit
def features_of_pooled(images: jax.Array) -> Features:
    """Compute the features f32[N, H, W] of images that have been averaged down."""

    def one(image):
        grey = 255.0 * image  # the constants of the paper are for grey levels
        return Features(_phase_congruency(grey), _gradient(grey))

    # One image at a time: each takes 16 complex planes of memory.
    return jax.lax.map(one, images)


@jax.jit
def fsim_from_features(a: Features, b: Features) -> jax.Array:
    """Compare the features of two stacks of images, pair by pair.

    Args:
      a: features of N images.
      b: features of N images of the same size.

    Returns:
      f32[N], in (0, 1]; 1 for equal features.
    """

    def similarity(x, y, constant):
        return (2 * x * y + constant) / (x**2 + y**2 + constant)

    weight = jnp.maximum(a.congruency, b.congruency)
    score = similarity(a.congruency, b.congruency, T_CONGRUENCY)
    score *= similarity(a.gradient, b.gradient, T_GRADIENT)
    return jnp.sum(score * weight, axis=(-2, -1)) / jnp.sum(weight, axis=(-2, -1))


def fsim(a: jax.Array, b: jax.Array) -> jax.Array:
    """Measure the feature similarity (FSIM) of grey images, pair by pair.

    Args:
      a: f32[N, H, W], intensity in [0, 1]; the constants of FSIM assume this range.
      b: f32[N, H, W], the same shape.

    Returns:
      f32[N], one value for every image, in (0, 1], higher is better; 1 for identical images.

    Source: Zhang et al., TIP 2011, with the constants and borders of its published code.
    """
    return fsim_from_features(fsim_features(a), fsim_features(b))
