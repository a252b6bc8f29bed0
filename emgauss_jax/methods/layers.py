"""The layer that networks on image planes are made of. Letters: R rows, C columns, F features."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

REACH = (1, 2, 4, 8, 4, 2)


def reach_of(block: int) -> int:
    """Give the px between the taps along a row, in one of many residual blocks.

    From row to row structures move by several px: taps that are spread out see together what
    belongs together.

    Source: dilation as in IRCNN.
    """
    return REACH[block % len(REACH)]


def on_cpu() -> bool:
    """Tell whether caches are small and a step of a loop costs nothing."""
    return jax.default_backend() == "cpu"


class Conv3x3(nn.Module):
    """A convolution as three matrix products of shifted copies.

    Not `nn.Conv`: inside a loop, and a fit is one, XLA's convolution takes 30 times as long on a
    CPU, where the product is level with the convolution outside of one.
    """

    features: int
    start: Callable[..., jax.Array]  # of the kernel
    reach: int = 1  # px between its taps along a row
    border: str = "constant"  # zeros; "edge": the last px go on, and one intensity stays one

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Map f32[..., R, C, F] to f32[..., R, C, features]."""
        *_, rows, columns, depth = image.shape
        kernel = self.param("kernel", self.start, (3, 3, depth, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        frame = [(0, 0)] * (image.ndim - 3) + [(1, 1), (self.reach, self.reach), (0, 0)]
        padded = jnp.pad(image, frame, self.border)
        taps = [padded[..., j : j + columns, :] for j in (0, self.reach, 2 * self.reach)]
        across = jnp.concatenate(taps, axis=-1)
        flat = kernel.reshape(3, 3 * depth, self.features)
        return sum(across[..., i : i + rows, :, :] @ flat[i] for i in range(3)) + bias
