"""niiv: a network learns from lateral images to undo what z suffered, for any stack like them.

A lateral image is degraded along one axis as z was; an encoder makes a latent grid of its rows, a
decoder the intensity at any place between them. xz and yz planes of a stack are then decoded at
any depth. One network serves all blocks, and stacks that were never seen.
Letters: R observed rows, C columns, k planes for every observed slice, K slices, Q queried planes,
H W block size in px.

Source: niiv (arXiv 2024). Differences: see `network.py`; rows have zero mean and unit variance; the
loss is the absolute error alone, as in the published code (the paper adds DISTS), on some rows of a
piece, turned and mirrored at random; an average of the network is used.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.methods import pairs
from emgauss_jax.methods.base import Block, Method, no_upkeep
from emgauss_jax.methods.interpolate import weights as interpolation_weights
from emgauss_jax.methods.niiv.network import Decoder, Encoder, between, on_cpu


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything static about the method; hashable.

    Raises:
      ValueError: a number that cannot work.
    """

    factor: int  # k of the training pairs, lateral px from slice to slice
    thick: bool  # slices are means of k planes
    features: int  # of the latent grid
    blocks: int  # of two convolutions, in the encoder
    width: int  # of the decoder's layers
    layers: int
    batch: int  # training images a step, each of a block of its own
    rows: int  # R, of a training image; less where the field is smaller
    columns: int  # C, px, likewise
    queries: int  # rows asked for, of each training image

    def __post_init__(self):
        fields = dataclasses.asdict(self)
        smallest = min(value for name, value in fields.items() if name != "thick")
        if self.factor < 2 or self.rows < 3 or smallest < 1:
            raise ValueError(f"niiv: got {fields}, wanted factor 2, rows 3 and all else 1 or more")


def _networks(settings: Settings) -> tuple[Encoder, Decoder]:
    return (
        Encoder(settings.features, settings.blocks),
        Decoder(settings.width, settings.layers),
    )


def init(settings: Settings, key: jax.Array, block: Block | None) -> Any:
    """Start both networks; they add nothing to an interpolation yet.

    Args:
      key: PRNG key, consumed.
      block: not looked at.
    """
    del block
    keys, (encoder, decoder) = jax.random.split(key), _networks(settings)
    rows, place = jnp.zeros((3, 3)), jnp.zeros(1)
    latents = jnp.zeros((*rows.shape, settings.features))
    return {
        "encoder": encoder.init(keys[0], rows)["params"],
        "decoder": decoder.init(keys[1], latents, rows, place)["params"],
    }


def decode(settings: Settings, params: Any, rows: jax.Array, place: jax.Array) -> jax.Array:
    """Give any rows of a plane.

    Args:
      params: of the networks.
      rows: f32[R, C], of zero mean and unit variance.
      place: f32[Q], counted in rows.

    Returns:
      f32[Q, C]: an interpolation and what the networks add to it.
    """
    encoder, decoder = _networks(settings)
    latents = encoder.apply({"params": params["encoder"]}, rows)
    base = mean_preserving(rows, place) if settings.thick else between(rows, place)
    return base + decoder.apply({"params": params["decoder"]}, latents, rows, place)


def mean_preserving(rows: jax.Array, place: jax.Array) -> jax.Array:
    """Interpolate rows f32[R, C] that are means of an interval of 1, at f32[Q]; see "cubic_mean".

    The spline's derivative is a parabola in each interval, hence three weights say all of it.
    """
    count = len(rows)
    at = np.arange(count)[:, None] + (-0.5, 0.0, 0.5)
    three = interpolation_weights("cubic_mean", np.arange(count), at.ravel())
    three = jnp.asarray(three.reshape(count, 3, count), rows.dtype)
    index = jnp.clip(jnp.round(place), 0, count - 1).astype(jnp.int32)
    u = jnp.clip(place - index, -0.5, 0.5)
    parabola = jnp.stack([2 * u * (u - 0.5), 1 - 4 * u**2, 2 * u * (u + 0.5)], axis=-1)
    combined = jnp.einsum("qi,qir->qr", parabola, three[index])
    return jnp.matmul(combined, rows, precision="highest")


