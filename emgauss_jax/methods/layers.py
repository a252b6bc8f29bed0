"""The convolution of networks on image planes. Letters: R rows, C columns, F features."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

REACH = (1, 2, 4, 8, 4, 2)


def reach_of(block: int) -> int:
    """Return the dilation along a row (px between taps) of one of many residual blocks.

    Structures move by several px from row to row, so a kernel needs dilated taps to see the same
    structure in neighbouring rows.

    Source: dilation as in IRCNN.
    """
    return REACH[block % len(REACH)]


def on_cpu() -> bool:
    """Tell whether jax runs on a CPU, where caches are small and a loop step costs nothing."""
    return jax.default_backend() == "cpu"


class Conv3x3(nn.Module):
    """A 3 x 3 convolution as three matrix products of shifted copies.

    Not `nn.Conv`: on a CPU, XLA's convolution takes 30 times as long inside a loop, such as a fit,
    as outside a loop. The matrix products take as long as XLA's convolution outside.
    """

    features: int
    start: Callable[..., jax.Array]  # initializer of the kernel
    reach: int = 1  # px between the kernel's taps along a row
    border: str = "constant"  # zeros; "edge" repeats the last px, so a uniform image stays uniform

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
