"""N5, precomputed, HDF5 and MRC: dialects and traps of each."""

import json
import re

import h5py
import mrcfile
import numpy as np
import pytest
import tensorstore as ts

from emgauss_jax.data.formats.units import to_nm
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 4.5, 5.25)
ARRAY = (np.arange(5 * 7 * 9) * 200).astype(np.uint16).reshape(5, 7, 9)


def _json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write(path, array=ARRAY):
    with create_volume(path, array.shape, array.dtype, VOXEL) as writer:
        writer[:] = array
    return path


def _n5_array(path, attributes=(), array=ARRAY):
    """Store a zyx array as N5 by hand: one raw block, big-endian, sizes x first."""
    sizes = array.shape[::-1]
    metadata = {"dimensions": sizes, "blockSize": sizes, "dataType": "uint16"}
    _json(path / "attributes.json", metadata | {"compression": {"type": "raw"}, **dict(attributes)})
    block = path / "/".join("0" * array.ndim)
    block.parent.mkdir(parents=True, exist_ok=True)
    header = np.array([0, array.ndim], ">u2").tobytes() + np.array(sizes, ">u4").tobytes()
    block.write_bytes(header + array.astype(">u2").tobytes())


PIXEL = {"pixelResolution": {"dimensions": [5.25, 4.5, 40.0], "unit": "nm"}}
PIXEL_UM = {"pixelResolution": {"dimensions": [0.00525, 0.0045, 0.04], "unit": "um"}}
PAINTERA = {"resolution": [5.25, 4.5, 40.0]}
COSEM = {"axes": ["z", "y", "x"], "scale": [40.0, 4.5, 5.25], "units": ["nm"] * 3}
COSEM_XYZ = {"axes": ["x", "y", "z"], "scale": [5.25, 4.5, 40.0], "units": ["nm"] * 3}


@pytest.mark.parametrize(
    "attributes",
    [PIXEL, PIXEL_UM, PAINTERA, {"transform": COSEM}, {"transform": COSEM_XYZ}],
    ids=str,
)
def test_n5_dialects(tmp_path, attributes):
    _n5_array(tmp_path / "s0", attributes)
    _json(tmp_path / "attributes.json", {"n5": "2.0.0"})
    volume = open_volume(tmp_path)
    assert volume.voxel_nm == pytest.approx(VOXEL)
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], ARRAY[1:4, 2:6, 3:9])
    assert open_volume(tmp_path / "s0").voxel_nm == pytest.approx(VOXEL)


@pytest.mark.parametrize("attributes", [PIXEL, PAINTERA], ids=str)
def test_n5_group_states_the_size_and_levels_their_factors(tmp_path, attributes):
    path = tmp_path / "v.n5"
    _n5_array(path / "em/s0")
    _n5_array(path / "em/s1", {"downsamplingFactors": [4, 2, 1]})
    _json(path / "em/attributes.json", attributes)
    assert open_volume(path, dataset="em").voxel_nm == pytest.approx(VOXEL)
    assert open_volume(path, dataset="em/s1").voxel_nm == pytest.approx((40.0, 9.0, 21.0))


def test_n5_without_voxel_size(tmp_path):
    _n5_array(tmp_path / "v.n5")
    with pytest.raises(ValueError, match="no voxel size"):
        open_volume(tmp_path / "v.n5")
    np.testing.assert_array_equal(open_volume(tmp_path / "v.n5", voxel_nm=VOXEL)[:], ARRAY)


def test_n5_singleton_channel(tmp_path):
    attributes = {"axes": ["x", "y", "c", "z"], "resolution": [5.25, 4.5, 1.0, 40.0]}
    _n5_array(tmp_path, attributes, ARRAY[:, None])
    volume = open_volume(tmp_path)
    assert volume.voxel_nm == VOXEL
    np.testing.assert_array_equal(volume[:], ARRAY)


def test_n5_written(tmp_path):
    path = _write(tmp_path / "v.n5")
    group = json.loads((path / "attributes.json").read_text())
    array = json.loads((path / "s0/attributes.json").read_text())
    assert group["n5"] and group["scales"] == [[1, 1, 1]]
    for attributes in (group, array):
        assert attributes["pixelResolution"] == {"dimensions": [5.25, 4.5, 40.0], "unit": "nm"}
        assert attributes["resolution"] == [5.25, 4.5, 40.0]
        assert attributes["units"] == ["nm"] * 3
    assert array["dimensions"] == [9, 7, 5]


