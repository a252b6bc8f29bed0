"""The networks: an encoder of a plane's observed rows to a latent grid, a decoder at any place.

Letters: R observed rows, C columns, F features of the latent grid, Q queried rows.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.methods.axial_rows import between
from emgauss_jax.methods.layers import Conv3x3, on_cpu, reach_of

OCTAVES = 2


class Encoder(nn.Module):
    """Residual convolutions without batch norm on the observed grid.

    Borders repeat their last px, so that a uniform plane has the same latent everywhere.

    Source: EDSR as in niiv: no upsampling, residual scale 1, one global skip. Difference: taps are
      dilated along the rows.
    """

    features: int
    blocks: int

    @nn.compact
    def __call__(self, rows: jax.Array) -> jax.Array:
        """Map f32[R, C], zero mean and unit variance, to f32[R, C, F]."""
        he = nn.initializers.he_normal()
        small = nn.initializers.variance_scaling(0.02, "fan_in", "truncated_normal")

        def convolve(start, image, reach=1):
            return Conv3x3(self.features, start, reach, border="edge")(image)

        head = hidden = convolve(he, rows[..., None])
        for i in range(self.blocks):
            inner = convolve(he, hidden, reach_of(i))
            hidden = hidden + convolve(small, nn.relu(inner), reach_of(i))
        return head + convolve(he, hidden)


class Decoder(nn.Module):
    """Attention over the 3 x 3 latents around a query, then a perceptron.

    A query lies between two rows of one column. Query, key and value are linear in the latent, so
    they are computed once per latent and then interpolated, which equals computing them from
    interpolated latents for each of nine neighbours.

    Source: niiv. Differences: the neighbours are spatial ones (a reshape scrambles them in the
      published code); the positional code is relative to the two rows, not to the whole image, so
      that it means the same at any image size; the output starts at 0 and is added to an
      interpolation, in place of a sigmoid.
    """

    width: int
    layers: int

    @nn.compact
    def __call__(self, latents: jax.Array, rows: jax.Array, place: jax.Array) -> jax.Array:
        """Map latents f32[R, C, F] and rows f32[R, C] at places f32[Q] to f32[Q, C]."""
        features = latents.shape[-1]
        projected = nn.Dense(3 * features, name="projections")(latents)
        attended = attend(*jnp.split(projected, 3, axis=-1), place)
        attended = nn.Dense(features, name="attended")(attended)
        code = jnp.broadcast_to(positional_code(place)[:, None], (*attended.shape[:2], 4 * OCTAVES))
        hidden = jnp.concatenate([attended, between(rows, place)[..., None], code], axis=-1)
        for _ in range(self.layers):
            hidden = nn.relu(nn.Dense(self.width, kernel_init=nn.initializers.he_normal())(hidden))
        return nn.Dense(1, kernel_init=nn.initializers.zeros_init())(hidden)[..., 0]


def attend(query: jax.Array, key: jax.Array, value: jax.Array, place: jax.Array) -> jax.Array:
    """Attend from places f32[Q] to the 3 x 3 around each: f32[R, C, F] to f32[Q, C, F].

    The neighbours of a place lie between four rows. Interpolating scores and weights equals
    interpolating keys and values, but takes one number each instead of F. A CPU draws output rows
    one by one, to fit into its caches. Together this is six times as fast on a CPU.
    """
    rows, columns, features = query.shape
    keys, values = (jnp.pad(grid, ((0, 0), (1, 1), (0, 0)), "edge") for grid in (key, value))
    beside = [slice(j, j + columns) for j in range(3)]

    def one(place):
        lower = jnp.floor(place)
        share = place - lower
        four = jnp.clip(lower.astype(jnp.int32) + jnp.arange(-1, 3), 0, rows - 1)
        asked = between(query, place[None])[0]
        products = [jnp.einsum("cf,ncf->nc", asked, keys[four][:, at]) for at in beside]
        scores = jnp.stack(products, axis=1) / np.sqrt(features)  # [4, 3, C]
        weights = nn.softmax((1 - share) * scores[:-1] + share * scores[1:], axis=(0, 1))
        padded = jnp.pad(weights, ((1, 1), (0, 0), (0, 0)))
        weights = share * padded[:-1] + (1 - share) * padded[1:]
        parts = [
            jnp.einsum("nc,ncf->cf", weights[:, j], values[four][:, at])
            for j, at in enumerate(beside)
        ]
        return sum(parts)

    return jax.lax.map(one, place) if on_cpu() else jax.vmap(one)(place)


def positional_code(place: jax.Array) -> jax.Array:
    """Encode places f32[Q] between rows as f32[Q, 8]; along columns a query is never between."""
    coordinates = jnp.stack([place, jnp.zeros_like(place)], axis=-1)
    angles = coordinates[..., None] * (2 * np.pi * 2.0 ** np.arange(OCTAVES))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(len(place), -1)
