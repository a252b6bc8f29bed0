"""What a render is compared with, and how."""

import jax
import jax.numpy as jnp

from emgauss_jax.metrics.image import ssim


def reconstruction_loss(
    images: jax.Array, targets: jax.Array, ssim_weight: jax.Array | float
) -> jax.Array:
    """Weigh the absolute error and D-SSIM.

    Args:
      images: f32[Q, H, W], rendered.
      targets: f32[Q, H, W].
      ssim_weight: f32[], lambda in (1 - lambda) L1 + lambda (1 - SSIM).

    Returns:
      f32[].

    Source: 3DGS, equation 7, with lambda 0.2.
    """
    l1 = jnp.mean(jnp.abs(images - targets))
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - jnp.mean(ssim(images, targets)))
