"""The door: every format round trips, and every bad input is one clear line."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from emgauss_jax.data.atomic import is_partial_of
from emgauss_jax.data.volume import create_volume, open_volume, output_suffix

VOXEL = (40.0, 4.5, 5.25)
NAMES = {
    "v.ome.tif": "tiff",
    "v.tif": "tiff",
    "v.ome.zarr": "zarr3",
    "v.n5": "n5",
    "v.precomputed": "precomputed",
    "v.h5": "hdf5",
    "v.mrc": "mrc",
    "v.nii": "nifti",
    "v.npy": "npy",
}
CASES = [(name, None, form) for name, form in NAMES.items()] + [("v.ome.zarr", "zarr2", "zarr2")]


def _asymmetric(dtype):
    """All 5 x 7 x 9 = 315 voxels distinct (uint8: no transposition or flip maps it to itself)."""
    values = np.arange(315).reshape(5, 7, 9)
    if dtype == "uint8":
        return (values % 251).astype(dtype)
    return (values * 200 + 17).astype(dtype) if dtype == "uint16" else values.astype(dtype) - 7.25


def _write(path, array, voxel=VOXEL, **options):
    with create_volume(path, array.shape, array.dtype, voxel, **options) as writer:
        writer[:] = array
    return path


def _fails(words, call, *arguments, **options):
    """Expect a ValueError of one line that holds every one of the words."""
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("name", "form", "read_form"), CASES)
def test_round_trip(tmp_path, name, form, read_form, dtype):
    array = _asymmetric(dtype)
    path = _write(tmp_path / "new" / "folder" / name, array, format=form)
    volume = open_volume(path, voxel_nm=VOXEL if read_form == "npy" else None)
    assert volume.format == read_form
    assert volume.path == path
    assert volume.shape == (5, 7, 9)
    assert volume.dtype == np.dtype(dtype) and volume.dtype.isnative
    np.testing.assert_allclose(volume.voxel_nm, VOXEL, rtol=1e-6)
    whole = volume[:, :, :]
    assert type(whole) is np.ndarray and whole.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(whole, array)
    np.testing.assert_array_equal(volume[1:4, 2:3, 3:8], array[1:4, 2:3, 3:8])
    np.testing.assert_array_equal(volume[3:, :-2], array[3:, :-2])
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("name", "form", "read_form"), CASES)
def test_boxes_written_in_any_order_and_the_rest_is_zero(tmp_path, name, form, read_form):
    array = _asymmetric("uint16")
    path = tmp_path / name
    with create_volume(path, (5, 7, 9), "uint16", VOXEL, format=form) as writer:
        writer[3:5, 0:7, 4:9] = array[3:5, :, 4:9]
        writer[0:3, 2:7, 0:9] = array[0:3, 2:7]
    want = array.copy()
    want[3:5, :, :4] = 0
    want[0:3, :2] = 0
    np.testing.assert_array_equal(open_volume(path, voxel_nm=VOXEL)[:], want)


@pytest.mark.parametrize("name", ["v.ome.zarr", "v.n5", "v.precomputed", "v.h5"])
def test_more_than_one_chunk(tmp_path, name):
    array = np.arange(2 * 65 * 130, dtype=np.float32).reshape(2, 65, 130)
    volume = open_volume(_write(tmp_path / name, array))
    np.testing.assert_array_equal(volume[0:2, 60:65, 50:129], array[:, 60:65, 50:129])


@pytest.mark.parametrize("name", NAMES)
def test_single_slice_keeps_three_dimensions(tmp_path, name):
    array = _asymmetric("uint8")[:1]
    volume = open_volume(_write(tmp_path / name, array), voxel_nm=VOXEL)
    assert volume.shape == (1, 7, 9)
    np.testing.assert_array_equal(volume[:], array)


def test_a_read_box_is_the_callers_own(tmp_path):
    path = _write(tmp_path / "v.npy", _asymmetric("uint8"))
    volume = open_volume(path, voxel_nm=VOXEL)
    volume[:][:] = 0
    np.testing.assert_array_equal(volume[:], _asymmetric("uint8"))


def test_voxel_size_of_the_caller_wins(tmp_path):
    path = _write(tmp_path / "v.ome.tif", _asymmetric("uint8"))
    assert open_volume(path, voxel_nm=(30, 2, 3.5)).voxel_nm == (30.0, 2.0, 3.5)


@pytest.mark.parametrize(
    "voxel", [(40, 4), (40, 4, 0), (40, 4, -1), (40, 4, np.nan), (np.inf,) * 3]
)
def test_voxel_size_must_be_three_positive_lengths(tmp_path, voxel):
    path = _write(tmp_path / "v.npy", _asymmetric("uint8"))
    _fails(["voxel_nm", "positive"], open_volume, path, voxel_nm=voxel)
    _fails(["voxel_nm", "positive"], create_volume, tmp_path / "w.npy", (1, 2, 3), "uint8", voxel)


def test_no_voxel_size(tmp_path):
    path = _write(tmp_path / "v.npy", _asymmetric("uint8"))
    _fails(["v.npy", "--config.data.voxel_nm=z,y,x"], open_volume, path)


@pytest.mark.parametrize("shape", [(7, 9), (2, 5, 7, 9), (9,)])
def test_not_three_dimensional(tmp_path, shape):
    np.save(tmp_path / "v.npy", np.zeros(shape, np.uint8))
    _fails([str(shape), "3 dimensions"], open_volume, tmp_path / "v.npy", voxel_nm=VOXEL)


@pytest.mark.parametrize("shape", [(1, 5, 7, 9), (5, 1, 7, 9), (1, 5, 7, 9, 1)])
def test_singleton_axes_are_dropped(tmp_path, shape):
    array = _asymmetric("uint16")
    np.save(tmp_path / "v.npy", array.reshape(shape))
    np.testing.assert_array_equal(open_volume(tmp_path / "v.npy", voxel_nm=VOXEL)[:], array)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "complex64"])
def test_other_dtypes(tmp_path, dtype):
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 4), dtype))
    _fails([dtype, "wanted one of int8, uint8"], open_volume, tmp_path / "v.npy", voxel_nm=VOXEL)
    _fails([dtype, "uint8"], create_volume, tmp_path / "w.npy", (2, 3, 4), dtype, VOXEL)


@pytest.mark.parametrize("order", [">u2", "<u2", ">f4"])
def test_byte_order_becomes_native(tmp_path, order):
    array = _asymmetric("uint16").astype(order)
    np.save(tmp_path / "v.npy", np.asfortranarray(array))
    volume = open_volume(tmp_path / "v.npy", voxel_nm=VOXEL)
    assert volume.dtype.isnative and volume[:].dtype.isnative
    np.testing.assert_array_equal(volume[1:3], array[1:3])


def test_empty(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros((0, 3, 4), np.uint8))
    _fails(["empty", "(0, 3, 4)"], open_volume, tmp_path / "v.npy", voxel_nm=VOXEL)


def test_missing_file_and_unknown_suffix(tmp_path):
    _fails(["no such file", "gone.tif"], open_volume, tmp_path / "gone.tif")
    (tmp_path / "v.jpg").write_bytes(b"x")
    (tmp_path / "v.zarr").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    _fails(["v.jpg", ".tif"], open_volume, tmp_path / "v.jpg")
    _fails(["v.zarr", "got a file"], open_volume, tmp_path / "v.zarr")
    _fails(["folder", "zarr.json"], open_volume, tmp_path / "folder")
    _fails([".jpg"], create_volume, tmp_path / "w.jpg", (1, 2, 3), "uint8", VOXEL)


@pytest.mark.parametrize("name", ["v.tif", "v.h5", "v.mrc", "v.nii", "v.nii.gz", "v.npy"])
@pytest.mark.parametrize("content", [b"", b"no volume\n" * 200])
def test_garbage_in_a_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    _fails([name], open_volume, tmp_path / name, voxel_nm=VOXEL)


@pytest.mark.parametrize("name", ["zarr.json", ".zarray", "info", "attributes.json"])
@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"dimensions": 3, "scales": [{"key": 1}]}'])
def test_garbage_in_a_folder(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    _fails([tmp_path.name], open_volume, tmp_path, voxel_nm=VOXEL)


def test_a_folder_of_several_formats_is_of_the_first(tmp_path):
    found = {
        "attributes.json": "n5",
        "info": "precomputed",
        ".zattrs": "zarr2",
        "zarr.json": "zarr3",
    }
    for name, form in found.items():
        (tmp_path / name).write_text("{")
        _fails([f"read as {form}:"], open_volume, tmp_path)


@pytest.mark.parametrize("name", ["v.ome.tif", "v.mrc", "v.nii", "v.npy", "v.h5"])
def test_truncated(tmp_path, name):
    path = _write(tmp_path / name, np.ones((40, 30, 20), np.float32))
    path.write_bytes(path.read_bytes()[:-9000])
    _fails([name], lambda: open_volume(path, voxel_nm=VOXEL)[:])


def test_damaged_chunk_is_read_only_when_asked_for(tmp_path):
    array = np.arange(2 * 3 * 100, dtype=np.uint16).reshape(2, 3, 100)
    path = _write(tmp_path / "v.zarr", array)
    (path / "0/c/0/0/0").write_bytes(b"damaged")
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:, :, 64:], array[:, :, 64:])
    _fails(["v.zarr", "zarr3", "[0:2, 0:3, 0:100]"], volume.__getitem__, slice(None))


@pytest.mark.parametrize(
    ("name", "module"), [("v.h5", "h5py"), ("v.mrc", "mrcfile"), ("v.nii", "nibabel")]
)
def test_missing_package(tmp_path, monkeypatch, name, module):
    path = _write(tmp_path / name, _asymmetric("uint8"))
    monkeypatch.setitem(sys.modules, module, None)
    _fails([module, "pip install 'emgauss_jax[formats]'"], open_volume, path)
    new = create_volume(tmp_path / f"w{path.suffix}", (1, 2, 3), "uint8", VOXEL)
    _fails([module, "pip install 'emgauss_jax[formats]'"], new.__enter__)


@pytest.mark.parametrize("name", ["v.tif", "v.mrc", "v.nii", "v.npy"])
def test_a_dataset_where_there_is_none(tmp_path, name):
    path = _write(tmp_path / name, _asymmetric("uint8"))
    _fails(["dataset", "'raw'"], open_volume, path, dataset="raw", voxel_nm=VOXEL)


@pytest.mark.parametrize("name", ["v.zarr", "v.n5", "v.precomputed", "v.h5"])
def test_a_dataset_that_is_not_there(tmp_path, name):
    path = _write(tmp_path / name, _asymmetric("uint16"))
    _fails(["dataset", "'absent'"], open_volume, path, dataset="absent")


@pytest.mark.parametrize("key", [3, (slice(0, 4, 2),), (slice(None),) * 4, (slice(0, 1), 2)])
def test_boxes_are_slices(tmp_path, key):
    volume = open_volume(_write(tmp_path / "v.h5", _asymmetric("uint8")))
    _fails(["box", "z0:z1"], volume.__getitem__, key)


@pytest.mark.parametrize(("name", "form", "read_form"), CASES)
def test_failure_leaves_nothing(tmp_path, name, form, read_form):
    path = tmp_path / name
    with pytest.raises(KeyError, match="stop"):  # noqa: SIM117 (the partial is looked at between)
        with create_volume(path, (5, 7, 9), "uint8", VOXEL, format=form) as writer:
            writer[:] = _asymmetric("uint8")
            assert not path.exists()
            (partial,) = tmp_path.iterdir()
            assert is_partial_of(partial, path)
            raise KeyError("stop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["v.tif", "v.n5"])
def test_a_stale_partial_is_replaced(tmp_path, name):
    stale = tmp_path / f".{name}.partial"
    stale.mkdir()
    (stale / "leftover").write_text("old")
    path = _write(tmp_path / name, _asymmetric("uint8"))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert not (path / "leftover").exists()


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "v.tif"
    path.write_text("precious")
    _fails(["v.tif", "exists"], create_volume, path, (1, 2, 3), "uint8", VOXEL)
    late = tmp_path / "late.tif"
    writer = create_volume(late, (1, 2, 3), "uint8", VOXEL)
    writer.__enter__()
    late.write_text("precious")
    _fails(["late.tif", "exists"], writer.__exit__, None, None, None)
    assert path.read_text() == late.read_text() == "precious"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["late.tif", "v.tif"]


def test_what_is_written_must_fit(tmp_path):
    with create_volume(tmp_path / "v.npy", (5, 7, 9), "uint8", VOXEL) as writer:
        box = (slice(0, 2), slice(0, 7), slice(0, 9))
        message = "wanted uint8 of shape (2, 7, 9)"
        _fails([message, "float64"], writer.__setitem__, box, np.zeros((2, 7, 9)))
        _fails([message, "(7, 9)"], writer.__setitem__, box, np.zeros((7, 9), np.uint8))
    _fails(["with"], writer.__setitem__, box, np.zeros((2, 7, 9), np.uint8))


@pytest.mark.parametrize("shape", [(7, 9), (0, 7, 9), (1, 5, 7, 9)])
def test_created_shape(tmp_path, shape):
    _fails(["shape", str(shape)], create_volume, tmp_path / "v.tif", shape, "uint8", VOXEL)


def test_format_and_suffix_agree(tmp_path):
    for name, form in [("v.tif", "hdf5"), ("v.h5", "n5"), ("v", "tiff"), ("v.tif", "gif")]:
        _fails(
            ["format", form], create_volume, tmp_path / name, (1, 2, 3), "u1", VOXEL, format=form
        )
    path = _write(tmp_path / "nameless", _asymmetric("uint8"), format="n5")
    assert open_volume(path).format == "n5"


@pytest.mark.parametrize(("name", "form", "read_form"), CASES)
def test_output_suffix_keeps_the_voxel_size(tmp_path, name, form, read_form):
    path = _write(tmp_path / name, _asymmetric("uint8"), format=form)
    suffix = output_suffix(open_volume(path, voxel_nm=VOXEL))
    assert suffix == {"npy": ".ome.tif", "tiff": ".ome.tif"}.get(
        read_form, ".ome.zarr" if "zarr" in read_form else path.suffix
    )
    copy = _write(tmp_path / f"copy{suffix}", _asymmetric("uint8"))
    np.testing.assert_allclose(open_volume(copy).voxel_nm, VOXEL, rtol=1e-6)


def test_real_volume():
    path = Path("../shared/data/fib25_a.ome.tif")
    if not path.exists():
        pytest.skip(f"{path} is absent")
    volume = open_volume(path)
    assert (volume.shape, volume.dtype, volume.voxel_nm) == ((250,) * 3, np.uint8, (10.0,) * 3)
    want = tifffile.imread(path, key=17)
    np.testing.assert_array_equal(volume[17:18, 100:140, 30:50][0], want[100:140, 30:50])
