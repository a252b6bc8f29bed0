"""Tiles with lists on a CUDA card: one Pallas program a tile.

Draws what `tiled` draws, from the same lists. There all tiles take each step together and wait for
the longest list; here every tile walks its own list to its own end, its pixels in registers, so
that one long list costs its tile alone. Letters: N Gaussians, T tiles, M places in the lists,
P = 256 pixels a tile, H W image size in px.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from emgauss_jax.render.gaussians import Splats, conics
from emgauss_jax.render.reference import MAX_ALPHA, falloff
from emgauss_jax.render.tiled import TILE, Lists, build_lists, tile_grid

PIXELS = TILE * TILE
FIELDS = 7  # a splat's mean y x, conic yy yx xx, opacity, intensity
ROW = 8  # the next power of two, which Triton wants; 32 bytes, what a card reads at once
WARPS = 1  # eight pixels a thread: a sum over the tile crosses no warps, so it needs no barrier


def _pack(splats: Splats) -> jax.Array:
    """Put what a pixel needs to know of each splat into one row: f32[N, ROW]."""
    last = jnp.stack([splats.opacities, splats.intensities], axis=1)
    fields = jnp.concatenate([splats.means, conics(splats), last], axis=1)
    return jnp.pad(fields, ((0, 0), (0, ROW - FIELDS)))


def _pixels(tiles_x: int) -> tuple[jax.Array, jax.Array]:
    """Find (y, x) of this program's pixels, each f32[P]."""
    tile, pixel = pl.program_id(0), jax.lax.iota(jnp.int32, PIXELS)
    y = tile // tiles_x * TILE + pixel // TILE
    x = tile % tiles_x * TILE + pixel % TILE
    return y.astype(jnp.float32), x.astype(jnp.float32)


def _walk(index, starts, packed, step):
    """Fold step(place, fields, (drawn, through)) over this program's list, from a blank tile.

    The fields are FIELDS scalars; drawn and through are f32[P].
    """

    def load(place, carry):
        splat = index[place]
        return step(place, [packed[splat, field] for field in range(FIELDS)], carry)

    tile = pl.program_id(0)
    blank = jnp.zeros(PIXELS, jnp.float32), jnp.ones(PIXELS, jnp.float32)
    return jax.lax.fori_loop(starts[tile], starts[tile + 1], load, blank)


def _falloff(fields, y: jax.Array, x: jax.Array, cutoff: float):
    """One splat at each pixel, without opacity, and the distances (y, x) to it: three f32[P]."""
    mean_y, mean_x, yy, yx, xx = fields[:5]
    dy, dx = y - mean_y, x - mean_x
    return falloff(yy * dy**2 + 2 * yx * dy * dx + xx * dx**2, cutoff), dy, dx


def _blend(alpha, intensity, drawn, through, blend: str):
    """Add one splat: its weight in the image, and (drawn, through) after it, each f32[P]."""
    if blend == "sum":
        return alpha, drawn + intensity * alpha, through
    alpha = jnp.minimum(alpha, MAX_ALPHA)
    weight = alpha * through
    return weight, drawn + intensity * weight, through * (1.0 - alpha)


def _draw_kernel(index, starts, packed, drawn, through, *, tiles_x, blend, cutoff):
    """Blend one tile's list; writes drawn and through, f32[P]."""
    y, x = _pixels(tiles_x)

    def step(_, fields, carry):
        opacity, intensity = fields[5:]
        alpha = opacity * _falloff(fields, y, x, cutoff)[0]
        return _blend(alpha, intensity, *carry, blend)[1:]

    drawn[:], through[:] = _walk(index, starts, packed, step)


def _grad_kernel(
    index, starts, packed, drawn, through, grad, grad_through, rows, *, tiles_x, blend, cutoff
):
    """Walk one tile's list again, as `tiled._draw_backward` does; writes its places of `rows`."""
    y, x = _pixels(tiles_x)
    drawn, grad, ground = drawn[:], grad[:], grad_through[:] * through[:]

    def step(place, fields, carry):
        opacity, intensity = fields[5:]
        shape_of, dy, dx = _falloff(fields, y, x, cutoff)
        alpha = opacity * shape_of
        weight, *after = _blend(alpha, intensity, *carry, blend)
        grad_alpha = grad * intensity
        if blend == "alpha":
            behind = (grad * (drawn - after[0]) + ground) / (1.0 - jnp.minimum(alpha, MAX_ALPHA))
            grad_alpha = jnp.where(alpha < MAX_ALPHA, grad_alpha * carry[1] - behind, 0.0)
        pixels = alpha * grad_alpha, grad_alpha * shape_of, grad * weight
        rows[place, :] = _row(fields, dy, dx, *pixels)
        return tuple(after)

    _walk(index, starts, packed, step)


