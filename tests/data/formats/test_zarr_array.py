"""Zarr arrays of other writers: chunks with other names, and metadata that they differ in."""

import json

import numpy as np
import pytest
import zarr

from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 8.0, 8.0)
# along every axis another number of chunks of 4, none of them whole at the end
ARRAY = np.random.default_rng(0).integers(1, 255, (7, 10, 19)).astype(np.uint8)


def _write(tmp_path, form, **options):
    path, options = tmp_path / "v.zarr", {"chunk": (4, 4, 4), "format": form, **options}
    with create_volume(path, ARRAY.shape, ARRAY.dtype, VOXEL, **options) as writer:
        writer[:] = ARRAY
    return path


def _fails(words, call, *arguments, **options):
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def _zarr(path, form, separator, stated, array=ARRAY):
    """Store chunks of 4 with one separator, and metadata that state another ("" nothing)."""
    encoding = {"name": "v2" if form == "zarr2" else "default", "separator": separator}
    zarr.create_array(
        path, data=array, chunks=(4,) * 3, chunk_key_encoding=encoding, zarr_format=int(form[-1])
    )
    name = path / (".zarray" if form == "zarr2" else "zarr.json")
    metadata = json.loads(name.read_text())
    if form == "zarr2":
        metadata.pop("dimension_separator", None)
        metadata |= {"dimension_separator": stated} if stated else {}
    else:
        settings = {"separator": stated[-1]} if stated else {}
        kind = "v2" if stated.startswith("v2") else "default"
        metadata["chunk_key_encoding"] = {"name": kind, "configuration": settings}
    name.write_text(json.dumps(metadata))
    return path


@pytest.mark.parametrize(
    ("form", "separator", "stated", "right"),
    [
        ("zarr2", "/", "", False), ("zarr2", "/", ".", False), ("zarr2", ".", "/", False),
        ("zarr2", "/", "/", True), ("zarr2", ".", "", True), ("zarr2", ".", ".", True),
        ("zarr3", "/", ".", False), ("zarr3", ".", "/", False), ("zarr3", "/", "v2/", False),
        ("zarr3", ".", "", False), ("zarr3", "/", "/", True), ("zarr3", "/", "", True),
    ],
)  # fmt: skip
def test_separator_that_is_not_the_stated_one(tmp_path, form, separator, stated, right):
    path = _zarr(tmp_path / "v.zarr", form, separator, stated)
    volume = open_volume(path, voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.absent_chunks(np.s_[:]) == (0, 30)
    first = separator.join([*(["c"] if form == "zarr3" else []), "0", "0", "0"])
    assert right == (volume.notes == ()) and all(
        note.startswith(f"chunks are named {first}, not ") for note in volume.notes
    )


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_chunks_of_both_separators_are_refused(tmp_path, form):
    path = _zarr(tmp_path / "v.zarr", form, "/", "/")
    prefix = "c" if form == "zarr3" else ""
    dotted = ".".join(filter(None, (prefix, "1", "2", "4")))
    (path / prefix / "1/2/4").rename(path / dotted)
    volume = open_volume(path, voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:4], ARRAY[:4])
    _fails([f"got a file {dotted}", "1/2/4"], volume.__getitem__, np.s_[:])
    _fails([f"got a file {dotted}", "1/2/4"], volume.absent_chunks, np.s_[:])


def _edited(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        {"compressor": {"id": "gzip", "level": -1}},
        {"compressor": {"id": "gzip", "level": -1}, "fill_value": None},
        {"fill_value": None},
    ],
    ids=str,
)
def test_zarr2_metadata_that_other_writers_have(tmp_path, change):
    path = _write(tmp_path, "zarr2")
    _edited(path / "0/.zarray", lambda content: content.update(change))
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], ARRAY)
    assert volume.notes == ()


@pytest.mark.parametrize("codec", ["Zstd", "Zlib", "GZip", "Blosc"])
def test_codecs_of_zarr_python(tmp_path, codec):
    numcodecs = pytest.importorskip("numcodecs")
    compressor = getattr(numcodecs, codec)()
    zarr.create_array(
        tmp_path / "v.zarr", data=ARRAY, chunks=(4,) * 3, zarr_format=2, compressors=compressor
    )
    volume = open_volume(tmp_path / "v.zarr", voxel_nm=VOXEL)
    np.testing.assert_array_equal(volume[:], ARRAY)


def test_zarr3_level_of_java(tmp_path):
    path = _write(tmp_path, "zarr3")
    _edited(path / "0/zarr.json", lambda array: array["codecs"][1].update(_gzip(-1)))
    np.testing.assert_array_equal(open_volume(path)[:], ARRAY)
    sharded = _write(tmp_path / "s", "zarr3", shard=(8, 4, 8))
    inner = {"chunk_shape": [4, 4, 4], "codecs": [{"name": "bytes"}, _gzip(-1)]}
    _edited(
        sharded / "0/zarr.json", lambda array: array["codecs"][0]["configuration"].update(inner)
    )
    np.testing.assert_array_equal(open_volume(sharded)[:], ARRAY)


def _gzip(level):
    return {"name": "gzip", "configuration": {"level": level}}


@pytest.mark.parametrize(
    ("form", "change", "word"),
    [
        ("zarr2", {"compressor": {"id": "lz4", "acceleration": 1}}, "lz4"),
        ("zarr2", {"filters": [{"id": "vlen-utf8"}]}, "vlen-utf8"),
        ("zarr3", {"codecs": [{"name": "bytes"}, {"name": "numcodecs.lzma"}]}, "numcodecs.lzma"),
    ],
)
def test_codecs_that_are_not_known(tmp_path, form, change, word):
    path = _write(tmp_path, form)
    name = ".zarray" if form == "zarr2" else "zarr.json"
    _edited(path / "0" / name, lambda content: content.update(change))
    _fails(["v.zarr: compression: got", word, "wanted a codec"], open_volume, path)
