"""EMformer: a video transformer that makes slices between slices, and slices that are missing.

Observed rows of some frames of axial planes are restored as a video is, at any factor, whether all
rows are there or not. It learns from lateral images, one axis of which is degraded as z was; then
frames are xz or yz planes of the stack, seen in 8 orientations. One network serves all blocks, and
stacks that were never seen.
Letters: D frames, R rows, C columns, P px of a piece, K slices, Q queried planes, H W block size.

Source: IsoVEM (bioRxiv 2023), of which EMformer is the published code. Differences: see
`network.py` and `patches.py`; rows have zero mean and unit variance, and the absolute error is in
these units; frames that are drawn together are as far apart as slices are, as in training; an
average of the network is used.
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
from emgauss_jax.methods.axial_rows import Missing, fill, interpolate, stack_of
from emgauss_jax.methods.base import Block, Method, no_upkeep
from emgauss_jax.methods.emformer.network import Network, Sizes, kept_blocks
from emgauss_jax.methods.emformer.patches import LEAST, MOST, Shape, draw_piece, shape_of_piece
from emgauss_jax.methods.emformer.rotations import reversals, turn
from emgauss_jax.methods.layers import on_cpu
from emgauss_jax.methods.view_ensemble import predicting
from emgauss_jax.metrics.image import ssim_map


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything static about the method; hashable.

    Raises:
      InputError: a number that cannot work.
    """

    factor: float  # lateral px from slice to slice
    profile: SliceProfile  # of the slices
    missing: Missing
    network: Sizes
    batch: int  # pieces a step, each of a block of its own
    frames: int  # D, of a piece; less where the block has fewer
    rows: int  # R, likewise
    columns: int  # C, px, likewise
    ssim_weight: float  # of 1 - SSIM beside the absolute error

    def __post_init__(self):
        smallest = min(self.batch, self.frames - 1, self.rows - 2, self.columns - 10)
        if smallest < 1 or not self.ssim_weight >= 0:
            raise InputError(
                f"emformer: got batch {self.batch}, frames {self.frames}, rows {self.rows}, "
                f"columns {self.columns}, ssim_weight {self.ssim_weight}, wanted at least 1, 2, 3, "
                "11 and 0"
            )

    @property
    def model(self) -> Network:
        """The network; its fine rows lie around an averaged row, and from a thin one on."""
        return Network(self.network, 0.0 - (self.network.fine - 1) * self.profile.reach)


def init(settings: Settings, key: jax.Array, block: Block | None) -> Any:
    """Start the network; it adds nothing to an interpolation yet.

    Args:
      key: PRNG key, consumed.
      block: not looked at.
    """
    del block
    n = settings.network.multiple
    keep = jnp.ones((settings.network.blocks, 2))
    given = (jnp.zeros((2, n, n)), jnp.ones(n, bool), jnp.zeros(1), jnp.float32(1), keep)
    return {"network": settings.model.init(key, *given)["params"]}


def restore(
    settings: Settings,
    params: Any,
    rows: jax.Array,
    valid: jax.Array,
    place: jax.Array,
    step: jax.Array,
    keep: jax.Array | None = None,
) -> jax.Array:
    """Draw rows of some frames at any place.

    Args:
      rows: f32[D, R, C], of zero mean and unit variance; sensible values where none is valid.
      valid: bool[R].
      place: f32[Q], counted in rows.
      step: f32[], rows from px to px.
      keep: f32[blocks, 2], halves of blocks that count; None, all.

    Returns:
      f32[D, Q, C]: an interpolation and what the network adds to it.
    """
    base = jax.vmap(interpolate, (0, None, None))(rows, place, settings.profile)
    keep = jnp.ones((settings.network.blocks, 2)) if keep is None else keep
    extra = [-n % settings.network.multiple for n in rows.shape[1:]]
    padded = jnp.pad(rows, [(0, 0), *((0, n) for n in extra)], "edge")
    given = (padded, jnp.pad(valid, (0, extra[0])), place, step, keep)
    added = settings.model.apply({"params": params["network"]}, *given)
    return base + added[:, :, : rows.shape[2]]


