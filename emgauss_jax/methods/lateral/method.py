"""Lateral network: it learns from a stack's lateral images how to fill in its axial planes.

A small network is trained on the stack's own lateral images, degraded along one axis like z, and
then applied to the stack's xz and yz planes. It assumes that tissue looks alike in all directions;
`emgauss_jax.pseudo_labels.weights` measures how far that holds before its planes become labels.
Letters: R observed rows, k planes for every observed slice, K observed slices, Q queried planes,
H W block size in px, P planes of the whole stack.

Source: ours; trained as niiv and IsoVEM are, on subsampled or averaged lateral images.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.methods import lateral_pairs
from emgauss_jax.methods.axial_rows import between
from emgauss_jax.methods.base import Block, Method, no_upkeep
from emgauss_jax.methods.lateral.network import LateralNet

PLANES_AT_ONCE = 4  # axial planes through the network together: what a CPU's caches hold


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything static about the method; hashable.

    Raises:
      InputError: a number that cannot work.
    """

    factor: int  # k, lateral px from slice to slice
    profile: SliceProfile  # of the slices
    features: int = 32
    blocks: int = 6  # of two convolutions
    batch: int = 4  # images a step
    rows: int = 13  # R, of a training image; fewer if the field is smaller
    columns: int = 64  # px, of a training image; fewer if the field is smaller

    def __post_init__(self):
        smallest = min(self.features, self.blocks, self.batch, self.columns)
        if self.factor < 2 or smallest < 1 or self.rows < 3:
            raise InputError(
                f"lateral: got factor {self.factor}, features {self.features}, blocks "
                f"{self.blocks}, batch {self.batch}, rows {self.rows}, columns {self.columns}, "
                "wanted factor 2, rows 3 and all else 1 or more"
            )


def _network(settings: Settings) -> LateralNet:
    return LateralNet(settings.factor, settings.features, settings.blocks)


def init(settings: Settings, key: jax.Array, block: Block) -> Any:
    """Initialize the network, which adds nothing to an interpolation yet.

    Args:
      key: PRNG key, consumed.
      block: not used.
    """
    del block
    return {"network": _network(settings).init(key, jnp.zeros((3, 3)))["params"]}


def add(settings: Settings, params: Any, rows: jax.Array) -> jax.Array:
    """Fill in the planes between observed rows.

    Args:
      params: of the network.
      rows: f32[R, C], of zero mean and unit variance.

    Returns:
      f32[planes, C], an interpolation plus the output of the network.
    """
    base = jnp.asarray(
        lateral_pairs.base_weights(len(rows), settings.factor, settings.profile), rows.dtype
    )
    more = _network(settings).apply({"params": params["network"]}, rows)
    more = more.transpose(0, 2, 1).reshape(-1, rows.shape[1])
    return jnp.matmul(base, rows, precision="highest") + more[: len(base)]


def loss(
    settings: Settings,
    params: Any,
    teacher: Any,
    block: Block,
    key: jax.Array,
    step: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Degrade pieces of lateral images, fill them in, and compare them with the originals.

    Args:
      params: of the network.
      block: the observed slices, all valid.
      key: PRNG key, consumed.

    Returns:
      f32[], mean squared error in units of the stack's variance, and metrics.
    """
    del teacher, step, weights
    factor, profile = settings.factor, settings.profile
    shape = block.slices.shape[1:]
    rows = lateral_pairs.rows_of_image(settings.rows, min(shape), factor, profile)
    planes = profile.plane_count(rows, factor)
    draw = functools.partial(
        lateral_pairs.draw_image, planes=planes, columns=min(settings.columns, *shape)
    )
    mean, deviation = lateral_pairs.contrast(block)
    images = jax.vmap(draw, (0, None))(jax.random.split(key, settings.batch), block.slices)
    images = (images - mean) / deviation
    filled = jax.vmap(lambda image: add(settings, params, profile.degrade(image, factor)))
    error = jnp.mean(jnp.square(filled(images) - images))
    return error, {"loss": error, "mse": error * deviation**2}


def predict(settings: Settings, params: Any, block: Block, z: jax.Array) -> jax.Array:
    """Fill in planes f32[Q, H, W] at any depth; see `fill_in`."""
    return fill_in(settings, params, block, z)[0]


def fill_in(
    settings: Settings, params: Any, block: Block, z: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Fill in planes at any depth, and measure how far four views of them differ.

    Args:
      block: the observed slices, all valid; all gaps are treated as equally wide.
      z: f32[Q], input-slice units.

    Returns:
      f32[Q, H, W] mean and standard deviation of the views, interpolated linearly between the k
      planes of every slice.
    """
    factor = settings.factor
    seen = views(settings, params, block)
    mean = sum(seen) / len(seen)
    spread = jnp.sqrt(sum(jnp.square(view - mean) for view in seen) / len(seen))
    place = jnp.interp(z, block.z, jnp.arange(len(block.z), dtype=jnp.float32))
    place += z - jnp.clip(z, block.z[0], block.z[-1])  # averaged slices reach beyond
    index = (place - settings.profile.plane_offsets(factor)[0]) * factor
    index = jnp.clip(index, 0, len(mean) - 1)
    return between(mean, index), between(spread, index)


def views(settings: Settings, params: Any, block: Block) -> list[jax.Array]:
    """Fill in the whole stack four ways.

    Returns:
      f32[P, H, W] each: from xz and yz planes, as they are and with all axes reversed. All
      reproduce the observed slices.
    """
    mean, deviation = lateral_pairs.contrast(block)
    stack = (block.slices - mean) / deviation

    def fill(stack):  # [K, H, W] -> [P, H, W], plane by plane along H
        planes = jax.lax.map(
            functools.partial(add, settings, params), stack.swapaxes(0, 1),
            batch_size=PLANES_AT_ONCE,
        )  # fmt: skip
        return planes.swapaxes(0, 1)

    def both(stack):
        return fill(stack), fill(stack.swapaxes(1, 2)).swapaxes(1, 2)

    turned = [view[::-1, ::-1, ::-1] for view in both(stack[::-1, ::-1, ::-1])]
    agree = functools.partial(settings.profile.agree, rows=stack, k=settings.factor)
    return [agree(view) * deviation + mean for view in (*both(stack), *turned)]


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
