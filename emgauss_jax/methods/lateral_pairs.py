"""Training pairs from lateral images alone: one lateral axis is degraded like the z axis.

Letters: R observed rows, k planes for every observed slice, C columns, K slices, H W block size.
Both slice profiles share one grid of planes: slice i has k planes, and plane i k + j lies at
`profile.plane_offsets(k)[j]` from slice i. A stack of thin slices ends at its last slice.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import weights


def rows_of_image(most: int, size: int, factor: int, profile: SliceProfile) -> int:
    """Count the observed rows of a training image: at most `most`, and no more than fit."""
    return min(most, profile.rows_within(size, factor))


def base_weights(rows: int, factor: int, profile: SliceProfile) -> np.ndarray:
    """Compute the weights f64[planes, R] of the interpolation to which a network adds."""
    return weights(profile.interpolation, np.arange(rows), profile.plane_depths(rows, factor))


def contrast(block: Block) -> tuple[jax.Array, jax.Array]:
    """Compute mean and standard deviation of the valid slices, f32[] each."""
    share = block.valid / block.valid.sum() / block.slices[0].size
    mean = jnp.einsum("k,khw->", share, block.slices)
    return mean, jnp.sqrt(jnp.einsum("k,khw->", share, jnp.square(block.slices - mean))) + 1e-6


def halve(slices: jax.Array) -> jax.Array:
    """Average squares of 2 x 2 px, f32[K, H, W] to f32[K, H // 2, W // 2]."""
    count, height, width = slices.shape[0], slices.shape[1] // 2, slices.shape[2] // 2
    even = slices[:, : 2 * height, : 2 * width]
    return even.reshape(count, height, 2, width, 2).mean(axis=(2, 4))


def draw_image(key: jax.Array, slices: jax.Array, planes: int, columns: int) -> jax.Array:
    """Cut a random piece out of a random slice, transposed and mirrored at random.

    Args:
      key: PRNG key, consumed.
      slices: f32[K, H, W], all valid.
      planes: rows to cut, at most H and W.
      columns: C, at most H and W.

    Returns:
      f32[planes, C].
    """
    slice_key, corner_key, turn_key = jax.random.split(key, 3)
    index = jax.random.randint(slice_key, (), 0, slices.shape[0])
    place = jax.random.uniform(corner_key, (2,))
    turn = jax.random.bernoulli(turn_key, shape=(3,))

    def cut(height: int, width: int) -> jax.Array:
        free = jnp.asarray(slices.shape[1:]) - jnp.asarray((height, width))
        y, x = jnp.floor(place * (free + 1)).astype(jnp.int32)
        return jax.lax.dynamic_slice(slices, (index, y, x), (1, height, width))[0]

    image = jnp.where(turn[0], cut(planes, columns), cut(columns, planes).T)
    image = jnp.where(turn[1], image[::-1], image)
    return jnp.where(turn[2], image[:, ::-1], image)
