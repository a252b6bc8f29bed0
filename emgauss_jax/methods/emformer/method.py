"""EMformer: a video transformer that draws planes between slices, and planes of missing slices.

Several axial planes are the frames of a video; the network restores all rows from observed rows, at
any factor and with missing rows. It learns from lateral images with one axis degraded like z. In
prediction, frames are xz or yz planes of the stack, in 8 orientations. One network serves all
blocks, and stacks that it was not trained on.
Letters: D frames, R rows, C columns, P px of a piece, K slices, Q queried planes, H W block size.

Source: IsoVEM (bioRxiv 2023), of which EMformer is the published code. Differences: see
`network.py` and `patches.py`; rows have zero mean and unit variance, and the absolute error is in
these units; frames that are drawn together are one slice distance apart, as in training; the
moving average of the network is used.
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
    missing: Missing  # slices that a block may lack
    network: Sizes
    batch: int  # pieces per step, one from each drawn block
    frames: int  # D, of a piece; fewer if the block has fewer
    rows: int  # R, of a piece; fewer if the block has fewer
    columns: int  # C, of a piece; fewer if the block has fewer px
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
        """The network; its fine rows are centred on an averaged row, and start at a thin one."""
        return Network(self.network, 0.0 - (self.network.fine - 1) * self.profile.reach)


def init(settings: Settings, key: jax.Array, block: Block | None) -> Any:
    """Initialize the network, which adds nothing to an interpolation yet.

    Args:
      key: PRNG key, consumed.
      block: not used.
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
    """Draw rows of several frames at any place.

    Args:
      rows: f32[D, R, C], of zero mean and unit variance; missing rows are interpolated.
      valid: bool[R], False where a row is missing.
      place: f32[Q], counted in rows.
      step: f32[], rows from one px of the output to the next.
      keep: f32[blocks, 2], see `kept_blocks`; None: keep all.

    Returns:
      f32[D, Q, C]: an interpolation plus the output of the network.
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
    """Degrade a piece of the block, restore it, and compare it with the original piece.

    Args:
      params: of the network.
      block: the observed slices, all valid.
      key: PRNG key, consumed.
      weights: `ssim_weight` f32[], of 1 - SSIM.

    Returns:
      f32[], absolute error / standard deviation of the block, plus weighted 1 - SSIM; metrics.
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
    rows = jax.vmap(fill, (0, None))(piece.rows, piece.valid)  # also rows beyond the piece
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
      block: the observed slices; some may be missing between them.
      z: f32[Q], input-slice units.

    Returns:
      f32[8, Q, H, W].
    """
    mean, deviation = lateral_pairs.contrast(block)
    slices, valid, first = stack_of(block, settings.missing)
    stack = (slices - mean) / deviation
    draw = functools.partial(draw_turned, settings, params, valid=valid, place=z - first)
    ways = jnp.array([(False, False), (False, True), (True, False), (True, True)])
    # In training frames are slices, here they are axial planes: one more exchange of axes.
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
    """Flip a stack f32[R, H, W], draw planes f32[Q, H, W] at places f32[Q], and flip them back.

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
    """Restore all frames f32[H, R, W] of a stack; frames one slice distance apart form a video.

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
