"""Tiles with lists: rotated Gaussians, both blends, own backward.

Every 16 x 16 tile has the list, in order, of the splats whose box of `cutoff` sigma touches it; all
lists lie one behind the other in one array, so that they may be of any length. A loop over list
places draws the i-th splat of every tile at once, so the work of one step is wide (all pixels of
all tiles) and nothing of size pairs x pixels is ever stored: the backward walks the lists again.
Letters: N Gaussians, T tiles, M pairs of a tile and a splat, P = 256 pixels a tile, H W image
size in px.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from emgauss_jax.render.bins import sort_into_bins
from emgauss_jax.render.gaussians import Splats, conics, extents
from emgauss_jax.render.reference import MAX_ALPHA, falloff

TILE = 16


class Drawable(NamedTuple):
    """What one pixel needs to know of each splat."""

    means: jax.Array  # f32[N, 2], px
    conics: jax.Array  # f32[N, 3], px^-2
    opacities: jax.Array  # f32[N]
    intensities: jax.Array  # f32[N]


class Lists(NamedTuple):
    """The splats of every tile, one list behind the other."""

    index: jax.Array  # i32[M], which splat
    starts: jax.Array  # i32[T + 1], where each tile's list begins
    overflow: jax.Array  # i32[], pairs that found no place

    @property
    def longest(self) -> jax.Array:
        """Length of the longest list."""
        return jnp.max(jnp.diff(self.starts))


def tile_grid(shape: tuple[int, int]) -> tuple[int, int]:
    """Count the tiles that cover (H, W) px."""
    return -(-shape[0] // TILE), -(-shape[1] // TILE)


def build_lists(
    splats: Splats, shape: tuple[int, int], blend: str, cutoff: float, capacity: int
) -> Lists:
    """List, in order, the splats whose box touches each tile.

    Args:
      splats: N splats.
      shape: (H, W), px.
      blend: under "alpha" those of opacity 0 are left out; in a sum a gain of 0 still learns.
      cutoff: sigma.
      capacity: M / T, places a tile on average; the pairs of the last splats that find no place
        are dropped and counted.

    Source: 3DGS, section 6 (a splat is written once for every tile it touches, then sorted).
    """
    grid = jnp.asarray(tile_grid(shape))
    reach = extents(splats, cutoff)
    low = jnp.floor((splats.means - reach) / TILE)
    high = jnp.floor((splats.means + reach + 0.5) / TILE)  # a rim pixel is never lost to rounding
    touches = ((high >= 0) & (low < grid)).all(axis=1)
    if blend == "alpha":
        touches &= splats.opacities != 0
    low = jnp.clip(low, 0, grid - 1).astype(jnp.int32)
    size = jnp.clip(high, 0, grid - 1).astype(jnp.int32) - low + 1
    wanted = jnp.where(touches, size[:, 0] * size[:, 1], 0)
    ends = jnp.cumsum(wanted)
    tiles = tile_grid(shape)[0] * tile_grid(shape)[1]
    pair = jnp.arange(tiles * capacity)
    splat = jnp.minimum(jnp.searchsorted(ends, pair, side="right"), len(ends) - 1)
    nth = pair - (ends - size[:, 0] * size[:, 1])[splat]
    row, column = jnp.divmod(nth, size[splat, 1])
    tile = (low[splat, 0] + row) * grid[1] + low[splat, 1] + column
    order, starts = sort_into_bins(jnp.where(pair < ends[-1], tile, tiles), tiles)
    most = 2**31 - 1
    wrapped = jnp.sum(wanted.astype(jnp.float32)) > 0.99 * most  # and `ends` with it
    overflow = jnp.where(wrapped, most, jnp.maximum(ends[-1] - len(pair), 0))
    return Lists(splat[order], starts, overflow)


def _offsets(splat: Drawable, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Distance (y, x) of every pixel from its tile's splat, each f32[P, T]; splat is [T, ...]."""
    tiles_y, tiles_x = tile_grid(shape)
    tile, pixel = jnp.arange(tiles_y * tiles_x), jnp.arange(TILE * TILE)[:, None]
    y = tile // tiles_x * TILE + pixel // TILE
    x = tile % tiles_x * TILE + pixel % TILE
    return y - splat.means[:, 0], x - splat.means[:, 1]


def _falloff(splat: Drawable, dy: jax.Array, dx: jax.Array, cutoff: float) -> jax.Array:
    """One splat a tile at each of its pixels, without opacity: f32[P, T]."""
    yy, yx, xx = splat.conics.T
    return falloff(yy * dy**2 + 2 * yx * dy * dx + xx * dx**2, cutoff)


def _at(drawable: Drawable, lists: Lists, i: jax.Array) -> tuple[Drawable, jax.Array]:
    """The i-th splat of every tile, opacity 0 where the list has ended, and its place i32[T].

    The place of what has ended is M, where nothing is written.
    """
    inside = lists.starts[:-1] + i < lists.starts[1:]
    place = jnp.where(inside, lists.starts[:-1] + i, len(lists.index))
    splat = jax.tree.map(lambda a: a[lists.index.at[place].get(mode="clip")], drawable)
    return splat._replace(opacities=jnp.where(inside, splat.opacities, 0.0)), place


