"""Order-free sum of axis-aligned Gaussians, each drawn only around itself.

Every Gaussian is sorted into the cell that holds its mean, and every cell draws a patch, itself
and a halo, as one small matrix product; the patches are added up. Small Gaussians have small cells;
what reaches beyond their halo is sorted into the next level, of larger cells, and the last
level is the whole plane. A cell draws its list a few places at a time until the longest list has
ended: no capacity, so nothing is ever dropped. While splats are small, the cost grows with N and
not with N H W.
Letters: N Gaussians, H W image size in px, B bins (the cells of all levels), C places of a pass.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.render.bins import sort_into_bins
from emgauss_jax.render.gaussians import Splats

CELL = 16  # px, of the finest level; its halo is half of that
RATIO = 4  # of the cells of one level to those of the level below
PLACES = 128  # the most of a cell's list drawn in one pass
CPU_CELLS = 64  # drawn at once on a CPU: the profiles of more leave its caches
PRECISION = jax.lax.Precision.HIGHEST


class Level(NamedTuple):
    """A grid of equal cells over the plane; static."""

    first: int  # its first bin
    grid: tuple[int, int]  # cells along y, x
    cell: tuple[int, int]  # px
    halo: int  # px, drawn around a cell
    places: int  # C

    @property
    def patch(self) -> tuple[int, int]:
        """Size in px of what a cell draws."""
        return self.cell[0] + 2 * self.halo, self.cell[1] + 2 * self.halo

    @property
    def cells(self) -> int:
        """Cells of the grid."""
        return self.grid[0] * self.grid[1]


class Table(NamedTuple):
    """What a product needs of each Gaussian, in the order of bins."""

    rows: jax.Array  # f32[5, N + PLACES]: mean y, x; 1 / scale y, x; amplitude
    starts: jax.Array  # i32[B + 1], where each bin's list begins


@functools.cache
def plan(shape: tuple[int, int], count: int) -> tuple[Level, ...]:
    """Choose the levels for (H, W) px and N Gaussians, finest first, the whole plane last."""
    levels, size, first = [], CELL, 0
    while True:
        last = 2 * size >= max(shape)  # a patch as large as the plane gains nothing
        grid = (1, 1) if last else tuple(max(1, round(n / size)) for n in shape)
        cell = tuple(-(-n // g) for n, g in zip(shape, grid, strict=True))
        mean = count / (grid[0] * grid[1])
        places = min(PLACES, 16 * int(np.ceil(1.5 * mean / 16)))
        levels.append(Level(first, grid, cell, 0 if last else size // 2, places))
        if last:
            return tuple(levels)
        size, first = RATIO * size, first + grid[0] * grid[1]


def find_bins(splats: Splats, levels: tuple[Level, ...], cutoff: float) -> jax.Array:
    """Name the bin of every Gaussian: the finest level whose halo holds `cutoff` sigma of it.

    Returns:
      i32[N].
    """
    reach = cutoff * splats.scales.max(axis=1)
    bins = jnp.full(reach.shape, levels[-1].first)
    for level in reversed(levels[:-1]):
        cell = jnp.floor((splats.means + 0.5) / jnp.asarray(level.cell)).astype(jnp.int32)
        cell = jnp.clip(cell, 0, jnp.asarray(level.grid) - 1)
        here = level.first + cell[:, 0] * level.grid[1] + cell[:, 1]
        bins = jnp.where(reach <= level.halo, here, bins)
    return bins


def _profiles(rows: jax.Array, level: Level, cell: jax.Array):
    """Evaluate C Gaussians along y and x of a cell's patch.

    Returns:
      For each axis the distance in sigma and the profile, f32[patch, C]: sums over the patch then
      run over the outer axis, which a CPU can vectorise.
    """
    axes = []
    for axis, index in enumerate(jnp.divmod(cell, level.grid[1])):
        first = index * level.cell[axis] - level.halo
        at = jnp.arange(level.patch[axis]) + first
        distance = (at[:, None] - rows[axis]) * rows[2 + axis]
        axes.append((distance, jnp.exp(-0.5 * jnp.square(distance))))
    return axes


def _pass_rows(table: Table, level: Level, cell: jax.Array, turn: jax.Array) -> jax.Array:
    """Take f32[5, C], places [turn * C, turn * C + C) of a cell's list.

    Past its end lie Gaussians of other cells: their amplitude becomes 0.
    """
    start, end = table.starts[level.first + cell], table.starts[level.first + cell + 1]
    first = jnp.minimum(start + turn * level.places, end)
    rows = jax.lax.dynamic_slice_in_dim(table.rows, first, level.places, axis=1)
    inside = first + jnp.arange(level.places) < end
    return rows.at[4].set(jnp.where(inside, rows[4], 0.0))


def _draw_cell(table: Table, level: Level, turn: jax.Array, cell: jax.Array) -> jax.Array:
    """Draw one pass of one cell: f32[patch]."""
    rows = _pass_rows(table, level, cell, turn)
    (_, along_y), (_, along_x) = _profiles(rows, level, cell)
    return jnp.matmul(along_y * rows[4], along_x.T, precision=PRECISION)


def _grad_cell(table: Table, level: Level, turn: jax.Array, cell_and_grad) -> jax.Array:
    """Differentiate one pass of one cell with respect to its rows: f32[5, C]."""
    cell, grad = cell_and_grad
    rows = _pass_rows(table, level, cell, turn)
    (from_y, along_y), (from_x, along_x) = _profiles(rows, level, cell)
    in_y = along_y * jnp.matmul(grad, along_x, precision=PRECISION)
    in_x = along_x * jnp.matmul(grad.T, along_y, precision=PRECISION)
    amplitude, mean_y, width_y = _moments(in_y, from_y)
    _, mean_x, width_x = _moments(in_x, from_x)
    means = rows[4] * rows[2:4] * jnp.stack([mean_y, mean_x])
    inverse_scales = -rows[4] / rows[2:4] * jnp.stack([width_y, width_x])
    return jnp.concatenate([means, inverse_scales, amplitude[None]])


def _moments(weight: jax.Array, distance: jax.Array) -> tuple[jax.Array, ...]:
    """Sum f32[patch, C] weights times 1, distance and its square over the patch, in one pass."""

    def add(a, b):
        return tuple(map(jnp.add, a, b))

    terms = (weight, weight * distance, weight * jnp.square(distance))
    return jax.lax.reduce(terms, (jnp.zeros((), weight.dtype),) * 3, add, dimensions=(0,))


def _over_cells(function, values):
    """Map over cells: all at once, or on a CPU as many as its caches hold."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(function, values, batch_size=CPU_CELLS)
    return jax.vmap(function)(values)


