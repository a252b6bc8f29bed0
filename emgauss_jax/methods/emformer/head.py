"""The head of the network: it makes fine rows of each row, and interpolates them at any place.

Letters: D frames, R rows, C columns, F features, Q queried rows.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from emgauss_jax.methods.axial_rows import between


def double(grid: jax.Array) -> jax.Array:
    """Split each row into two of alternate features: f32[D, R, C, 2 F] to f32[D, 2 R, C, F]."""
    D, R, C, F = grid.shape
    parts = grid.reshape(D, R, C, F // 2, 2).transpose(0, 1, 4, 2, 3)
    return parts.reshape(D, 2 * R, C, F // 2)


class Last(nn.Module):
    """Interpolate fine rows at the px of the output and convolve there.

    Both are linear, so each kernel row is summed on the fine rows first and then interpolated.
    """

    fine: int  # fine rows per input row
    first: float  # distance of the first fine row from its input row, fine rows

    @nn.compact
    def __call__(self, grid: jax.Array, place: jax.Array, step: jax.Array) -> jax.Array:
        """Map f32[D, R fine, C, F], f32[Q] and f32[] to f32[D, Q, C]; see `Network`."""
        start = nn.initializers.zeros_init()
        kernel = self.param("kernel", start, (3, 3, grid.shape[-1], 1))
        bias = self.param("bias", start, (1,))
        padded = jnp.pad(grid, ((0, 0), (0, 0), (1, 1), (0, 0)), "edge")
        across = jnp.concatenate([padded[:, :, j : j + grid.shape[2]] for j in range(3)], axis=-1)
        sums = across @ kernel.reshape(3, -1).T  # [D, R fine, C, 3], for each row of the kernel
        middle = self.fine * place - self.first
        rows = [
            jax.vmap(between, (0, None))(sums[..., i], middle + (i - 1) * self.fine * step)
            for i in range(3)
        ]
        return sum(rows) + bias