def loss(
    settings: Settings,
    params: Any,
    teacher: Any,
    block: Block,
    key: jax.Array,
    step: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Compare decoded rows of a piece of a lateral image with the piece itself.

    Args:
      params: of the networks.
      block: the observed slices, all valid.
      key: PRNG key, consumed.

    Returns:
      f32[], mean absolute error in units of the block's standard deviation, and metrics.
    """
    del teacher, step, weights
    factor, thick, shape = settings.factor, settings.thick, block.slices.shape[1:]
    rows = pairs.rows_of_image(settings.rows, min(shape), factor, thick)
    planes = pairs.plane_count(rows, factor, thick)
    image_key, query_key = jax.random.split(key)
    mean, deviation = pairs.contrast(block)
    image = pairs.draw_image(image_key, block.slices, planes, min(settings.columns, *shape))
    image = (image - mean) / deviation
    count = min(settings.queries, planes)
    asked = jax.random.choice(query_key, planes, (count,), replace=False)
    place = jnp.asarray(pairs.plane_depths(rows, factor, thick), jnp.float32)[asked]
    decoded = decode(settings, params, pairs.degrade(image, factor, thick), place)
    error = decoded - image[asked]
    absolute = jnp.mean(jnp.abs(error))
    return absolute, {"loss": absolute, "mse": jnp.mean(jnp.square(error)) * deviation**2}


def predict(settings: Settings, params: Any, block: Block, z: jax.Array) -> jax.Array:
    """Decode planes f32[Q, H, W] at any depth: the mean of the views."""
    return sum(views(settings, params, block, z)) / 2


def views(settings: Settings, params: Any, block: Block, z: jax.Array) -> tuple[jax.Array, ...]:
    """Decode planes at any depth, from xz and from yz planes.

    Args:
      params: of the networks.
      block: the observed slices, one behind the other, all valid.
      z: f32[Q], input-slice units.

    Returns:
      f32[Q, H, W], twice.
    """
    mean, deviation = pairs.contrast(block)
    stack = (block.slices - mean) / deviation
    place = z - block.z[0]

    def fill(stack):  # [K, H, W] -> [Q, H, W], plane by plane along H
        one = functools.partial(decode, settings, params, place=place)
        planes = jax.lax.map(one, stack.swapaxes(0, 1), batch_size=4 if on_cpu() else 64)
        return planes.swapaxes(0, 1) * deviation + mean

    return fill(stack), fill(stack.swapaxes(1, 2)).swapaxes(1, 2)


def predict_with_error(
    settings: Settings, params: Any, block: Block, z: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Decode planes f32[Q, H, W], and tell their standard error: how far views differ, scaled."""
    first, second = views(settings, params, block, z)
    scale = error_by_spread(settings, params, block)
    return (first + second) / 2, scale * jnp.abs(first - second) / 2


def error_by_spread(settings: Settings, params: Any, block: Block) -> jax.Array:
    """Measure the error by the spread of the views, both root mean squares.

    The truth is known at half the resolution: every second slice is hidden, of thick ones two make
    one.

    Returns:
      f32[]; 1 where too few slices are there to hide any.
    """
    fine, count = pairs.halve(block.slices), len(block.z) // 2
    if settings.thick:
        coarse = fine[: 2 * count].reshape(count, 2, *fine.shape[1:]).mean(axis=1)
        hidden, parts = jnp.arange(2 * count), jnp.array([-0.25, 0.25])
        place = (hidden[:, None] + parts - 0.5) / 2
    else:
        coarse, hidden = fine[::2], jnp.arange(1, 2 * len(fine[::2]) - 1, 2)
        place = hidden[:, None] / 2
    if len(coarse) < 2:
        return jnp.float32(1)
    stack = Block(coarse, jnp.arange(1.0 * len(coarse)), jnp.ones(len(coarse), bool))
    planes = views(settings, params, stack, place.ravel())
    first, second = (v.reshape(*place.shape, *v.shape[1:]).mean(axis=1) for v in planes)
    error = jnp.mean(jnp.square((first + second) / 2 - fine[hidden]))
    return jnp.sqrt(error / (jnp.mean(jnp.square(first - second) / 4) + 1e-12))


def build(settings: Settings) -> Method:
    """Bind settings into the functions of a method."""
    bind = functools.partial
    return Method(
        init=bind(init, settings),
        loss=bind(loss, settings),
        predict=bind(predict, settings),
        maintain=no_upkeep,
        weights={},
        per_block=False,
        batch=settings.batch,
        predict_with_error=bind(predict_with_error, settings),
    )
