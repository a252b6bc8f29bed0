"""`config.data.z_nm`: what is read, refused and said; and what the stack makes of it."""

import pathlib

import numpy as np
import pytest

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.opening import open_unmeasured
from emgauss_jax.data.slice_depths import (
    depths_text,
    read_depths,
    spacing_notes,
    to_nm,
    to_slices,
    written_out,
)
from emgauss_jax.data.tiling import Box
from tests.tiny_runs import default, make_stack


@pytest.mark.parametrize(
    "text",
    ["100,145,201.5", " 100, 145 ,201.5,", "100 145\t201.5", "100;145;201.5", "1e2,1.45e2,201.5"],
)
def test_numbers(text):
    assert read_depths(text, 3).tolist() == [0, 45, 101.5]
    assert read_depths(written_out(text), 3).tolist() == [0, 45, 101.5]


@pytest.mark.parametrize(
    "text",
    ["-10\n35\n91.5\n", "# nm\r\n-10,35 # the second\r\n\r\n91.5", "\ufeff-10, 35, 91.5"],
)
def test_a_file(tmp_path, text):
    path = tmp_path / "my depths.txt"
    path.write_bytes(text.encode())
    assert read_depths(str(path), 3).tolist() == [0, 45, 101.5]
    assert read_depths(depths_text(path), 3).tolist() == [0, 45, 101.5]
    assert written_out(str(path)) == "-10.0,35.0,91.5"


def test_from_python():
    for given in ([0, 45, 101.5], np.array([0, 45, 101.5]), (0.0, 45, np.float32(101.5))):
        assert read_depths(depths_text(given), 3).tolist() == [0, 45, 101.5]
    for bad in (None, 3, [[0, 1]], ["a"], {"a": 1}):
        with pytest.raises(InputError, match=r"z_nm: got .* wanted depths in nm"):
            depths_text(bad)
    every = np.cumsum(np.random.default_rng(0).uniform(30, 60, 9))
    np.testing.assert_array_equal(read_depths(depths_text(every), 9), every - every[0])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0,45", "data.z_nm: got 2 depths, wanted 3, one for every slice of the volume"),
        ("0,45,,101,160", "got 4 depths, wanted 3"),
        ("0,45,45", "got 45 nm for slice 2 after 45, wanted depths that rise from slice to slice$"),
        ("0,50,45", "got 45 nm for slice 2 after 50"),
        ("90,50,0", "turn their sign"),
        ("0,nan,90", "got nan for slice 1"),
        ("0,45,inf", "got inf for slice 2"),
        ("0,4x,90", "data.z_nm: got '4x', wanted depths in nm like 0,45,101.5$"),
        ("nowhere.txt", "got 'nowhere.txt', wanted depths in nm like 0,45,101.5, or a text file"),
        ("slice " * 999, "or a text file of them$"),
    ],
)
def test_what_cannot_be_depths(text, match):
    with pytest.raises(InputError, match=match) as error:
        read_depths(text, 3)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"slice depth\n0 45\n", r"d\.txt: line 1: got 'slice', wanted"),
        (b"0\n45 um\n90\n", r"d\.txt: line 2: got 'um', wanted"),
        (b"# nothing\n", r"d\.txt: got 0 depths, wanted 3"),
        (b"\xff\xfe0\x00", r"d\.txt: cannot be read as text"),
    ],
)
def test_a_file_of_something_else(tmp_path, content, match):
    path = pathlib.Path(tmp_path / "d.txt")
    path.write_bytes(content)
    with pytest.raises(InputError, match=match):
        read_depths(str(path), 3)


def test_what_is_said():
    depths = np.array([0, 45, 105, 165.0])
    assert spacing_notes(depths, 55.0) == ("slices lie 45 to 60 nm apart (mean 55): data.z_nm",)
    assert "(mean 55, not 50 as in voxel_nm)" in spacing_notes(depths, 50.0)[0]
    _, wide = spacing_notes(np.array([0, 40, 80, 220, 260.0]), 50.0)
    assert wide.startswith("slices 2 and 3 lie 140 nm apart, 3.5 times the median")


