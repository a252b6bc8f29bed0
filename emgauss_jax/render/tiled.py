"""Tiles with fixed-capacity lists: rotated Gaussians, both blends, own backward.

Every 16 x 16 tile keeps the list, in order, of the splats whose box of `cutoff` sigma touches it.
A loop over list places draws the i-th splat of every tile at once, so the work of one step is
wide (all pixels of all tiles) and nothing of size tiles x capacity x pixels is ever stored: the
backward walks the lists again. The loop ends at the longest list, not at the capacity.
Letters: N Gaussians, T tiles, C capacity, P = 256 pixels a tile, H W image size in px.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
    """The splats of every tile."""

    index: jax.Array  # i32[C, T], which splat; 0 where the list has ended
    count: jax.Array  # i32[T], length of each list, at most C
    overflow: jax.Array  # i32[], splats that found no place, summed over tiles


def tile_grid(shape: tuple[int, int]) -> tuple[int, int]:
    """Count the tiles that cover (H, W) px."""
    return -(-shape[0] // TILE), -(-shape[1] // TILE)


def build_lists(splats: Splats, shape: tuple[int, int], cutoff: float, capacity: int) -> Lists:
    """List, in order, the splats whose box touches each tile.

    Args:
      splats: N splats; those of opacity 0 are left out.
      shape: (H, W), px.
      cutoff: sigma.
      capacity: C; splats beyond it are dropped from the end and counted.
    """
    tiles_y, tiles_x = tile_grid(shape)
    reach = extents(splats, cutoff)
    low = jnp.floor((splats.means - reach) / TILE)
    high = jnp.floor((splats.means + reach + 0.5) / TILE)  # a rim pixel is never lost to rounding
    ty = jnp.repeat(jnp.arange(tiles_y), tiles_x)[:, None]
    tx = jnp.tile(jnp.arange(tiles_x), tiles_y)[:, None]
    touches = (low[:, 0] <= ty) & (ty <= high[:, 0]) & (low[:, 1] <= tx) & (tx <= high[:, 1])
    touches &= splats.opacities != 0
    wanted = touches.sum(axis=1)
    find = functools.partial(jnp.nonzero, size=capacity, fill_value=0)
    index = jax.vmap(lambda row: find(row)[0])(touches)
    count = jnp.minimum(wanted, capacity)
    return Lists(index.T, count, jnp.sum(wanted - count))


def _alpha(splat: Drawable, y: jax.Array, x: jax.Array, cutoff: float) -> jax.Array:
    """Opacity of one splat a tile at each of its pixels, f32[T, P]; `splat` holds [T, ...]."""
    dy, dx = y - splat.means[:, 0, None], x - splat.means[:, 1, None]
    conic = splat.conics[:, :, None]
    power = conic[:, 0] * dy**2 + 2 * conic[:, 1] * dy * dx + conic[:, 2] * dx**2
    return splat.opacities[:, None] * falloff(power, cutoff)


def _at(drawable: Drawable, lists: Lists, i: jax.Array) -> Drawable:
    """The i-th splat of every tile; opacity 0 where the list has ended."""
    splat = jax.tree.map(lambda a: a[lists.index[i]], drawable)
    return splat._replace(opacities=jnp.where(i < lists.count, splat.opacities, 0.0))


def _pixels(shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Pixel coordinates (y, x) of every tile, each f32[T, P]."""
    tiles_y, tiles_x = tile_grid(shape)
    y, x = jnp.mgrid[: tiles_y * TILE, : tiles_x * TILE].astype(jnp.float32)
    return _to_tiles(y), _to_tiles(x)


def _to_tiles(image: jax.Array) -> jax.Array:
    """Cut [tiles_y * 16, tiles_x * 16] into [T, P]."""
    tiles_y, tiles_x = image.shape[0] // TILE, image.shape[1] // TILE
    cut = image.reshape(tiles_y, TILE, tiles_x, TILE).swapaxes(1, 2)
    return cut.reshape(tiles_y * tiles_x, TILE * TILE)


def _from_tiles(tiles: jax.Array, shape: tuple[int, int]) -> jax.Array:
    tiles_y, tiles_x = tile_grid(shape)
    whole = tiles.reshape(tiles_y, tiles_x, TILE, TILE).swapaxes(1, 2)
    return whole.reshape(tiles_y * TILE, tiles_x * TILE)[: shape[0], : shape[1]]


def _blend_step(splat: Drawable, alpha: jax.Array, drawn: jax.Array, through: jax.Array, blend):
    """Add one splat a tile: (drawn, through), each f32[T, P]."""
    if blend == "sum":
        return drawn + splat.intensities[:, None] * alpha, through
    alpha = jnp.minimum(alpha, MAX_ALPHA)
    return drawn + splat.intensities[:, None] * alpha * through, through * (1.0 - alpha)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _draw(drawable: Drawable, lists: Lists, shape, blend: str, cutoff: float):
    """Blend every tile's list: (drawn, through), each f32[T, P]."""
    y, x = _pixels(shape)

    def step(i, carry):
        splat = _at(drawable, lists, i)
        return _blend_step(splat, _alpha(splat, y, x, cutoff), *carry, blend)

    start = (jnp.zeros_like(y), jnp.ones_like(y))
    return jax.lax.fori_loop(0, jnp.max(lists.count), step, start)


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
    y, x = _pixels(shape)
    capacity, tiles = lists.index.shape

    def step(i, carry):
        so_far, left, out = carry
        splat = _at(drawable, lists, i)
        alpha, alpha_vjp = jax.vjp(lambda s: _alpha(s, y, x, cutoff), splat)
        after, left_after = _blend_step(splat, alpha, so_far, left, blend)
        grad_alpha = grad * splat.intensities[:, None]
        grad_colour = grad * alpha
        if blend == "alpha":
            used = jnp.minimum(alpha, MAX_ALPHA)
            behind = grad * (drawn - after) + grad_through * through
            grad_alpha = jnp.where(
                alpha < MAX_ALPHA, grad_alpha * left - behind / (1.0 - used), 0.0
            )
            grad_colour = grad * used * left
        (grad_splat,) = alpha_vjp(grad_alpha)
        grad_splat = grad_splat._replace(
            opacities=jnp.where(i < lists.count, grad_splat.opacities, 0.0),
            intensities=jnp.where(i < lists.count, grad_colour.sum(axis=1), 0.0),
        )
        return after, left_after, jax.tree.map(lambda o, g: o.at[i].set(g), out, grad_splat)

    out = jax.tree.map(lambda a: jnp.zeros((capacity, tiles, *a.shape[1:]), a.dtype), drawable)
    start = (jnp.zeros_like(y), jnp.ones_like(y), out)
    _, _, out = jax.lax.fori_loop(0, jnp.max(lists.count), step, start)
    grads = jax.tree.map(lambda a, g: jnp.zeros_like(a).at[lists.index].add(g), drawable, out)
    return grads, None


_draw.defvjp(_draw_forward, _draw_backward)


def tiled(
    splats: Splats,
    shape: tuple[int, int],
    *,
    blend: str,
    background: jax.Array | float = 0.0,
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
      capacity: C, places in each tile's list.

    Returns:
      The image f32[H, W], and i32[] how many places were missing in all lists: when it is not 0
      the image lacks splats.
    """
    drawable = Drawable(splats.means, conics(splats), splats.opacities, splats.intensities)
    lists = build_lists(jax.lax.stop_gradient(splats), shape, cutoff, capacity)
    drawn, through = _draw(drawable, lists, shape, blend, cutoff)
    ground = background if blend == "sum" else background * through
    return _from_tiles(drawn + ground, shape), lists.overflow
