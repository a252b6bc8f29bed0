"""The network: it restores frames of observed rows to a finer grid of rows, like a video.

Letters: D frames, R rows, C columns, F features, Q queried rows.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.methods.emformer.attention import WindowAttention
from emgauss_jax.methods.emformer.head import Last, double
from emgauss_jax.methods.layers import Conv3x3


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Everything static about the network; hashable.

    Raises:
      InputError: a number that cannot work.
    """

    features: int  # of the U-shaped stages
    deep_features: int  # of the groups behind them
    scales: int  # of the U, each half as fine as the one before
    stage_blocks: int  # attention blocks in a stage, three of four with mutual attention
    groups: int  # of two blocks; the last two groups attend within one frame only
    heads: int
    window: tuple[int, int, int]  # frames, rows, columns
    head_features: int
    doublings: int  # of the rows in the head
    drop: float  # probability to drop the last block, rising from 0 (stochastic depth)

    def __post_init__(self):
        fields = dataclasses.asdict(self)
        whole = [n for name, n in fields.items() if name not in ("window", "drop")]
        if min(whole) < 1 or self.features % 4 or not 0 <= self.drop < 1:
            raise InputError(
                f"emformer: got {fields}, wanted 1 or more of each, features of 4, 8, 12, ... and "
                "0 <= drop < 1"
            )
        if self.features % self.heads or self.deep_features % self.heads:
            raise InputError(
                f"emformer: got {self.features} and {self.deep_features} features, wanted "
                f"multiples of {self.heads} heads"
            )
        if len(self.window) != 3 or self.window[0] != 2 or min(self.window) < 1:
            raise InputError(f"emformer.window: got {self.window}, wanted (2, rows, columns)")

    @property
    def blocks(self) -> int:
        """Number of attention blocks."""
        return (2 * self.scales - 1) * self.stage_blocks + 2 * self.groups

    @property
    def multiple(self) -> int:
        """The number of which R and C must be multiples."""
        return 2 ** (self.scales - 1)

    @property
    def fine(self) -> int:
        """Fine rows that the head makes of each row."""
        return 2**self.doublings


def kept_blocks(key: jax.Array, sizes: Sizes) -> jax.Array:
    """Draw which halves of blocks a step keeps, f32[blocks, 2]; their mean is 1.

    Args:
      key: PRNG key, consumed.
      sizes: of the network.
    """
    chance = 1 - np.linspace(0, sizes.drop, sizes.blocks)[:, None]
    return jax.random.bernoulli(key, chance, (sizes.blocks, 2)) / chance


class TransformerBlock(nn.Module):
    """Attention and a gated perceptron, each added to its input."""

    heads: int
    window: tuple[int, int, int]
    shifted: bool
    mutual: bool

    @nn.compact
    def __call__(self, grid: jax.Array, keep: jax.Array) -> jax.Array:
        """Map f32[D, R, C, F] to the same shape; keep f32[2] scales the two halves."""
        features = grid.shape[-1]
        attention = WindowAttention(self.heads, self.window, self.shifted, self.mutual)
        grid = grid + keep[0] * attention(nn.LayerNorm(epsilon=1e-5)(grid))
        inner = nn.LayerNorm(epsilon=1e-5)(grid)
        gate = gelu(nn.Dense(2 * features)(inner))
        gated = gate * nn.Dense(2 * features)(inner)
        return grid + keep[1] * nn.Dense(features)(gated)


def gelu(values: jax.Array) -> jax.Array:
    """Apply the exact GELU by erf, which is faster than flax's by erfc."""
    return values * (0.5 + 0.5 * jax.lax.erf(values * np.float32(np.sqrt(0.5))))


class Group(nn.Module):
    """Blocks, every second one with shifted windows, and a dense layer, added to the input."""

    first: int  # number of the first block; blocks of odd numbers have shifted windows
    count: int
    heads: int
    window: tuple[int, int, int]
    mutual: bool

    @nn.compact
    def __call__(self, grid: jax.Array, keep: jax.Array) -> jax.Array:
        """Map f32[D, R, C, F] to the same shape; keep: f32[count, 2]."""
        inner = grid
        for i in range(self.count):
            inner = TransformerBlock(
                self.heads, self.window, (self.first + i) % 2 == 1, self.mutual, name=f"Block_{i}"
            )(inner, keep[i])
        return grid + nn.Dense(grid.shape[-1])(inner)