def test_a_missing_slice_has_no_say():
    depths, valid = np.array([0, 30, 100, 110, 160.0]), np.array([0, 1, 0, 1, 1], bool)
    nm, z = [0, 15, 30, 70, 100, 110, 135], [0, 0.5, 1, 2, 2.75, 3, 3.5]  # 80 nm from 1 to 3
    np.testing.assert_allclose(to_slices(np.array(nm), depths, valid), z)
    np.testing.assert_allclose(to_nm(np.array(z), depths, valid), nm)


def opened(path, **changes):
    config = default("linear")
    config.data.update(path=path, **changes)
    return open_unmeasured(config.data)


def test_a_stack_of_uneven_slices(tmp_path):
    """The crop cuts the list, and so does a part; the mean distance is the voxel size along z."""
    path = make_stack(tmp_path / "a.ome.tif")
    observed = opened(path, z_nm="5,45,95,135,200,240", crop="1:6,2:20,:", missing=(2,))
    assert observed.depths_nm.tolist() == [40, 90, 130, 195, 235]
    assert observed.voxel_nm == (48.75, 10, 10) and observed.z.tolist() == [0, 1, 2, 3, 4]
    assert "40 to 65 nm apart (mean 48.75, not 40 as in voxel_nm)" in observed.volume.notes[-1]
    part = observed.part(Box((1, 0, 0), (3, 8, 8)))
    assert part.depths_nm.tolist() == [90, 130, 195] and part.voxel_nm == observed.voxel_nm
    plain = opened(path)
    assert plain.depths_nm is None and plain.volume.notes == () and plain.voxel_nm[0] == 40
    with pytest.raises(InputError, match="z_nm: got it with simulate_factor 2, wanted one of them"):
        opened(path, z_nm="0,40,80,120,160,200", simulate_factor=2)


def test_a_stack_of_tall_px(tmp_path):
    """The crop counts voxels of the file; the stack, all it reads and its parts count px."""
    path = make_stack(tmp_path / "a.ome.tif", voxel_nm=(40.0, 20.0, 10.0))
    observed = opened(path, crop="1:5,4:16,3:23")
    assert observed.shape == (4, 23, 20) and observed.voxel_nm == (40, 10, 10)
    assert (observed.suffix, observed.volume.format) == (".ome.tif", "tiff")
    file = opened(path, voxel_nm=(40.0, 10.0, 10.0), crop="1:5,4:16,3:23")
    np.testing.assert_array_equal(observed.slices[:, ::2], file.slices)
    part = observed.part(Box((1, 5, 2), (2, 9, 8)))
    np.testing.assert_array_equal(part.slices, observed.slices[1:3, 5:14, 2:10])
    assert "y px of 20 nm are resampled to 10 nm" in observed.volume.notes[-1]
    both = opened(path, z_nm="0,40,80,130,170,210")
    assert len(both.volume.notes) == 2 and both.voxel_nm == (42, 10, 10)


def test_where_a_crop_of_uneven_slices_and_tall_px_lies(tmp_path):
    path = make_stack(tmp_path / "a.ome.tif", voxel_nm=(40.0, 20.0, 10.0))
    observed = opened(path, z_nm="5,45,95,135,200,240", crop="1:6,4:16,3:23", missing=(2,))
    assert observed.corner.centre_nm == (40, 80, 30)
    places = {
        0: 40,
        0.5: 65,
        1: 90,
        2: 142.5,
        3: 195,
        4: 235,
    }  # 2 is missing: between its neighbours
    assert {z: observed.place_at(z).centre_nm[0] for z in places} == places
    part = observed.part(Box((1, 6, 2), (3, 8, 8)))
    assert part.corner.centre_nm == (90, 140, 50)
    assert part.place_at(2).centre_nm == (142.5, 140, 50)
