"""The definition: every Gaussian at every pixel. Slow, readable, and what the fast ones equal.

Letters: N Gaussians, H W image size in px.
"""

import jax
import jax.numpy as jnp

from emgauss_jax.render.gaussians import Splats, conics

MAX_ALPHA = 0.99  # as in 3DGS: one splat never hides all that lies behind it


def falloff(power: jax.Array, cutoff: float | None) -> jax.Array:
    """Evaluate exp(-power / 2), zero beyond `cutoff` sigma.

    Args:
      power: f32[...], squared Mahalanobis distance.
      cutoff: sigma; None keeps the whole plane.
    """
    value = jnp.exp(-0.5 * power)
    return value if cutoff is None else jnp.where(power <= cutoff**2, value, 0.0)


def footprints(splats: Splats, shape: tuple[int, int], cutoff: float | None = None) -> jax.Array:
    """Evaluate every Gaussian, without its opacity, at every pixel centre.

    Returns:
      f32[N, H, W], 1 at the mean.
    """
    y = jnp.arange(shape[0], dtype=jnp.float32)[None, :, None] - splats.means[:, 0, None, None]
    x = jnp.arange(shape[1], dtype=jnp.float32)[None, None, :] - splats.means[:, 1, None, None]
    conic = conics(splats)[:, :, None, None]
    return falloff(conic[:, 0] * y**2 + 2 * conic[:, 1] * y * x + conic[:, 2] * x**2, cutoff)


def reference(
    splats: Splats,
    shape: tuple[int, int],
    *,
    blend: str,
    background: jax.Array | float = 0.0,
    cutoff: float | None = None,
) -> jax.Array:
    """Draw splats on one plane.

    Args:
      splats: N splats; in alpha blending the first of the list lies in front.
      shape: (H, W), px.
      blend: "alpha", c_i alpha_i prod_{j<i} (1 - alpha_j) + background * what is left; "sum",
        background + sum c_i alpha_i, in any order.
      background: f32[], grey behind (alpha) or under (sum) all splats.
      cutoff: sigma beyond which a splat is zero; None: never.

    Returns:
      f32[H, W].

    Source: 3DGS, section 4 (alpha); GaussianImage, section 3 (sum). All splats share one depth,
      so the order is that of the list (EMGauss, section 3).
    """
    alpha = splats.opacities[:, None, None] * footprints(splats, shape, cutoff)
    colour = splats.intensities[:, None, None]
    if blend == "sum":
        return background + jnp.sum(colour * alpha, axis=0)
    alpha = jnp.minimum(alpha, MAX_ALPHA)
    through = jnp.cumprod(1.0 - alpha, axis=0)
    before = jnp.concatenate([jnp.ones_like(through[:1]), through[:-1]])
    return jnp.sum(colour * alpha * before, axis=0) + background * through[-1]