def _passes(table: Table, level: Level) -> jax.Array:
    """Count the passes that the longest list of a level takes."""
    starts = table.starts[level.first : level.first + level.cells + 1]
    return -(-jnp.max(jnp.diff(starts)) // level.places)


def _add_patches(patches: jax.Array, level: Level, shape: tuple[int, int]) -> jax.Array:
    """Add f32[cells, patch] up to f32[H, W]; linear."""
    (ny, nx), (cy, cx), (py, px) = level.grid, level.cell, level.patch
    ky, kx = -(-py // cy), -(-px // cx)
    patches = patches.reshape(ny, nx, py, px)
    patches = jnp.pad(patches, ((0, 0), (0, 0), (0, ky * cy - py), (0, kx * cx - px)))
    parts = patches.reshape(ny, nx, ky, cy, kx, cx)
    total = sum(
        jnp.pad(parts[:, :, i, :, j], ((i, ky - 1 - i), (j, kx - 1 - j), (0, 0), (0, 0)))
        for i in range(ky)
        for j in range(kx)
    )
    plane = total.swapaxes(1, 2).reshape((ny + ky - 1) * cy, (nx + kx - 1) * cx)
    return jax.lax.slice(plane, [level.halo] * 2, [level.halo + n for n in shape])


def _cut_patches(plane: jax.Array, level: Level) -> jax.Array:
    """Cut f32[H, W] into f32[cells, patch]: the transpose of `_add_patches`."""
    whole = jax.ShapeDtypeStruct((level.cells, *level.patch), plane.dtype)
    add = functools.partial(_add_patches, level=level, shape=plane.shape)
    return jax.linear_transpose(add, whole)(plane)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _draw(rows: jax.Array, starts: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Draw sorted Gaussians: f32[H, W]."""
    table = Table(jnp.pad(rows, ((0, 0), (0, PLACES))), starts)
    plane = jnp.zeros(shape, rows.dtype)
    for level in plan(shape, rows.shape[1]):
        one = functools.partial(_draw_cell, table, level)

        def add(turn, plane, level=level, one=one):
            patches = _over_cells(functools.partial(one, turn), jnp.arange(level.cells))
            return plane + _add_patches(patches, level, shape)

        plane = jax.lax.fori_loop(0, _passes(table, level), add, plane)
    return plane


def _draw_forward(rows, starts, shape):
    return _draw(rows, starts, shape), (rows, starts)


def _draw_backward(shape, saved, grad):
    """Draw again, one product an axis; each Gaussian then fetches its row from its place."""
    rows, starts = saved
    count = rows.shape[1]
    table = Table(jnp.pad(rows, ((0, 0), (0, PLACES))), starts)
    bins = jnp.searchsorted(starts, jnp.arange(count), side="right") - 1
    place = jnp.arange(count) - starts[bins]
    total = jnp.zeros_like(rows)
    for level in plan(shape, count):
        patches = _cut_patches(grad, level)
        cell = bins - level.first
        here = (cell >= 0) & (cell < level.cells)

        def add(turn, total, level=level, patches=patches, cell=cell, here=here):
            one = functools.partial(_grad_cell, table, level, turn)
            grads = _over_cells(one, (jnp.arange(level.cells), patches))
            mine = grads[jnp.clip(cell, 0, level.cells - 1), :, place % level.places].T
            drawn = here & (place // level.places == turn)
            return jnp.where(drawn, mine, total)

        total = jax.lax.fori_loop(0, _passes(table, level), add, total)
    return total, None


_draw.defvjp(_draw_forward, _draw_backward)


def binned(
    splats: Splats,
    shape: tuple[int, int],
    *,
    background: jax.Array | float,
    cutoff: float,
) -> jax.Array:
    """Draw axis-aligned splats as a sum, each in the neighbourhood that it reaches.

    Differentiable in reverse mode.

    Args:
      splats: N splats with angles None.
      shape: (H, W), px.
      background: f32[], grey under all splats.
      cutoff: sigma beyond which a splat may be zero; it is drawn up to its patch's edge.

    Returns:
      f32[H, W].
    """
    levels = plan(shape, splats.means.shape[0])
    bins = find_bins(jax.lax.stop_gradient(splats), levels, cutoff)
    order, starts = sort_into_bins(bins, levels[-1].first + 1)
    amplitude = splats.opacities * splats.intensities
    rows = jnp.concatenate([splats.means.T, 1.0 / splats.scales.T, amplitude[None]])
    return background + _draw(rows[:, order], starts, shape)