def _spec(path):
    return {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": str(path)}}


def test_precomputed_offset_and_scales(tmp_path):
    image = {"type": "image", "data_type": "uint16", "num_channels": 1}
    scales = [("a", 1, [5.25, 4.5, 40.0], [100, 20, 3]), ("b", 2, [10.5, 9.0, 40.0], [50, 10, 3])]
    for key, step, resolution, offset in scales:
        xyz = ARRAY[:, ::step, ::step].T
        scale = {"key": key, "size": xyz.shape, "resolution": resolution, "encoding": "raw"}
        scale |= {"voxel_offset": offset, "chunk_size": [4, 4, 4]}
        spec = {**_spec(tmp_path), "multiscale_metadata": image, "scale_metadata": scale}
        store = ts.open(spec, create=True, open=True).result()
        store[..., 0].write(xyz).result()
    volume = open_volume(tmp_path)
    assert (volume.format, volume.voxel_nm) == ("precomputed", VOXEL)
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], ARRAY[1:4, 2:6, 3:9])
    coarse = open_volume(tmp_path, dataset="b")
    assert coarse.voxel_nm == (40.0, 9.0, 10.5)
    np.testing.assert_array_equal(coarse[:], ARRAY[:, ::2, ::2])


def test_precomputed_two_channels(tmp_path):
    image = {"type": "image", "data_type": "uint16", "num_channels": 2}
    scale = {"size": [4, 3, 2], "resolution": [1, 1, 1], "encoding": "raw", "chunk_size": [4, 3, 2]}
    spec = {**_spec(tmp_path), "multiscale_metadata": image, "scale_metadata": scale}
    ts.open(spec, create=True).result()
    with pytest.raises(ValueError, match=r"\(2, 2, 3, 4\)"):
        open_volume(tmp_path)


def test_precomputed_written(tmp_path):
    path = _write(tmp_path / "v.precomputed")
    info = json.loads((path / "info").read_text())
    assert (info["type"], info["data_type"], info["num_channels"]) == ("image", "uint16", 1)
    (scale,) = info["scales"]
    assert (scale["resolution"], scale["size"]) == ([5.25, 4.5, 40.0], [9, 7, 5])
    assert scale["voxel_offset"] == [0, 0, 0]
    # raw chunks are x fastest, which is zyx in C order; the name is the box, x first
    assert (path / scale["key"] / "0-9_0-7_0-5").read_bytes() == ARRAY.astype("<u2").tobytes()


def test_hdf5_written(tmp_path):
    path = _write(tmp_path / "v.h5")
    with h5py.File(path) as file:
        array = file["volumes/raw"]
        np.testing.assert_array_equal(array[:], ARRAY)
        np.testing.assert_array_equal(array.attrs["resolution"], VOXEL)
        np.testing.assert_allclose(array.attrs["element_size_um"], [0.04, 0.0045, 0.00525])


def _h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array


def test_hdf5_which_dataset(tmp_path):
    _h5(tmp_path / "one.hdf", main=ARRAY, table=np.zeros((3, 2)), note="text")
    np.testing.assert_array_equal(open_volume(tmp_path / "one.hdf", voxel_nm=VOXEL)[:], ARRAY)
    _h5(tmp_path / "two.h5", volumes__raw=ARRAY, volumes__labels=ARRAY[:2])
    assert open_volume(tmp_path / "two.h5", voxel_nm=VOXEL).shape == (5, 7, 9)
    labels = open_volume(tmp_path / "two.h5", dataset="/volumes/labels", voxel_nm=VOXEL)
    assert labels.shape == (2, 7, 9)
    _h5(tmp_path / "unclear.h5", a=ARRAY, b=ARRAY)
    with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
        open_volume(tmp_path / "unclear.h5", voxel_nm=VOXEL)
    _h5(tmp_path / "flat.h5", a=ARRAY[0])
    with pytest.raises(ValueError, match=r"got 'a', wanted an array of 3 .* inside are \['a'\]"):
        open_volume(tmp_path / "flat.h5", dataset="a", voxel_nm=VOXEL)


