"""OME-Zarr and bare zarr: metadata as others write them, and as others read ours."""

import gzip
import json

import numpy as np
import pytest
import tensorstore as ts

from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 4.5, 5.25)
ARRAY = (np.arange(5 * 7 * 9) * 200).astype(np.uint16).reshape(5, 7, 9)


def _json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _array(path, form, array):
    """Store an array as one raw chunk, by hand."""
    if form == "zarr2":
        metadata = {"zarr_format": 2, "shape": array.shape, "chunks": array.shape, "order": "C"}
        metadata |= {"dtype": array.dtype.str, "fill_value": 0, "compressor": None, "filters": None}
        _json(path / ".zarray", metadata)
        (path / ".".join("0" * array.ndim)).write_bytes(array.tobytes())
        return
    chunks = {"name": "regular", "configuration": {"chunk_shape": array.shape}}
    metadata = {"zarr_format": 3, "node_type": "array", "shape": array.shape, "chunk_grid": chunks}
    metadata |= {"data_type": array.dtype.name, "fill_value": 0, "attributes": {}}
    metadata["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
    metadata["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    _json(path / "zarr.json", metadata)
    chunk = path / "c" / "/".join("0" * array.ndim)
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(array.tobytes())


def _group(path, form, attributes):
    if form == "zarr2":
        _json(path / ".zgroup", {"zarr_format": 2})
        _json(path / ".zattrs", attributes)
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}}
        _json(path / "zarr.json", group)


def _axes(names, unit="nanometer"):
    kinds = {"t": "time", "c": "channel"}
    spatial = {} if unit is None else {"unit": unit}
    return [
        {"name": name, "type": kinds[name]} if name in kinds else {"name": name, **spatial}
        for name in names
    ]


def _level(path, *scale):
    return {"path": path, "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
@pytest.mark.parametrize(
    ("unit", "factor"),
    [("nanometer", 1), ("micrometer", 1e3), ("angstrom", 0.1), ("millimeter", 1e6)],
)
def test_five_dimensions_and_units(tmp_path, form, unit, factor):
    axes = _axes("tczyx", unit)
    levels = [_level("0", 1, 1, 0.4, 0.045, 0.0525), _level("1", 1, 1, 0.4, 0.09, 0.105)]
    _group(tmp_path, form, {"multiscales": [{"axes": axes, "datasets": levels}]})
    _array(tmp_path / "0", form, ARRAY[None, None])
    _array(tmp_path / "1", form, ARRAY[None, None, :, ::2, ::2].copy())
    volume = open_volume(tmp_path)
    assert volume.format == form
    assert volume.voxel_nm == pytest.approx((0.4 * factor, 0.045 * factor, 0.0525 * factor))
    np.testing.assert_array_equal(volume[1:4, 2:6, 3:9], ARRAY[1:4, 2:6, 3:9])
    coarse = open_volume(tmp_path, dataset="1")
    assert coarse.voxel_nm == pytest.approx((0.4 * factor, 0.09 * factor, 0.105 * factor))
    np.testing.assert_array_equal(coarse[:], ARRAY[:, ::2, ::2])


def test_axes_are_taken_by_name(tmp_path):
    axes = _axes("xczy")
    _group(
        tmp_path, "zarr3", {"multiscales": [{"axes": axes, "datasets": [_level("0", 5, 1, 40, 4)]}]}
    )
    stored = np.ascontiguousarray(ARRAY.transpose(2, 0, 1)[:, None])
    _array(tmp_path / "0", "zarr3", stored)
    volume = open_volume(tmp_path)
    assert volume.voxel_nm == (40.0, 4.0, 5.0)
    np.testing.assert_array_equal(volume[0:3, 1:7], ARRAY[0:3, 1:7])


def test_group_scale_multiplies(tmp_path):
    multiscale = {"axes": _axes("zyx"), "datasets": [_level("0", 10, 2, 3)]}
    multiscale["coordinateTransformations"] = [{"type": "scale", "scale": [4, 2, 2]}]
    _group(tmp_path, "zarr2", {"multiscales": [multiscale]})
    _array(tmp_path / "0", "zarr2", ARRAY)
    assert open_volume(tmp_path).voxel_nm == (40.0, 4.0, 6.0)


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_two_channels(tmp_path, form):
    _group(
        tmp_path,
        form,
        {"multiscales": [{"axes": _axes("czyx"), "datasets": [_level("0", 1, 1, 1, 1)]}]},
    )
    _array(tmp_path / "0", form, np.stack([ARRAY, ARRAY]))
    with pytest.raises(ValueError, match=r"\(2, 5, 7, 9\).*czyx"):
        open_volume(tmp_path)


def test_scale_without_unit_is_no_voxel_size(tmp_path):
    axes = _axes("zyx", None)
    _group(tmp_path, "zarr3", {"multiscales": [{"axes": axes, "datasets": [_level("0", 1, 1, 1)]}]})
    _array(tmp_path / "0", "zarr3", ARRAY)
    with pytest.raises(ValueError, match=r"--config\.data\.voxel_nm"):
        open_volume(tmp_path)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ((40, 4), "scale: got 2 numbers for 3 axes"),
        ((-40, 4, 5), r"scale: got -40 in the file, wanted positive .*--config\.data\.voxel_nm"),
        ((40, 0, 5), "scale: got 0 in the file"),
    ],
)
def test_scales_that_are_none(tmp_path, scale, words):
    multiscale = {"axes": _axes("zyx"), "datasets": [_level("0", *scale)]}
    _group(tmp_path, "zarr2", {"multiscales": [multiscale]})
    _array(tmp_path / "0", "zarr2", ARRAY)
    with pytest.raises(ValueError, match=words):
        open_volume(tmp_path)
    if len(scale) == 3:
        assert open_volume(tmp_path, voxel_nm=VOXEL).voxel_nm == VOXEL


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_bare_array(tmp_path, form):
    _array(tmp_path / "v.zarr", form, ARRAY)
    with pytest.raises(ValueError, match="no voxel size"):
        open_volume(tmp_path / "v.zarr")
    volume = open_volume(tmp_path / "v.zarr", voxel_nm=VOXEL)
    assert volume.format == form
    np.testing.assert_array_equal(volume[2:5], ARRAY[2:5])


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_image_inside_a_container(tmp_path, form):
    _group(tmp_path, form, {})
    levels = [_level("s0", 40, 4, 4), _level("s1", 40, 8, 8)]
    _group(tmp_path / "em/raw", form, {"multiscales": [{"axes": _axes("zyx"), "datasets": levels}]})
    _array(tmp_path / "em/raw/s0", form, ARRAY)
    _array(tmp_path / "em/raw/s1", form, ARRAY[:, ::2, ::2].copy())
    assert open_volume(tmp_path, dataset="em/raw").voxel_nm == (40, 4, 4)
    assert open_volume(tmp_path, dataset="/em/raw/s1/").voxel_nm == (40, 8, 8)
    with pytest.raises(ValueError, match=r"dataset.*\['em'\]"):
        open_volume(tmp_path)