def _row(fields, dy, dx, weight, grad_opacity, grad_intensity) -> jax.Array:
    """Sum over pixels the gradient of one splat: f32[ROW], its fields.

    Args:
      weight: f32[P], alpha times its gradient, so that d / d power is -weight / 2.
    """
    _, _, yy, yx, xx = fields[:5]
    along_y, along_x = weight * dy, weight * dx
    y, x = jnp.sum(along_y), jnp.sum(along_x)
    mean = yy * y + yx * x, yx * y + xx * x
    conic = -0.5 * jnp.sum(along_y * dy), -jnp.sum(along_y * dx), -0.5 * jnp.sum(along_x * dx)
    column = jax.lax.iota(jnp.int32, ROW)
    row = jnp.zeros(ROW, jnp.float32)
    for i, each in enumerate((*mean, *conic, jnp.sum(grad_opacity), jnp.sum(grad_intensity))):
        row = jnp.where(column == i, each, row)  # Triton cannot stack
    return row


def _by_tile(shape: tuple[int, int]) -> tuple[int, int]:
    """Shape (T, P) of what has a value for each pixel of each tile."""
    return math.prod(tile_grid(shape)), PIXELS


def _call(kernel, arrays, out_shapes, shape, blend, cutoff, interpret):
    """Run a kernel, one program a tile: it sees its own row of f32[T, P], all else whole."""
    by_tile = _by_tile(shape)
    own, whole = pl.BlockSpec((None, PIXELS), lambda tile: (tile, 0)), pl.BlockSpec()
    return pl.pallas_call(
        functools.partial(kernel, tiles_x=tile_grid(shape)[1], blend=blend, cutoff=cutoff),
        grid=by_tile[:1],
        in_specs=[own if each.shape == by_tile else whole for each in arrays],
        out_specs=tuple(own if each == by_tile else whole for each in out_shapes),
        out_shape=tuple(jax.ShapeDtypeStruct(each, jnp.float32) for each in out_shapes),
        compiler_params=triton.CompilerParams(num_warps=WARPS),
        interpret=interpret,
    )(*arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _draw(packed: jax.Array, lists: Lists, shape, blend: str, cutoff: float, interpret: bool):
    """Blend every tile's list: (drawn, through), each f32[T, P]."""
    arrays = (lists.index, lists.starts, packed)
    return _call(_draw_kernel, arrays, (_by_tile(shape),) * 2, shape, blend, cutoff, interpret)


def _draw_forward(packed, lists, shape, blend, cutoff, interpret):
    drawn, through = _draw(packed, lists, shape, blend, cutoff, interpret)
    return (drawn, through), (packed, lists, drawn, through)


def _draw_backward(shape, blend, cutoff, interpret, saved, cotangent):
    packed, lists, drawn, through = saved
    arrays = (lists.index, lists.starts, packed, drawn, through, *cotangent)
    out = ((len(lists.index), ROW),)
    [rows] = _call(_grad_kernel, arrays, out, shape, blend, cutoff, interpret)
    # No tile wrote the places behind the last list: what memory held there is dropped.
    used = jnp.arange(len(lists.index)) < lists.starts[-1]
    splat = jnp.where(used, lists.index, len(packed))
    return jnp.zeros_like(packed).at[splat].add(rows, mode="drop"), None


_draw.defvjp(_draw_forward, _draw_backward)


def _from_tiles(tiles: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Put f32[T, P] together to f32[H, W]."""
    tiles_y, tiles_x = tile_grid(shape)
    whole = tiles.reshape(tiles_y, tiles_x, TILE, TILE).transpose(0, 2, 1, 3)
    return whole.reshape(tiles_y * TILE, tiles_x * TILE)[: shape[0], : shape[1]]


def pallas_tiled(
    splats: Splats,
    shape: tuple[int, int],
    *,
    blend: str,
    background: jax.Array | float = 0.0,
    cutoff: float,
    capacity: int,
    interpret: bool,
) -> tuple[jax.Array, jax.Array]:
    """Draw splats through tile lists; equal to `reference` with the same cutoff.

    Args:
      splats: N splats; in alpha blending the first of the list lies in front.
      shape: (H, W), px.
      blend: "alpha" or "sum".
      background: f32[], grey behind (alpha) or under (sum) all splats.
      cutoff: sigma beyond which a splat is zero.
      capacity: places in the lists, for a tile on average.
      interpret: run the kernels as plain JAX, slowly, on any device.

    Returns:
      The image f32[H, W], and i32[] how many places were missing in all lists: when it is not 0
      the image lacks splats.
    """
    lists = build_lists(jax.lax.stop_gradient(splats), shape, blend, cutoff, capacity)
    drawn, through = _draw(_pack(splats), lists, shape, blend, cutoff, interpret)
    ground = background if blend == "sum" else background * through
    return _from_tiles(drawn + ground, shape), lists.overflow
