"""SIREN: one perceptron per block maps a position to its intensity; a baseline of the niiv paper.

Letters: K observed slices, M planes averaged in one slice, P points per step, Q queried planes,
H W block size in px.

Source: SIREN (Sitzmann et al. 2020), as the niiv paper's baseline. Difference: an averaged slice is
drawn as the mean of its planes, each at its own depth.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.methods.base import Block, Method, no_upkeep, shown
from emgauss_jax.methods.siren.network import Siren


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything static about the method; hashable.

    Raises:
      InputError: a number that cannot work.
    """

    anisotropy: float  # lateral px from slice to slice
    profile: SliceProfile  # of the slices
    width: int
    layers: int
    points: int  # P, sampled in each step

    def __post_init__(self):
        if min(self.width, self.layers, self.points) < 1:
            raise InputError(
                f"siren: got width {self.width}, layers {self.layers}, points {self.points}, "
                "wanted 1 or more of each"
            )


def init(settings: Settings, key: jax.Array, block: Block) -> Any:
    """Initialize the network.

    Args:
      key: PRNG key, consumed.
      block: not used.
    """
    del block
    network = Siren(settings.width, settings.layers)
    return {"network": network.init(key, jnp.zeros(3))["params"]}


def draw(
    settings: Settings, params: Any, block: Block, z: jax.Array, y: jax.Array, x: jax.Array
) -> jax.Array:
    """Compute the intensity at positions.

    Args:
      params: of the network.
      block: its size scales the coordinates, equally along all axes.
      z: f32[...], input-slice units; clamped to the depths that the slices show.
      y: f32[...], px.
      x: f32[...], px.

    Returns:
      f32[...], intensity.
    """
    height, width = block.slices.shape[1:]
    middle = (block.z[0] + block.z[-1]) / 2
    depth = settings.anisotropy * (shown(block, settings.profile.offsets, z) - middle)
    places = jnp.stack([depth, y - (height - 1) / 2, x - (width - 1) / 2], axis=-1)
    scaled = places * (2 / max(height, width))
    return Siren(settings.width, settings.layers).apply({"params": params["network"]}, scaled)


def loss(
    settings: Settings,
    params: Any,
    teacher: Any,
    block: Block,
    key: jax.Array,
    step: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Compare the network with random pixels of valid slices.

    Returns:
      f32[], mean squared error, and metrics.
    """
    del teacher, step, weights
    slice_key, y_key, x_key = jax.random.split(key, 3)
    (height, width), count = block.slices.shape[1:], (settings.points,)
    index = jax.random.choice(slice_key, len(block.z), count, p=block.valid / block.valid.sum())
    y = jax.random.randint(y_key, count, 0, height)
    x = jax.random.randint(x_key, count, 0, width)
    planes = block.z[index] + jnp.asarray(settings.profile.offsets, jnp.float32)[:, None]
    drawn = jax.vmap(lambda z: draw(settings, params, block, z, y * 1.0, x * 1.0))(planes)
    error = jnp.mean(jnp.square(drawn.mean(axis=0) - block.slices[index, y, x]))
    return error, {"loss": error, "mse": error}


def predict(settings: Settings, params: Any, block: Block, z: jax.Array) -> jax.Array:
    """Draw planes f32[Q, H, W] at any depth, one by one."""
    height, width = block.slices.shape[1:]
    y, x = jnp.meshgrid(jnp.arange(float(height)), jnp.arange(float(width)), indexing="ij")
    return jax.lax.map(
        lambda depth: draw(settings, params, block, jnp.full_like(y, depth), y, x), z
    )


def build(settings: Settings) -> Method:
    """Bind settings into the functions of a method."""
    bind = functools.partial
    return Method(
        init=bind(init, settings),
        loss=bind(loss, settings),
        predict=bind(predict, settings),
        maintain=no_upkeep,
        weights={},
        per_block=True,
    )
