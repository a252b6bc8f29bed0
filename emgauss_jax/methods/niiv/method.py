"""niiv: a network learns from lateral images to restore axial planes, for any similar stack.

A lateral image is degraded along one axis like z; an encoder maps its rows to a latent grid, and a
decoder gives the intensity at any place between rows. xz and yz planes of a stack are then decoded
at any depth. One network serves all blocks, and stacks that it was not trained on.
Letters: R observed rows, C columns, k planes for every observed slice, K slices, Q queried planes,
H W block size in px.

Source: niiv (arXiv 2024). Differences: see `network.py`; rows have zero mean and unit variance; the
loss is the absolute error alone, as in the published code (the paper adds DISTS), on random rows of
a piece, transposed and mirrored at random; the moving average of the network is used.
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
from emgauss_jax.methods.axial_rows import Missing, interpolate, stack_of
from emgauss_jax.methods.base import Block, Method, no_upkeep
from emgauss_jax.methods.layers import on_cpu
from emgauss_jax.methods.niiv.network import Decoder, Encoder
from emgauss_jax.methods.view_ensemble import predicting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything static about the method; hashable.

    Raises:
      InputError: a number that cannot work.
    """

    factor: int  # k of the training pairs, lateral px from slice to slice
    profile: SliceProfile  # of the slices
    missing: Missing  # slices that a drawn block may lack
    features: int  # of the latent grid
    blocks: int  # of two convolutions, in the encoder
    width: int  # of the decoder's layers
    layers: int
    batch: int  # training images per step, one from each drawn block
    rows: int  # R, of a training image; fewer if the field is smaller
    columns: int  # C, of a training image; fewer if the field is smaller
    queries: int  # rows decoded of each training image

    def __post_init__(self):
        counts = {name: n for name, n in vars(self).items() if isinstance(n, int)}
        if self.factor < 2 or self.rows < 3 or min(counts.values()) < 1:
            raise InputError(f"niiv: got {counts}, wanted factor 2, rows 3 and all else 1 or more")


def _networks(settings: Settings) -> tuple[Encoder, Decoder]:
    return (
        Encoder(settings.features, settings.blocks),
        Decoder(settings.width, settings.layers),
    )


def init(settings: Settings, key: jax.Array, block: Block | None) -> Any:
    """Initialize both networks, which add nothing to an interpolation yet.

    Args:
      key: PRNG key, consumed.
      block: not used.
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
    """Decode rows of a plane at any place.

    Args:
      params: of the networks.
      rows: f32[R, C], of zero mean and unit variance.
      place: f32[Q], counted in rows.

    Returns:
      f32[Q, C]: an interpolation plus the output of the networks.
    """
    encoder, decoder = _networks(settings)
    latents = encoder.apply({"params": params["encoder"]}, rows)
    base = interpolate(rows, place, settings.profile)
    return base + decoder.apply({"params": params["decoder"]}, latents, rows, place)


def loss(
    settings: Settings,
    params: Any,
    teacher: Any,
    block: Block,
    key: jax.Array,
    step: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Degrade a piece of a lateral image, decode some of its rows, and compare with the original.

    Args:
      params: of the networks.
      block: the observed slices, all valid.
      key: PRNG key, consumed.

    Returns:
      f32[], mean absolute error in units of the block's standard deviation, and metrics.
    """
    del teacher, step, weights
    factor, profile, shape = settings.factor, settings.profile, block.slices.shape[1:]
    rows = lateral_pairs.rows_of_image(settings.rows, min(shape), factor, profile)
    planes = profile.plane_count(rows, factor)
    image_key, query_key = jax.random.split(key)
    mean, deviation = lateral_pairs.contrast(block)
    image = lateral_pairs.draw_image(image_key, block.slices, planes, min(settings.columns, *shape))
    image = (image - mean) / deviation
    count = min(settings.queries, planes)
    asked = jax.random.choice(query_key, planes, (count,), replace=False)
    place = jnp.asarray(profile.plane_depths(rows, factor), jnp.float32)[asked]
    decoded = decode(settings, params, profile.degrade(image, factor), place)
    error = decoded - image[asked]
    absolute = jnp.mean(jnp.abs(error))
    return absolute, {"loss": absolute, "mse": jnp.mean(jnp.square(error)) * deviation**2}


def views(settings: Settings, params: Any, block: Block, z: jax.Array) -> jax.Array:
    """Decode planes at any depth, from xz and from yz planes.

    Args:
      params: of the networks.
      block: the observed slices; missing slices between them are interpolated.
      z: f32[Q], input-slice units.

    Returns:
      f32[2, Q, H, W].
    """
    mean, deviation = lateral_pairs.contrast(block)
    slices, _, first = stack_of(block, settings.missing)
    stack, place = (slices - mean) / deviation, z - first

    def fill(stack):  # [R, H, W] -> [Q, H, W], plane by plane along H
        one = functools.partial(decode, settings, params, place=place)
        planes = jax.lax.map(one, stack.swapaxes(0, 1), batch_size=4 if on_cpu() else 64)
        return planes.swapaxes(0, 1) * deviation + mean

    return jnp.stack([fill(stack), fill(stack.swapaxes(1, 2)).swapaxes(1, 2)])


def build(settings: Settings) -> Method:
    """Bind settings into the functions of a method."""
    bind = functools.partial
    return Method(
        init=bind(init, settings),
        loss=bind(loss, settings),
        maintain=no_upkeep,
        weights={},
        per_block=False,
        batch=settings.batch,
        **predicting(views, settings),
    )
