"""Training pieces: a few neighbouring slices, one lateral axis of which is degraded like z.

Unlike the training images of other networks they have any factor, and may lack rows.
Letters: D frames, R rows, P px of a piece along its rows, C columns, K slices, H W block size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.methods.base import gap_around
from emgauss_jax.methods.emformer.rotations import reversals, turn

LEAST, MOST = 2, 12  # px from row to row: the factors that are learned
OWN = 0.75  # fraction of pieces with the stack's own factor
GAPS = 0.25  # fraction of pieces with missing rows
LONGEST = 3  # most missing rows beside each other


class Shape(NamedTuple):
    """The shape of a piece; hashable."""

    frames: int
    rows: int
    size: int  # P, px along the rows
    columns: int


class Piece(NamedTuple):
    """The degraded rows of a piece, and the original that the network is to restore."""

    rows: jax.Array  # f32[D, R, C]; meaningless where they are not valid
    valid: jax.Array  # bool[R], False where a row is beyond the field or treated as missing
    target: jax.Array  # f32[D, P, C], the original
    place: jax.Array  # f32[P], places of the target's px, in rows
    known: jax.Array  # bool[P], whether the place lies among the rows
    step: jax.Array  # f32[], rows from one px of the target to the next


def shape_of_piece(
    slices: tuple[int, int, int], most: Shape, factor: float, profile: SliceProfile
) -> tuple[Shape, tuple[float, float]]:
    """Choose the shape of a piece that fits into a block.

    Args:
      slices: K, H, W.
      most: the largest shape; its `size` is not used.
      factor: lateral px from slice to slice, of the stack.
      profile: of the rows.

    Returns:
      The shape, with as many rows as the field holds at the stack's own factor; and the least and
      the largest factor to draw. At factors above the own one, rows beyond the field are missing.
    """
    field = min(slices[1:])
    rows = min(most.rows, profile.rows_within(field, factor))
    largest = max(factor, min(MOST, (field - 1) / 2))
    size = min(field, int(rows * largest))
    shape = Shape(min(most.frames, slices[0]), rows, size, min(most.columns, field))
    return shape, (min(LEAST, factor), largest)


def draw_piece(
    key: jax.Array,
    slices: jax.Array,
    shape: Shape,
    factors: tuple[float, float, float],
    profile: SliceProfile,
) -> Piece:
    """Draw a random piece, its factor, its orientation, and which of its rows are missing.

    Args:
      key: PRNG key, consumed.
      slices: f32[K, H, W], all valid.
      shape: of the piece.
      factors: the least, the largest, and the stack's own.
      profile: of its rows.
    """
    cut_key, factor_key, own_key, gap_key = jax.random.split(key, 4)
    target = _cut(cut_key, slices, shape)
    low, high, own = factors
    drawn = low * (high / low) ** jax.random.uniform(factor_key)
    factor = jnp.where(jax.random.bernoulli(own_key, OWN), own, drawn)
    degrade = {"subsample": pick, "average": average}[profile.name]
    rows, place, known, there = degrade(target, shape.rows, factor)
    valid = draw_valid(gap_key, shape.rows)
    valid = jnp.where((valid & there).sum() < 2, there, valid & there)
    return Piece(rows, valid, target, place, known, 1 / factor)


def _cut(key: jax.Array, slices: jax.Array, shape: Shape) -> jax.Array:
    """Cut f32[D, P, C] out of slices, in one of 8 orientations that keep the z axis."""
    corner_key, turn_key = jax.random.split(key)
    corner = jax.random.uniform(corner_key, (3,))
    exchanged, *way = jax.random.bernoulli(turn_key, shape=(3,))

    def cut(height: int, width: int) -> jax.Array:
        size = (shape.frames, height, width)
        free = jnp.asarray(slices.shape) - jnp.asarray(size)
        start = jnp.floor(corner * (free + 1)).astype(jnp.int32)
        return jax.lax.dynamic_slice(slices, tuple(start), size)

    along_y = cut(shape.size, shape.columns)
    along_x = cut(shape.columns, shape.size).swapaxes(1, 2)
    piece = jnp.where(exchanged, along_x, along_y)
    return turn(piece, reversals(way, exchanged))


def average(target: jax.Array, rows: int, factor: jax.Array) -> tuple[jax.Array, ...]:
    """Average f32[D, P, C] over every `factor` px, which may be fractional.

    Returns:
      f32[D, R, C], the rows; f32[P], places of the px in rows; bool[P], True for px that the rows
      cover; bool[R], True for rows that the px cover.
    """
    count = target.shape[1]
    sums = jnp.cumsum(jnp.pad(target, ((0, 0), (1, 0), (0, 0))), axis=1)
    edges = factor * jnp.arange(rows + 1)
    lower, share = gap_around(edges, count + 1)
    share = share[:, None]
    at_edges = (1 - share) * sums[:, lower] + share * sums[:, lower + 1]
    px = jnp.arange(count)
    means = (at_edges[:, 1:] - at_edges[:, :-1]) / factor
    there = edges[1:] <= count + 1e-3
    known = px + 1 <= there.sum() * factor + 1e-3
    return means, (px + 0.5) / factor - 0.5, known, there


def pick(target: jax.Array, rows: int, factor: jax.Array) -> tuple[jax.Array, ...]:
    """Pick one px of f32[D, P, C] every `factor` px, rounded to the nearest px.

    Returns:
      The same as `average`.
    """
    count = target.shape[1]
    px = jnp.arange(count)
    picked = jnp.round(factor * jnp.arange(rows)).astype(jnp.int32)
    place = jnp.interp(px, picked, jnp.arange(rows))
    there = picked < count
    known = px <= jnp.max(jnp.where(there, picked, 0))
    return target[:, jnp.minimum(picked, count - 1)], place, known, there


def draw_valid(key: jax.Array, rows: int) -> jax.Array:
    """Draw a run of up to LONGEST missing rows, also at the ends; most draws have none.

    Returns:
      bool[R], False in the run; two rows or more are valid.
    """
    gap_key, length_key, start_key = jax.random.split(key, 3)
    longest = max(0, min(LONGEST, rows - 2))
    length = jnp.minimum(jax.random.randint(length_key, (), 1, LONGEST + 1), longest)
    length = jnp.where(jax.random.bernoulli(gap_key, GAPS), length, 0)
    start = jax.random.randint(start_key, (), 0, rows - length + 1)
    index = jnp.arange(rows)
    return (index < start) | (index >= start + length)