class Stage(nn.Module):
    """A stage of the U: a change of scale, blocks with mutual attention, blocks without."""

    sizes: Sizes
    change: str  # of scale: "none", "down", "up"

    @nn.compact
    def __call__(self, grid: jax.Array, keep: jax.Array) -> jax.Array:
        """Map f32[D, R, C, F] to the stage's scale; keep: f32[stage_blocks, 2]."""
        sizes, mutual = self.sizes, 3 * self.sizes.stage_blocks // 4
        if self.change != "none":
            grid = merge(grid) if self.change == "down" else split(grid)
        grid = nn.LayerNorm(epsilon=1e-5)(grid)
        if self.change != "none":
            grid = nn.Dense(sizes.features)(grid)
        grid = Group(0, mutual, sizes.heads, sizes.window, True)(grid, keep[:mutual])
        rest = sizes.stage_blocks - mutual
        return Group(mutual, rest, sizes.heads, sizes.window, False)(grid, keep[mutual:])


def merge(grid: jax.Array) -> jax.Array:
    """Merge 2 x 2 tokens: f32[D, R, C, F] to f32[D, R / 2, C / 2, 4 F]."""
    D, R, C, F = grid.shape
    parts = grid.reshape(D, R // 2, 2, C // 2, 2, F).transpose(0, 1, 3, 4, 2, 5)
    return parts.reshape(D, R // 2, C // 2, 4 * F)


def split(grid: jax.Array) -> jax.Array:
    """Split tokens into 2 x 2, f32[D, R, C, F] to f32[D, 2 R, 2 C, F / 4]: undoes `merge`."""
    D, R, C, F = grid.shape
    parts = grid.reshape(D, R, C, 2, 2, F // 4).transpose(0, 1, 4, 2, 3, 5)
    return parts.reshape(D, 2 * R, 2 * C, F // 4)


class Network(nn.Module):
    """Map observed rows to the correction that is added to an interpolation of them.

    Source: IsoVEM (EMformer), a VRT without flow. Differences: a second channel says which rows are
      valid (360 parameters at IsoVEM's sizes); borders repeat their last px; the head's fine rows
      are interpolated at any place, so that one network serves any factor; the correction starts
      at 0; shifted and unshifted windows alternate throughout a stage.
    """

    sizes: Sizes
    first_fine: float  # distance of the first fine row of a row from that row, fine rows

    @nn.compact
    def __call__(
        self, rows: jax.Array, valid: jax.Array, place: jax.Array, step: jax.Array, keep: jax.Array
    ) -> jax.Array:
        """Draw rows at any place.

        Args:
          rows: f32[D, R, C], of zero mean and unit variance; R and C multiples of `multiple`.
          valid: bool[R], False where a row is missing.
          place: f32[Q], in rows.
          step: f32[], rows from one px of the output to the next.
          keep: f32[blocks, 2], see `kept_blocks`; 1 to keep all.

        Returns:
          f32[D, Q, C].
        """
        sizes = self.sizes
        flags = jnp.broadcast_to(valid[:, None], rows.shape).astype(rows.dtype)
        first = self._convolve(sizes.features)(jnp.stack([rows * flags, flags], axis=-1))
        deep = self._groups(*self._stages(first, keep))
        deep = first + nn.Dense(sizes.features)(nn.LayerNorm(epsilon=1e-5)(deep))
        fine = nn.leaky_relu(self._convolve(sizes.head_features)(deep), 0.01)
        for _ in range(sizes.doublings):
            fine = nn.leaky_relu(double(self._convolve(2 * sizes.head_features)(fine)), 0.1)
        fine = self._convolve(sizes.head_features)(fine)
        return Last(sizes.fine, self.first_fine)(fine, place, step)

    def _convolve(self, features: int) -> Conv3x3:
        return Conv3x3(features, nn.initializers.lecun_normal(), border="edge")

    def _stages(self, grid: jax.Array, keep: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Run down and up the U with skip connections; also return `keep` of the blocks left."""
        each, down = self.sizes.stage_blocks, []
        for i in range(self.sizes.scales):
            grid = Stage(self.sizes, "down" if i else "none")(grid, keep[:each])
            keep = keep[each:]
            down.append(grid)
        for skip in down[-2::-1]:
            grid = Stage(self.sizes, "up")(grid, keep[:each]) + skip
            keep = keep[each:]
        return grid, keep

    def _groups(self, grid: jax.Array, keep: jax.Array) -> jax.Array:
        sizes = self.sizes
        grid = nn.Dense(sizes.deep_features)(nn.LayerNorm(epsilon=1e-5)(grid))
        for i in range(sizes.groups):
            alone = i >= sizes.groups - 2
            window = (1, *sizes.window[1:]) if alone else sizes.window
            grid = Group(0, 2, sizes.heads, window, False)(grid, keep[2 * i : 2 * i + 2])
        return grid