@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 5, 7, 9)])
def test_hdf5_voxel_size(tmp_path, shape):
    _h5(tmp_path / "v.h5", volumes__raw=ARRAY.reshape(shape).astype(">u2"))
    with pytest.raises(ValueError, match="no voxel size"):
        open_volume(tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5", "r+") as file:
        file["volumes/raw"].attrs["element_size_um"] = [0.03, 0.002, 0.001]
    assert open_volume(tmp_path / "v.h5").voxel_nm == pytest.approx((30, 2, 1))
    with h5py.File(tmp_path / "v.h5", "r+") as file:
        file["volumes/raw"].attrs["resolution"] = (1.0,) * (len(shape) - 3) + VOXEL
        file["volumes/raw"].attrs["offset"] = (400.0, 0.0, 0.0)
    with pytest.raises(
        ValueError, match=r"resolution \(40.0, .* element_size_um \(30.0, 2.0, 1.0\)"
    ):
        open_volume(tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5", "r+") as file:
        del file["volumes/raw"].attrs["element_size_um"]
    volume = open_volume(tmp_path / "v.h5")
    assert volume.voxel_nm == VOXEL
    np.testing.assert_array_equal(volume[1:3], ARRAY[1:3])


@pytest.mark.parametrize(("dtype", "mode"), [("uint8", 0), ("uint16", 6), ("float32", 2)])
def test_mrc_written(tmp_path, dtype, mode):
    array = (ARRAY % 256).astype(dtype)
    path = _write(tmp_path / "v.mrc", array)
    with mrcfile.open(path) as mrc:
        assert mrc.header.mode == mode
        assert mrc.is_volume()
        size = mrc.voxel_size
        np.testing.assert_allclose([size.z, size.y, size.x], [400, 45, 52.5], rtol=1e-6)
        stored = array.astype(int) - 128 if mode == 0 else array
        np.testing.assert_array_equal(mrc.data, stored)
        assert (mrc.header.dmin, mrc.header.dmax) == (stored.min(), stored.max())
    assert mrcfile.validate(path)


def _mrc(path, array, size=(52.5, 45.0, 400.0)):
    with mrcfile.new(path) as mrc:
        mrc.set_data(array)
        mrc.voxel_size = size


def test_mrc_signed_bytes(tmp_path):
    array = np.array([-128, -1, 0, 127], np.int8).reshape(2, 1, 2)
    _mrc(tmp_path / "v.rec", array)
    volume = open_volume(tmp_path / "v.rec")
    assert volume.dtype == np.uint8
    assert volume.voxel_nm == pytest.approx(VOXEL)
    np.testing.assert_array_equal(volume[:].ravel(), [0, 127, 128, 255])


@pytest.mark.parametrize(("flags", "want"), [(0, [0, 127, 128, 255]), (1, [128, 255, 0, 127])])
def test_mrc_bytes_of_imod(tmp_path, flags, want):
    _mrc(tmp_path / "v.mrc", np.array([0, 127, 128, 255], np.uint8).view(np.int8).reshape(2, 1, 2))
    content = bytearray((tmp_path / "v.mrc").read_bytes())
    content[152:160] = np.array([1146047817, flags], "<i4").tobytes()
    (tmp_path / "v.mrc").write_bytes(content)
    np.testing.assert_array_equal(open_volume(tmp_path / "v.mrc")[:].ravel(), want)


def test_mrc_without_cell(tmp_path):
    _mrc(tmp_path / "v.mrc", ARRAY, (0, 0, 0))
    with pytest.raises(ValueError, match="no voxel size"):
        open_volume(tmp_path / "v.mrc")


def test_mrc_signed_words_and_other_axis_orders(tmp_path):
    _mrc(tmp_path / "words.mrc", ARRAY.astype(np.int16))
    words = open_volume(tmp_path / "words.mrc")
    assert words.dtype == np.int16
    np.testing.assert_array_equal(words[:], ARRAY.astype(np.int16))
    _mrc(tmp_path / "turned.mrc", ARRAY)
    with mrcfile.open(tmp_path / "turned.mrc", "r+") as mrc:
        mrc.header.mapc, mrc.header.maps = 3, 1
    np.testing.assert_array_equal(open_volume(tmp_path / "turned.mrc")[:], ARRAY.T)


@pytest.mark.parametrize(
    ("unit", "nm"),
    [
        ("nanometers", 1),
        ("NM", 1),
        ("\u00b5m", 1e3),  # micro sign
        ("\u03bcm", 1e3),  # Greek mu
        ("\\u00B5m", 1e3),
        ("microns", 1e3),
        ("Ångström", 0.1),
        ("\u212b", 0.1),
        ("meter", 1e9),
        ("inches", 25.4e6),
        ("in", 25.4e6),
        ("mil", 25.4e3),
        ("nanometres", 1),
        ("A\u030angstroms", 0.1),
        ("A", 0.1),
    ],
)
def test_units(unit, nm):
    assert to_nm(3.0, unit) == pytest.approx(3 * nm)


def test_units_are_exact():
    """Of 45 angstrom, 4.5 um and 300 pm, nothing is added by rounding."""
    assert [to_nm(45, "Å"), to_nm(0.0045, "um"), to_nm(300, "pm")] == [4.5, 4.5, 0.3]


@pytest.mark.parametrize("unit", ["second", "pixel", "reference frame", " ", "", "?m", "px"])
def test_unit_that_is_no_length(unit):
    with pytest.raises(ValueError, match=f"unit {re.escape(repr(unit))}.*voxel_nm=z,y,x"):
        to_nm(1.0, unit)
