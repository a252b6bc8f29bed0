"""Attention within windows: self-attention, and mutual attention of a window's two frames.

Letters: D frames, R rows, C columns, F features, N windows, T tokens of a window, h heads.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.methods.emformer.windows import areas, cut, join, windows_of

NEVER = -1e9  # added to a score to give it no weight


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None = None,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Attend within every window.

    Args:
      query, key, value: f32[..., T, h, F / h].
      bias: f32[h, T, T], added to the scores.
      mask: bool[..., T, T], keys that a query may see; None: all. A query without any gets 0.

    Returns:
      f32[..., T, F].
    """
    scores = jnp.einsum("...qhf,...khf->...hqk", query / np.sqrt(query.shape[-1]), key)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores + jnp.where(mask, 0.0, NEVER)[..., None, :, :]
    # Softmax, normalized after the product with the values, which is smaller than the scores.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    seen = jnp.einsum("...hqk,...khf->...hqf", weights, value)
    seen = jnp.moveaxis(seen / weights.sum(axis=-1, keepdims=True), -3, -2)
    if mask is not None:
        seen = jnp.where(mask.any(axis=-1)[..., None, None], seen, 0.0)
    return seen.reshape(*seen.shape[:-2], -1)


class WindowAttention(nn.Module):
    """Attention within the windows of a grid, shifted or not.

    Source: VRT without flow, as in IsoVEM. Differences: padding is not attended to; two frames
      that a shift brings together from opposite ends do not see each other; a window smaller than
      the bias table uses the entries of its own distances.
    """

    heads: int
    window: tuple[int, int, int]  # frames, rows, columns
    shifted: bool
    mutual: bool  # the two frames of a window attend to each other, too

    @nn.compact
    def __call__(self, grid: jax.Array) -> jax.Array:
        """Map f32[D, R, C, F] to the same shape."""
        features = grid.shape[-1]
        windows = windows_of(grid.shape[:3], self.window, self.shifted)
        tokens, area = cut(grid, windows), areas(windows)
        mask = None if area is None else area[:, :, None] == jnp.asarray(area)[:, None]
        seen = attend(*self._project("own", tokens), self._bias(windows.size), mask)
        if self.mutual:
            half = tokens.shape[1] // 2
            code = np.tile(sine_code(self.window[1:], windows.size[1:], features), (2, 1))
            query, key, value = (
                each.reshape(-1, 2, half, *each.shape[2:])
                for each in self._project("other", tokens + code)
            )
            crossed = None
            if mask is not None:
                crossed = jnp.stack([mask[:, half:, :half], mask[:, :half, half:]], axis=1)
            # At a frame's place is the answer to the queries of the other frame.
            other = attend(query[:, ::-1], key, value, mask=crossed)
            seen = jnp.concatenate([other.reshape(tokens.shape), seen], axis=-1)
        return join(nn.Dense(features, name="joined")(seen), windows)

    def _project(self, name: str, tokens: jax.Array) -> list[jax.Array]:
        """Make query, key and value, f32[N, T, h, F / h] each."""
        all_three = nn.Dense(3 * tokens.shape[-1], name=name)(tokens)
        return [
            each.reshape(*each.shape[:2], self.heads, -1)
            for each in jnp.split(all_three, 3, axis=-1)
        ]

    def _bias(self, size: tuple[int, int, int]) -> jax.Array:
        """Look up a bias f32[h, T, T] for every distance of two tokens."""
        shape = tuple(2 * n - 1 for n in self.window)
        start = nn.initializers.truncated_normal(0.02)
        table = self.param("bias", start, (*shape, self.heads))
        places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 3)
        apart = places[:, None] - places[None] + np.array(self.window) - 1
        return table[tuple(np.moveaxis(apart, -1, 0))].transpose(2, 0, 1)


def sine_code(table: tuple[int, int], size: tuple[int, int], features: int) -> np.ndarray:
    """Encode rows and columns of a window by sines, f32[rows * columns, features].

    Args:
      table: rows and columns of the largest window.
      size: rows and columns of this window.
      features: a multiple of 4; half of them for rows.

    Source: DETR, normalized as in VRT.
    """
    half = features // 2
    wavelength = 10_000.0 ** (2 * (np.arange(half) // 2) / half)
    codes = []
    for most, count in zip(table, size, strict=True):
        angles = 2 * np.pi * (np.arange(count) + 1)[:, None] / most / wavelength
        codes.append(np.where(np.arange(half) % 2, np.cos(angles), np.sin(angles)))
    rows, columns = codes
    both = np.broadcast_arrays(rows[:, None], columns[None])
    return np.concatenate(both, axis=-1).reshape(-1, 2 * half).astype(np.float32)
