"""Planar Gaussians: what is learned, and what a rasterizer is given.

Letters: N Gaussians, H W image size in px. Coordinates are (y, x); pixel centres are integers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

MIN_SCALE = 0.5  # px, as in GaussianImage


class Gaussians(NamedTuple):
    """Learned planar Gaussians that are added up, before activation."""

    means: jax.Array  # f32[N, 2], (y, x), px
    log_scales: jax.Array  # f32[N, 2], log px, along the Gaussian's own axes
    angles: jax.Array  # f32[N], rad, from y towards x
    # Signed: a sum of positive Gaussians cannot draw an edge sharper than themselves.
    amplitudes: jax.Array  # f32[N], grey that is added at the mean
    alive: jax.Array  # f32[N], 1 or 0: a dead one is not drawn and waits to be used again


class AlphaGaussians(NamedTuple):
    """Learned planar Gaussians for alpha blending, before activation."""

    means: jax.Array  # f32[N, 2], (y, x), px
    log_scales: jax.Array  # f32[N, 2], log px, along the Gaussian's own axes
    angles: jax.Array  # f32[N], rad, from y towards x
    opacity_logits: jax.Array  # f32[N]
    intensities: jax.Array  # f32[N], grey, 1 is white
    alive: jax.Array  # f32[N], 1 or 0, as in `Gaussians`


class Splats(NamedTuple):
    """Activated Gaussians at one depth, ready to draw."""

    means: jax.Array  # f32[N, 2], (y, x), px
    scales: jax.Array  # f32[N, 2], standard deviation, px
    angles: jax.Array | None  # f32[N], rad; None when all are axis-aligned
    opacities: jax.Array  # f32[N]; in a sum the amplitudes
    intensities: jax.Array  # f32[N]; in a sum 1


def activate(
    gaussians: Gaussians | AlphaGaussians,
    *,
    min_scale: float = MIN_SCALE,
    rotated: bool = False,
    blur: jax.Array | float = 0.0,
) -> Splats:
    """Turn learned values into drawable ones.

    Args:
      gaussians: N Gaussians before activation; the type says how they are blended.
      min_scale: px, added to the scale in quadrature: no footprint falls between two pixels.
      rotated: whether angles are used.
      blur: f32[], px, the sigma of a Gaussian blur of the whole plane: a sum is blurred exactly,
        its Gaussians widen and keep their mass; under alpha blending they only widen.

    Returns:
      The N splats; dead Gaussians have opacity 0.

    Source: 3DGS (activations); the floor is GaussianImage's, here a setting.
    """
    sharp = jnp.exp(2 * gaussians.log_scales) + min_scale**2
    scales = jnp.sqrt(sharp + blur**2)
    if isinstance(gaussians, AlphaGaussians):
        opacity, intensities = jax.nn.sigmoid(gaussians.opacity_logits), gaussians.intensities
    else:
        mass = gaussians.amplitudes * jnp.sqrt(jnp.prod(sharp, axis=-1))
        opacity = mass / jnp.prod(scales, axis=-1)
        intensities = jnp.ones_like(opacity)
    return Splats(
        means=gaussians.means,
        scales=scales,
        angles=gaussians.angles if rotated else None,
        opacities=jnp.where(gaussians.alive > 0.5, opacity, 0.0),
        intensities=intensities,
    )


def conics(splats: Splats) -> jax.Array:
    """Invert the covariance R S S^T R^T of every splat.

    Returns:
      f32[N, 3], px^-2: the entries yy, yx, xx of the inverse covariance.
    """
    inverse = 1.0 / jnp.square(splats.scales)
    if splats.angles is None:
        return jnp.stack([inverse[:, 0], jnp.zeros_like(inverse[:, 0]), inverse[:, 1]], axis=-1)
    cos, sin = jnp.cos(splats.angles), jnp.sin(splats.angles)
    yy = inverse[:, 0] * cos**2 + inverse[:, 1] * sin**2
    xx = inverse[:, 0] * sin**2 + inverse[:, 1] * cos**2
    yx = (inverse[:, 0] - inverse[:, 1]) * sin * cos
    return jnp.stack([yy, yx, xx], axis=-1)


def extents(splats: Splats, cutoff: float) -> jax.Array:
    """Measure the half-size of the box that holds each splat's ellipse of `cutoff` sigma.

    Returns:
      f32[N, 2], (y, x), px.
    """
    if splats.angles is None:
        return cutoff * splats.scales
    variance = jnp.square(splats.scales)
    cos2, sin2 = jnp.square(jnp.cos(splats.angles)), jnp.square(jnp.sin(splats.angles))
    yy = variance[:, 0] * cos2 + variance[:, 1] * sin2
    xx = variance[:, 0] * sin2 + variance[:, 1] * cos2
    return cutoff * jnp.sqrt(jnp.stack([yy, xx], axis=-1))