def test_bioformats2raw(tmp_path):
    _group(tmp_path, "zarr2", {"bioformats2raw.layout": 3})
    multiscale = {"axes": _axes("zyx"), "datasets": [_level("0", 40, 4, 4)]}
    _group(tmp_path / "0", "zarr2", {"multiscales": [multiscale]})
    _array(tmp_path / "0/0", "zarr2", ARRAY)
    np.testing.assert_array_equal(open_volume(tmp_path)[:], ARRAY)


def test_big_endian(tmp_path):
    _array(tmp_path, "zarr2", ARRAY.astype(">u2"))
    volume = open_volume(tmp_path, voxel_nm=VOXEL)
    assert volume.dtype.isnative
    np.testing.assert_array_equal(volume[:], ARRAY)


def _check_multiscale(multiscale):
    assert multiscale["name"] == "v"
    assert multiscale["axes"] == [
        {"name": axis, "type": "space", "unit": "nanometer"} for axis in ("z", "y", "x")
    ]
    level = _level("0", 40.0, 4.5, 5.25)
    level["coordinateTransformations"].append({"type": "translation", "translation": [0.0] * 3})
    assert multiscale["datasets"] == [level]


def test_written_0_4_as_json(tmp_path):
    path = tmp_path / "v.ome.zarr"
    with create_volume(path, ARRAY.shape, ARRAY.dtype, VOXEL, format="zarr2") as writer:
        writer[:] = ARRAY
    assert json.loads((path / ".zgroup").read_text()) == {"zarr_format": 2}
    (multiscale,) = json.loads((path / ".zattrs").read_text())["multiscales"]
    assert multiscale["version"] == "0.4"
    _check_multiscale(multiscale)
    array = json.loads((path / "0/.zarray").read_text())
    assert array["shape"] == array["chunks"] == [5, 7, 9]
    assert (array["dtype"], array["dimension_separator"]) == ("<u2", "/")
    assert gzip.decompress((path / "0/0/0/0").read_bytes()) == ARRAY.astype("<u2").tobytes()


def test_written_0_5_as_json(tmp_path):
    path = tmp_path / "v.ome.zarr"
    with create_volume(path, ARRAY.shape, ARRAY.dtype, VOXEL) as writer:
        writer[:] = ARRAY
    group = json.loads((path / "zarr.json").read_text())
    assert (group["zarr_format"], group["node_type"]) == (3, "group")
    assert group["attributes"]["ome"]["version"] == "0.5"
    (multiscale,) = group["attributes"]["ome"]["multiscales"]
    _check_multiscale(multiscale)
    array = json.loads((path / "0/zarr.json").read_text())
    assert (array["shape"], array["data_type"]) == ([5, 7, 9], "uint16")
    assert array["dimension_names"] == ["z", "y", "x"]
    assert gzip.decompress((path / "0/c/0/0/0").read_bytes()) == ARRAY.astype("<u2").tobytes()


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_chunks_are_64_at_most(tmp_path, form):
    path = tmp_path / "v.zarr"
    with create_volume(path, (3, 64, 200), "uint8", VOXEL, format=form):
        pass
    if form == "zarr2":
        chunks = json.loads((path / "0/.zarray").read_text())["chunks"]
    else:
        grid = json.loads((path / "0/zarr.json").read_text())["chunk_grid"]
        chunks = grid["configuration"]["chunk_shape"]
    assert chunks == [3, 64, 64]


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_a_chunk_read_before_is_read_anew_once_it_has_changed(tmp_path, form):
    _array(tmp_path, form, ARRAY)
    volume = open_volume(tmp_path, voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[1:2], ARRAY[1:2])
    chunk = tmp_path / ("0.0.0" if form == "zarr2" else "c/0/0/0")
    chunk.write_bytes((ARRAY + 1).tobytes())
    np.testing.assert_array_equal(volume[1:2], ARRAY[1:2] + 1)


def _bytes_read():
    (metric,) = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
    return metric["values"][0]["value"]


def test_planes_of_a_chunk_read_it_once(tmp_path):
    _array(tmp_path, "zarr3", ARRAY)
    volume, before = open_volume(tmp_path, voxel_nm=VOXEL), _bytes_read()
    for z in range(5):
        np.testing.assert_array_equal(volume[z : z + 1], ARRAY[z : z + 1])
    assert _bytes_read() - before == ARRAY.nbytes
