"""The network: it maps a position in a block to its intensity."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

OMEGA = 30.0  # frequency factor of every layer


def even(limit: float) -> Callable[..., jax.Array]:
    """Initialize weights uniformly between -limit and limit."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -limit, limit
    )


def linear(features: int, limit: float, inputs: int) -> nn.Dense:
    """Make a layer whose weights start within `limit`, and biases within 1 / sqrt(inputs)."""
    return nn.Dense(features, kernel_init=even(limit), bias_init=even(inputs**-0.5))


class Siren(nn.Module):
    """A perceptron with sines.

    Source: SIREN (Sitzmann et al. 2020), section 3.2: the first layer starts within 1 / inputs,
      every other layer within sqrt(6 / inputs) / omega (niiv's code starts all like the first).
    """

    width: int
    layers: int  # with sines

    @nn.compact
    def __call__(self, places: jax.Array) -> jax.Array:
        """Map positions f32[..., 3], in halves of the block's longer side, to f32[...]."""
        hidden = places
        for i in range(self.layers):
            inputs = hidden.shape[-1]
            limit = np.sqrt(6 / inputs) / OMEGA if i else 1 / inputs
            hidden = jnp.sin(OMEGA * linear(self.width, limit, inputs)(hidden))
        return linear(1, np.sqrt(6 / self.width) / OMEGA, self.width)(hidden)[..., 0]
