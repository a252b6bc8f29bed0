"""Boxes cover, overlap as asked, and their weights sum to one."""

import numpy as np
import pytest

from emgauss_jax.data import tiling

AXES = [
    (length, size, overlap)
    for length in (1, 7, 32, 33, 64, 97, 250, 251)
    for size in (8, 32, 61)
    for overlap in (0, 1, 2, 5, 7)
] + [(97, 32, 20), (250, 64, 40), (100, 8, 7), (65, 64, 63)]


@pytest.mark.parametrize(("length", "max_size", "overlap"), AXES)
def test_axis_starts_cover_with_overlap(length, max_size, overlap):
    starts, size = tiling.axis_starts(length, max_size, overlap)
    assert size <= max_size
    assert starts[0] == 0
    assert starts[-1] + size == length
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (size - steps >= overlap).all()
    # No tiling with fewer blocks reaches the end of the axis.
    fewer = len(starts) - 1
    assert fewer * max_size - max(fewer - 1, 0) * overlap < length


@pytest.mark.parametrize(("length", "max_size", "overlap"), AXES)
def test_axis_weights_sum_to_one_at_any_coordinate(length, max_size, overlap):
    starts, size = tiling.axis_starts(length, max_size, overlap)
    coords = np.linspace(0, length - 1, 4 * length - 3)
    parts = [tiling.axis_weight(coords, start, starts, size) for start in starts]
    np.testing.assert_allclose(sum(parts), 1.0, atol=1e-12)
    assert min(part.min() for part in parts) >= -1e-12
    for start, part in zip(starts, parts, strict=True):
        # Between the last voxel of one block and the first of the next nothing overlaps: the
        # lower block may then be asked up to one voxel past its end, never further.
        reach = size if overlap == 0 else size - 1
        outside = (coords < start) | (coords > start + reach)
        assert not part[outside].any()


def test_weight_is_continuous_where_neighbours_share_slices():
    starts, size = tiling.axis_starts(33, 12, 3)
    coords = np.linspace(0, 32, 3201)
    for start in starts:
        jump = np.abs(np.diff(tiling.axis_weight(coords, start, starts, size))).max()
        assert jump <= 0.01 / 2 + 1e-9  # the narrowest ramp is two slices wide


def test_rim_is_never_shown():
    starts, size = tiling.axis_starts(200, 64, 16)
    coords = np.arange(200)
    weight = tiling.axis_weight(coords, starts[1], starts, size, rim=4)[starts[1] :][:size]
    assert not weight[:4].any()
    assert not weight[-4:].any()
    assert weight[4:-4].min() > 0
    first = tiling.axis_weight(coords, 0, starts, size, rim=4)
    assert first[0] == 1.0  # the volume's own border is no rim


@pytest.mark.parametrize(
    ("shape", "max_size", "overlap"),
    [((5, 40, 33), (5, 16, 16), (0, 4, 5)), ((12, 9, 31), (5, 9, 8), (2, 0, 6))],
)
def test_blend_weights_of_a_grid_sum_to_one(shape, max_size, overlap):
    grid = tiling.block_grid(shape, max_size, overlap)
    coords = [np.arange(length) for length in shape]
    total = np.zeros(shape)
    for box in grid.boxes:
        one = tiling.Grid(tuple((start,) for start in box.start), grid.size)
        wz, wy, wx = tiling.blend_weights(one, grid, coords)
        weight = wz[:, None, None] * wy[:, None] * wx
        inside = np.zeros(shape, bool)
        inside[box.slices] = True
        assert not weight[~inside].any()
        total += weight
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


def test_parts_of_a_grid_are_its_boxes_in_groups():
    grid = tiling.block_grid((12, 90, 31), (5, 20, 31), (2, 4, 6))
    parts = grid.parts((1, 3, 2))
    assert sorted(box for part in parts for box in part.boxes) == sorted(grid.boxes)
    assert sum(part.count for part in parts) == grid.count == len(grid.boxes)
    assert all(len(s) <= n for part in parts for s, n in zip(part.starts, (1, 3, 2), strict=True))
    lengths = [len(part.starts[1]) for part in parts]
    assert max(lengths) - min(lengths) <= 1
    for part in parts:
        marks = np.zeros((12, 90, 31), bool)
        for box in part.boxes:
            marks[box.slices] = True
        outline = np.zeros_like(marks)
        outline[part.bounds.slices] = True
        np.testing.assert_array_equal(marks, outline)
    coords = [np.arange(n) for n in (12, 90, 31)]
    weights = [tiling.blend_weights(part, grid, coords) for part in parts]
    total = sum(z[:, None, None] * y[:, None] * x for z, y, x in weights)
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


def test_box_slices_cut_zyx():
    box = tiling.Box((1, 2, 3), (2, 3, 4))
    assert box.slices == (slice(1, 3), slice(2, 5), slice(3, 7))
    assert np.zeros((9, 9, 9))[box.slices].shape == box.shape


def test_border_lines_lie_on_both_sides_of_inner_borders():
    grid = tiling.block_grid((3, 20, 10), (3, 10, 10), (0, 0, 0))
    rows, columns = tiling.border_lines(grid, (20, 10), within=4)
    np.testing.assert_array_equal(np.flatnonzero(rows), np.arange(6, 14))
    assert columns.shape == (10,) and not columns.any()  # no border in x: one block spans it


def test_border_lines_of_overlapping_blocks():
    # Two blocks of 13 on 20 px: one stops before px 13, the other starts at px 7.
    grid = tiling.block_grid((1, 8, 20), (1, 8, 14), (0, 0, 5))
    assert grid.starts[2] == (0, 7)
    columns = tiling.border_lines(grid, (8, 20), within=1)[1]
    np.testing.assert_array_equal(np.flatnonzero(columns), [6, 7, 12, 13])


@pytest.mark.parametrize("axis", [(0, 8, 2), (10, 8, 8), (10, 8, -1), (10, 0, 0)])
def test_impossible_axis_is_one_clear_line(axis):
    with pytest.raises(ValueError, match=r"got .*wanted") as error:
        tiling.axis_starts(*axis)
    assert "\n" not in str(error.value)