def loss(
    settings: Settings,
    params: Any,
    teacher: Any,
    block: Block,
    key: jax.Array,
    step: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Compare a restored piece of the block with the piece itself.

    Args:
      params: of the network.
      block: the observed slices, all valid.
      key: PRNG key, consumed.
      weights: f32[], of 1 - SSIM.

    Returns:
      f32[], absolute error in units of the block's deviation, and weighed 1 - SSIM; metrics.
    """
    del teacher, step
    piece_key, keep_key = jax.random.split(key)
    most = Shape(settings.frames, settings.rows, 0, settings.columns)
    kind = (settings.factor, settings.profile)
    shape, (low, high) = shape_of_piece(block.slices.shape, most, *kind)
    mean, deviation = lateral_pairs.contrast(block)
    stack = (block.slices - mean) / deviation
    factors = (low, high, settings.factor)
    piece = draw_piece(piece_key, stack, shape, factors, settings.profile)
    rows = jax.vmap(fill, (0, None))(piece.rows, piece.valid)  # also those beyond the piece
    keep = kept_blocks(keep_key, settings.network)
    drawn = restore(settings, params, rows, piece.valid, piece.place, piece.step, keep)
    known = piece.known[:, None].astype(drawn.dtype)
    share = known.mean()
    error = known * (drawn - piece.target)
    intensity = [known * (each * deviation + mean) for each in (drawn, piece.target)]
    absolute = jnp.mean(jnp.abs(error)) / share
    unlike = jnp.mean(1 - ssim_map(*intensity)) / share
    mse = jnp.mean(jnp.square(error)) / share * deviation**2
    total = absolute + weights["ssim_weight"] * unlike
    return total, {"loss": total, "mse": mse, "ssim": 1 - unlike}


def views(settings: Settings, params: Any, block: Block, z: jax.Array) -> jax.Array:
    """Draw planes in 8 orientations: the rotations of a stack that keep its z axis.

    Args:
      params: of the network.
      block: the observed slices, some may be missing between them.
      z: f32[Q], input-slice units.

    Returns:
      f32[8, Q, H, W].
    """
    mean, deviation = lateral_pairs.contrast(block)
    slices, valid, first = stack_of(block, settings.missing)
    stack = (slices - mean) / deviation
    draw = functools.partial(draw_turned, settings, params, valid=valid, place=z - first)
    ways = jnp.array([(False, False), (False, True), (True, False), (True, True)])
    # In training frames are slices, here they are planes along z: one exchange of axes more.
    straight = jax.lax.map(lambda way: draw(stack, way, True), ways)
    exchanged = jax.lax.map(lambda way: draw(stack.swapaxes(1, 2), way, False), ways)
    planes = jnp.concatenate([straight, exchanged.swapaxes(2, 3)])
    return planes * deviation + mean


def draw_turned(
    settings: Settings,
    params: Any,
    stack: jax.Array,
    way: jax.Array,
    exchanged: bool,
    valid: jax.Array,
    place: jax.Array,
) -> jax.Array:
    """Turn a stack f32[R, H, W], draw planes f32[Q, H, W] at places f32[Q], and turn them back.

    Args:
      way, exchanged: see `reversals`.
      valid: bool[R].
    """
    turn_z, *lateral = axes = reversals(way, exchanged)
    turned = turn(stack, axes)
    frames = turned.swapaxes(0, 1)  # [H, R, W]
    place = jnp.where(turn_z, len(stack) - 1 - place, place)
    valid = jnp.where(turn_z, valid[::-1], valid)
    planes = draw_frames(settings, params, frames, valid, place).swapaxes(0, 1)
    return turn(planes, (False, *lateral))


def draw_frames(
    settings: Settings, params: Any, frames: jax.Array, valid: jax.Array, place: jax.Array
) -> jax.Array:
    """Restore all frames f32[H, R, W] of a stack, those together that are a slice distance apart.

    Returns:
      f32[H, Q, W].
    """
    apart = max(1, round(settings.factor))
    count = -(-len(frames) // apart)
    padded = jnp.pad(frames, ((0, count * apart - len(frames)), (0, 0), (0, 0)), "edge")
    sets = padded.reshape(count, apart, *frames.shape[1:]).swapaxes(0, 1)
    step = jnp.float32(1 / settings.factor)
    one = functools.partial(restore, settings, params, valid=valid, place=place, step=step)
    drawn = jax.lax.map(one, sets, batch_size=1 if on_cpu() else apart)
    return drawn.swapaxes(0, 1).reshape(-1, *drawn.shape[2:])[: len(frames)]


def build(settings: Settings) -> Method:
    """Bind settings into the functions of a method."""
    return Method(
        init=functools.partial(init, settings),
        loss=functools.partial(loss, settings),
        maintain=no_upkeep,
        weights={"ssim_weight": settings.ssim_weight},
        per_block=False,
        batch=settings.batch,
        factors=(LEAST, MOST),
        **predicting(views, settings),
    )
