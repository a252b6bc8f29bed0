"""Px that are not square are made so: where they lie, from which rows, and what is said."""

import numpy as np
import pytest

from emgauss_jax.data.array_volume import of_array
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.square_pixels import cubic_taps, squared
from emgauss_jax.data.tiling import Box
from emgauss_jax.data.volume import create_volume, open_volume


def opened(values, voxel_nm, crop=None, distance=100.0):
    volume = of_array(np.asarray(values), voxel_nm)
    return squared(volume, crop or Box((0, 0, 0), volume.shape), distance)


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize("voxel_nm", [(40, 8, 8), (40, 8.0, 8.000001), (40, 8.007, 8.0)])
def test_square_px_are_left_alone(voxel_nm):
    volume, crop = of_array(noise((2, 5, 6)), voxel_nm), Box((0, 1, 2), (2, 3, 4))
    assert squared(volume, crop, 40.0) == (volume, crop)


@pytest.mark.parametrize(
    ("sizes", "shape", "note"),
    [
        ((16.0, 8.0), (39, 30), "y px of 16 nm are resampled to 8 nm, the size along x: 20 rows"),
        ((8.0, 16.0), (20, 59), "x px of 16 nm are resampled to 8 nm, the size along y: 30 col"),
        ((10.0, 8.0), (24, 30), "20 rows become 24 (cubic)"),  # 19 * 1.25 = 23.75
        ((30.0, 8.0), (72, 30), "20 rows become 72 (cubic)"),  # 19 * 3.75 = 71.25
    ],
)
def test_where_px_lie(sizes, shape, note):
    """A second-degree polynomial comes out as itself, but for the ends, which are replicated."""
    y, x = np.mgrid[:20, :30].astype(np.float64)
    (dy, dx), fine = sizes, min(sizes)
    plane = 3 + (dy * y) ** 2 - 40 * dx * x + dy * y * dx * x
    volume, crop = opened(np.stack([plane, -plane]), (100.0, *sizes))
    assert volume.shape == (2, *shape) == crop.shape and volume.voxel_nm == (100.0, fine, fine)
    assert note in volume.notes[-1] and volume.dtype == np.float64
    y, x = fine * np.mgrid[: shape[0], : shape[1]]
    want = 3 + y**2 - 40 * x + y * x
    drawn = volume[:, :, :]
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(drawn[0][inner], want[inner], rtol=1e-12, atol=1e-8)
    np.testing.assert_array_equal(drawn[1], -drawn[0])
    np.testing.assert_array_equal(drawn[0][0, 0], plane[0, 0])


@pytest.mark.parametrize("axis", [1, 2])
def test_rows_of_the_file_stay_and_those_between_are_cubic(axis):
    """Midway between b and c the value is (-a + 9 b + 9 c - d) / 16; integers are clipped."""
    rows = [0, 0, 160, 160, 0, 0, 84, 255, 255]
    between = [-10, 80, 180, 80, -15, 31, 175, 266]  # rounded; at the ends a = b, d = c
    before, after = [0, *rows[:-2]], [*rows[2:], 255]
    exact = (9 * np.add(rows[:-1], rows[1:]) - np.add(before, after)) / 16
    np.testing.assert_array_equal(np.rint(exact), between)
    for dtype in ("uint8", "int16", "int32", "uint32", "float32", "float64"):
        values = np.moveaxis(np.tile(np.array(rows, dtype), (2, 3, 1)), 2, axis)
        volume, _ = opened(values, (100, 16, 8) if axis == 1 else (100, 8, 16))
        drawn = np.moveaxis(volume[:, :, :], axis, 2)
        assert drawn.shape == (2, 3, 17) and drawn.dtype == dtype
        np.testing.assert_array_equal(drawn[..., ::2], np.moveaxis(values, axis, 2))
        low = 0 if dtype.startswith("u") else -99
        high = 255 if dtype == "uint8" else 999
        want = exact if dtype.startswith("f") else np.clip(between, low, high)
        np.testing.assert_array_equal(drawn[..., 1::2], np.broadcast_to(want, (2, 3, 8)))