def _from_tiles(tiles: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Put f32[P, T] together to f32[H, W]."""
    tiles_y, tiles_x = tile_grid(shape)
    whole = tiles.reshape(TILE, TILE, tiles_y, tiles_x).transpose(2, 0, 3, 1)
    return whole.reshape(tiles_y * TILE, tiles_x * TILE)[: shape[0], : shape[1]]


def _blend_step(splat: Drawable, alpha: jax.Array, drawn: jax.Array, through: jax.Array, blend):
    """Add one splat a tile: (drawn, through), each f32[P, T]."""
    if blend == "sum":
        return drawn + splat.intensities * alpha, through
    alpha = jnp.minimum(alpha, MAX_ALPHA)
    return drawn + splat.intensities * alpha * through, through * (1.0 - alpha)


def _blank(shape: tuple[int, int], dtype) -> tuple[jax.Array, jax.Array]:
    """Nothing drawn, everything passes: (drawn, through), each f32[P, T]."""
    tiles_y, tiles_x = tile_grid(shape)
    size = (TILE * TILE, tiles_y * tiles_x)
    return jnp.zeros(size, dtype), jnp.ones(size, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _draw(drawable: Drawable, lists: Lists, shape, blend: str, cutoff: float):
    """Blend every tile's list: (drawn, through), each f32[P, T]."""

    def step(i, carry):
        splat, _ = _at(drawable, lists, i)
        alpha = splat.opacities * _falloff(splat, *_offsets(splat, shape), cutoff)
        return _blend_step(splat, alpha, *carry, blend)

    return jax.lax.fori_loop(0, lists.longest, step, _blank(shape, drawable.means.dtype))


def _draw_forward(drawable, lists, shape, blend, cutoff):
    drawn, through = _draw(drawable, lists, shape, blend, cutoff)
    return (drawn, through), (drawable, lists, drawn, through)


def _draw_backward(shape, blend, cutoff, saved, cotangent):
    """Walk the lists again, front to back.

    With A_i what is drawn up to and including splat i, all behind it is drawn - A_i, and
    d drawn / d alpha_i = c_i T_i - (drawn - A_i) / (1 - alpha_i): no suffix need be stored.
    """
    drawable, lists, drawn, through = saved
    grad, grad_through = cotangent

    def step(i, carry):
        so_far, left, out = carry
        splat, place = _at(drawable, lists, i)
        dy, dx = _offsets(splat, shape)
        shape_of = _falloff(splat, dy, dx, cutoff)
        alpha = splat.opacities * shape_of
        after, left_after = _blend_step(splat, alpha, so_far, left, blend)
        grad_alpha, used = grad * splat.intensities, alpha
        if blend == "alpha":
            used = jnp.minimum(alpha, MAX_ALPHA)
            behind = grad * (drawn - after) + grad_through * through
            grad_alpha = jnp.where(
                alpha < MAX_ALPHA, grad_alpha * left - behind / (1.0 - used), 0.0
            )
            used = used * left
        rows = _rows(splat, dy, dx, alpha * grad_alpha, grad_alpha * shape_of, grad * used)
        return after, left_after, out.at[place].set(rows, mode="drop", unique_indices=True)

    dtype = drawable.means.dtype
    out = jnp.zeros((len(lists.index), 7), dtype)
    _, _, out = jax.lax.fori_loop(0, lists.longest, step, (*_blank(shape, dtype), out))
    total = jnp.zeros((len(drawable.opacities), 7), dtype).at[lists.index].add(out)
    return Drawable(total[:, :2], total[:, 2:5], total[:, 5], total[:, 6]), None


def _rows(splat: Drawable, dy, dx, weight, grad_opacity, grad_intensity) -> jax.Array:
    """Sum over pixels the gradient of one splat a tile: f32[T, 7], the fields of `Drawable`.

    Args:
      weight: f32[P, T], alpha times its gradient, so that d / d power is -weight / 2.
    """
    # Stored first: each sum would compute its own exponentials again.
    weight, *others = jax.lax.optimization_barrier((weight, grad_opacity, grad_intensity))
    terms = (dy, dx, dy * dy, dy * dx, dx * dx)
    y, x, yy, yx, xx = (jnp.sum(weight * each, axis=0) for each in terms)
    rest = (jnp.sum(each, axis=0) for each in others)
    conic = splat.conics.T
    means = (conic[0] * y + conic[1] * x, conic[1] * y + conic[2] * x)
    return jnp.stack([*means, -0.5 * yy, -yx, -0.5 * xx, *rest], axis=1)


_draw.defvjp(_draw_forward, _draw_backward)


def tiled(
    splats: Splats,
    shape: tuple[int, int],
    *,
    blend: str,
    background: jax.Array | float,
    cutoff: float,
    capacity: int,
) -> tuple[jax.Array, jax.Array]:
    """Draw splats through tile lists; equal to `reference` with the same cutoff.

    Args:
      splats: N splats; in alpha blending the first of the list lies in front.
      shape: (H, W), px.
      blend: "alpha" or "sum".
      background: f32[], grey behind (alpha) or under (sum) all splats.
      cutoff: sigma beyond which a splat is zero.
      capacity: places in the lists, for a tile on average.

    Returns:
      The image f32[H, W], and i32[] how many places were missing in all lists: when it is not 0
      the image lacks splats.
    """
    drawable = Drawable(splats.means, conics(splats), splats.opacities, splats.intensities)
    lists = build_lists(jax.lax.stop_gradient(splats), shape, blend, cutoff, capacity)
    drawn, through = _draw(drawable, lists, shape, blend, cutoff)
    ground = background if blend == "sum" else background * through
    return _from_tiles(drawn + ground, shape), lists.overflow