def test_no_value_leaves_its_type():
    for dtype in (np.int8, np.uint16, np.int32, np.uint32):
        ends = np.iinfo(dtype).min, np.iinfo(dtype).max
        values = np.repeat(np.array([ends] * 4, dtype).ravel(), 2)[None, :, None].repeat(2, 2)
        drawn = opened(values, (100, 16, 8))[0][:, :, :]
        np.testing.assert_array_equal(drawn[:, ::2], values)
        assert drawn.min() == ends[0] and drawn.max() == ends[1]  # where it overshoots, too
        np.testing.assert_array_equal(drawn[:, 1::4], values[:, ::2])


class Spy:
    """A volume that remembers which box it was asked for last."""

    path, format, notes = "spy", "zarr3", ("odd",)
    dtype, voxel_nm = np.dtype(np.float32), (99, 9, 4)
    place = Place((7.0, 8.0, 9.0))

    def __init__(self, shape):
        self.values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        self.shape = shape

    def __getitem__(self, box):
        self.asked = tuple((part.start, part.stop) for part in box)
        return self.values[box]

    def absent_chunks(self, box):
        return tuple(part.stop for part in box)[:2]


def test_a_voxel_is_the_same_in_any_box_and_few_rows_are_read():
    """The crop is cut first: nothing beyond it is read, and its first px stays where it is."""
    spy = Spy((5, 40, 12))
    volume, box = squared(spy, Box((1, 4, 2), (3, 30, 8)), 99.0)
    assert box == Box((1, 0, 2), (3, 66, 8))  # 29 * 9 / 4 = 65.25
    assert volume.place.centre_nm == (7.0, 8.0 + 4 * 9, 9.0)
    assert (volume.format, volume.path, volume.notes[0]) == ("zarr3", "spy", "odd")
    whole = volume[:, :, :]
    assert whole.shape == volume.shape == (5, 66, 12)
    assert spy.asked == ((0, 5), (4, 34), (0, 12))
    for y0, y1 in [(0, 1), (13, 14), (17, 43), (64, 66), (30, 30)]:
        np.testing.assert_array_equal(volume[1:3, y0:y1, 5:9], whole[1:3, y0:y1, 5:9])
    volume[2:3, 18:20, :]  # at 8 and 8.44 rows: 7 to 10 of the crop
    assert spy.asked == ((2, 3), (4 + 7, 4 + 11), (0, 12))
    assert volume.absent_chunks((slice(0, 2), slice(18, 20))) == (2, 4 + 11)


def test_nan_stays_nan():
    values = np.ones((1, 9, 3), np.float32)
    values[0, 4, 1] = np.nan
    drawn = opened(values, (100, 16, 8))[0][:, :, :][0]
    bad = np.flatnonzero(np.isnan(drawn[:, 1]))
    assert {7, 8, 9} <= set(bad) <= set(range(4, 13))  # within two rows of the file
    assert np.isfinite(np.delete(drawn, 1, axis=1)).all()


@pytest.mark.parametrize(
    ("voxel_nm", "distance", "match"),
    [
        ((100, 8000, 8), 100, "got 100 x 8000 x 8 nm .z, y, x., wanted y and x within 10 times"),
        ((8, 40, 8), 8, "slices 8 nm apart, wanted y and x no longer than that: .* transpose"),
        ((8, 8, 16), 8, "slices 8 nm apart"),
    ],
)
def test_sizes_that_must_be_wrong(voxel_nm, distance, match):
    with pytest.raises(InputError, match=match):
        opened(noise((3, 5, 5)), voxel_nm, distance=distance)


def test_one_row_is_one_px():
    assert opened(noise((3, 1, 5)), (100, 16, 8))[0][:, :, :].shape == (3, 1, 5)
    assert cubic_taps(np.array([0.0]), 1).rows.tolist() == [[0], [0], [0], [0]]


def test_a_volume_of_a_file(tmp_path):
    """As OME-Zarr: what was written at every second row is read there."""
    values = noise((3, 20, 24), np.uint16)
    with create_volume(tmp_path / "a.ome.zarr", values.shape, values.dtype, (40, 16, 8)) as writer:
        writer[:, :, :] = values
    file = open_volume(tmp_path / "a.ome.zarr")
    volume, _ = squared(file, Box((0, 0, 0), file.shape), 40.0)
    np.testing.assert_array_equal(volume[:, ::1, :][:, ::2], values)
    assert volume.absent_chunks(slice(None))[0] == 0 and volume.format == file.format
