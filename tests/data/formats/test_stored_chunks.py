"""Chunks that are absent, compressed, or named otherwise than the metadata say."""

import bz2
import gzip
import json
import lzma
import shutil

import numpy as np
import pytest
import tensorstore as ts
import zarr

from emgauss_jax.data.concurrent_volume import begin, finish
from emgauss_jax.data.formats.precomputed_shards import chunk_ids
from emgauss_jax.data.volume import create_volume, open_volume

VOXEL = (40.0, 8.0, 8.0)
# along every axis another number of chunks of 4, none of them whole at the end
ARRAY = np.random.default_rng(0).integers(1, 255, (7, 10, 19)).astype(np.uint8)
GRID = (2, 3, 5)
FORMS = ["zarr2", "zarr3", "n5", "precomputed"]
ENDINGS = {"zarr2": ".zarr", "zarr3": ".zarr", "n5": ".n5", "precomputed": ".precomputed"}


def _write(tmp_path, form, array=ARRAY, **options):
    path = tmp_path / f"v{ENDINGS[form]}"
    options = {"chunk": (4, 4, 4), **options}
    with create_volume(path, array.shape, array.dtype, VOXEL, format=form, **options) as writer:
        writer[:] = array
    return path


def _folder(path, form):
    """Give the folder of the first level's chunks."""
    if form == "precomputed":
        return path / "8_8_40"
    return path / {"zarr2": "0", "zarr3": "0/c", "n5": "s0"}[form]


def _name(form, z, y, x):
    """Name a chunk as the format does."""
    if form != "precomputed":
        return "/".join(map(str, (x, y, z) if form == "n5" else (z, y, x)))
    edges = zip((x, y, z), ARRAY.shape[::-1], strict=True)
    return "_".join(f"{4 * i}-{min(4 * i + 4, n)}" for i, n in edges)


def _chunks(path, form):
    metadata = {".zarray", ".zattrs", ".zgroup", "zarr.json", "attributes.json", "info"}
    files = _folder(path, form).rglob("*")
    return [each for each in files if each.is_file() and each.name not in metadata]


def _fails(words, call, *arguments, **options):
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_absent_chunks_are_counted(tmp_path, form):
    path = _write(tmp_path, form)
    assert open_volume(path).absent_chunks(np.s_[:]) == (0, np.prod(GRID))
    for place in ((0, 0, 0), (1, 2, 4), (1, 0, 1)):
        (_folder(path, form) / _name(form, *place)).unlink()
    volume = open_volume(path)
    assert volume.absent_chunks(np.s_[:]) == (3, np.prod(GRID))
    assert volume.absent_chunks(np.s_[:4]) == (1, np.prod(GRID[1:]))  # (0, 0, 0)
    assert volume.absent_chunks(np.s_[4:7, 3:5, 7:9]) == (1, 4)  # (1, 0, 1)
    assert not volume[4:7, 8:, 16:].any() and volume[:4, 8:, 16:].all()


@pytest.mark.parametrize("form", FORMS)
def test_many_absent_chunks_are_counted_by_listing_folders(tmp_path, form):
    array = np.ones((20, 22, 24), np.uint8)
    path = _write(tmp_path, form, array, chunk=(2, 2, 2))
    files = sorted(_chunks(path, form))
    assert len(files) == 10 * 11 * 12
    for file in files[::7]:
        file.unlink()
    count = open_volume(path).absent_chunks(np.s_[:])
    assert count == (len(files[::7]), len(files))
    assert (open_volume(path)[:] == 0).sum() == 8 * len(files[::7])


@pytest.mark.parametrize("form", FORMS)
def test_a_volume_without_chunks_is_refused(tmp_path, form):
    path = _write(tmp_path, form)
    for file in _chunks(path, form):
        file.unlink()
    wanted = {"zarr3": "c/0/0/0"}.get(form, _name(form, 0, 0, 0))
    _fails([f"none of {np.prod(GRID)}", f"such as {wanted};", "no files"], open_volume, path)
    (_folder(path, form) / "leftover.tmp").write_bytes(b"x")
    _fails(["there are", "leftover.tmp"], open_volume, path)


@pytest.mark.parametrize("form", ["zarr2", "zarr3", "n5"])
@pytest.mark.parametrize("every", [1, 2])
def test_compressed_chunks_are_named(tmp_path, form, every):
    path = _write(tmp_path, form)
    for file in sorted(_chunks(path, form))[::every]:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    words = [".gz", "decompress all files that end in .gz (gunzip -r)"]
    if every == 1:
        _fails(words, open_volume, path)
    else:
        volume = open_volume(path)
        _fails(words, volume.__getitem__, np.s_[:])
        _fails(words, volume.absent_chunks, np.s_[:])


CODERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", CODERS)
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("offset", [(0, 0, 0), (16, -3, 5)])
@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_compressed_precomputed_chunks_are_read(tmp_path, suffix, every, offset, encoding):
    path = _precomputed(tmp_path / "v", encoding=encoding, voxel_offset=offset)
    files = sorted((path / "8_8_40").iterdir())
    for file in files[::every]:
        file.with_name(file.name + suffix).write_bytes(CODERS[suffix](file.read_bytes()))
        file.unlink()
    volume = open_volume(path)
    assert volume.absent_chunks(np.s_[:]) == (0, len(files))
    np.testing.assert_array_equal(volume[2:6, 3:9, 1:17], ARRAY[2:6, 3:9, 1:17])
    np.testing.assert_array_equal(volume[:], ARRAY)
    (path / "8_8_40" / (files[0].name + suffix)).unlink()
    assert open_volume(path).absent_chunks(np.s_[:]) == (1, len(files))
    assert (open_volume(path)[:] == 0).sum() == 64


def test_jpeg_is_read_as_it_is_stored(tmp_path):
    """It loses a little; of a flat volume nothing."""
    path = _precomputed(tmp_path / "v", encoding="jpeg", array=np.full(ARRAY.shape, 77, np.uint8))
    np.testing.assert_array_equal(open_volume(path)[:], 77)


def test_compressed_precomputed_chunks_that_are_not_understood(tmp_path):
    path = _precomputed(tmp_path / "v")
    files = sorted((path / "8_8_40").iterdir())
    files[0].rename(files[0].with_name(f"{files[0].name}.br"))
    volume = open_volume(path)
    _fails([".br", "brotli -d"], volume.__getitem__, np.s_[:])
    for file in files[1:]:
        file.rename(file.with_name(f"{file.name}.br"))
    _fails(["none of 30", ".br", "brotli -d"], open_volume, path)
    damaged = _precomputed(tmp_path / "w")
    chunk = min((damaged / "8_8_40").iterdir())
    chunk.rename(chunk.with_name(f"{chunk.name}.gz"))  # not compressed at all
    _fails(["w", "read as precomputed"], open_volume(damaged).__getitem__, np.s_[:])


def test_a_precomputed_offset_that_fits_no_chunk(tmp_path):
    path = _precomputed(tmp_path / "v")
    info = json.loads((path / "info").read_text())
    info["scales"][0]["voxel_offset"] = [1, 0, 0]
    (path / "info").write_text(json.dumps(info))
    _fails(["none of 30", "such as 1-5_0-4_0-4", "there are 0-4_"], open_volume, path)


def _precomputed(path, array=ARRAY, encoding="raw", voxel_offset=(0, 0, 0), **more):
    scale = {"key": "8_8_40", "size": array.shape[::-1], "resolution": VOXEL[::-1]}
    scale |= {"voxel_offset": voxel_offset, "chunk_size": [4, 4, 4], "encoding": encoding, **more}
    image = {"type": "image", "data_type": array.dtype.name, "num_channels": 1}
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": str(path)}}
    spec |= {"multiscale_metadata": image, "scale_metadata": scale}
    store = ts.open(spec, create=True).result()[..., 0].translate_to[0, 0, 0]
    store.T.write(array).result()
    return path


@pytest.mark.parametrize("hashing", ["identity", "murmurhash3_x86_128"])
def test_chunks_in_precomputed_shards(tmp_path, hashing):
    sharding = {"@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 1, "hash": hashing}
    sharding |= {"minishard_bits": 1, "shard_bits": 2, "data_encoding": "gzip"}
    path = _precomputed(tmp_path / "v", sharding=sharding)
    volume = open_volume(path)
    assert volume.absent_chunks(np.s_[:]) == (0, 30)
    np.testing.assert_array_equal(volume[:], ARRAY)
    shards = sorted((path / "8_8_40").glob("*.shard"))
    shards[0].unlink()
    volume = open_volume(path)
    empty = [not volume[_box(place)].any() for place in np.ndindex(GRID)]
    assert volume.absent_chunks(np.s_[:]) == (sum(empty), 30) and any(empty)
    for place, absent in zip(np.ndindex(GRID), empty, strict=True):
        assert volume.absent_chunks(_box(place)) == (int(absent), 1)
    for shard in shards[1:]:
        shard.unlink()
    _fails(["chunks: got none", ".shard"], open_volume, path)


def _box(place):
    return tuple(slice(4 * i, min(4 * i + 4, n)) for i, n in zip(place, ARRAY.shape, strict=True))


def test_numbers_of_chunks_take_bits_of_x_y_and_z_in_turn():
    # a grid of 5 x 3 x 2 chunks has 3, 2 and 1 bits: z0 y1 y0 x2 x1 x0 lie at z2 y1 y4 x0 x3 x5
    ids = chunk_ids((range(5), range(3), range(2)), (5, 3, 2)).reshape(5, 3, 2)
    assert (ids[1, 0, 0], ids[0, 1, 0], ids[0, 0, 1]) == (1, 2, 4)
    assert (ids[2, 0, 0], ids[0, 2, 0], ids[4, 0, 0]) == (8, 16, 32)
    assert ids[3, 1, 1] == 1 + 8 + 2 + 4


@pytest.mark.parametrize("location", ["start", "end"])
def test_chunks_in_zarr_shards(tmp_path, location):
    codec = zarr.codecs.ShardingCodec(chunk_shape=(4, 4, 4), index_location=location)
    array = zarr.create_array(
        tmp_path / "v.zarr", shape=ARRAY.shape, dtype="uint8", chunks=(8, 12, 8),
        serializer=codec, filters=[], compressors=[], fill_value=0,
    )  # fmt: skip
    array[:4, :, 8:] = ARRAY[:4, :, 8:]  # not the chunks at z = 1, nor those at x = 0 and 1
    volume = open_volume(tmp_path / "v.zarr", voxel_nm=VOXEL)
    assert volume.absent_chunks(np.s_[:]) == (30 - 3 * 3, 30)
    assert volume.absent_chunks(np.s_[:4, 4:, 8:]) == (0, 2 * 3)
    assert volume.absent_chunks(np.s_[3:5, 4:, 7:9]) == (3 * 2, 2 * 2 * 2)
    assert (volume[:4, :, 8:] == ARRAY[:4, :, 8:]).all() and not volume[4:].any()
    shutil.rmtree(tmp_path / "v.zarr/c")
    _fails(["none of 3", "c/0/0/0"], open_volume, tmp_path / "v.zarr", voxel_nm=VOXEL)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_volumes_of_our_own_lack_no_chunk(tmp_path, form, dtype):
    path, shape = tmp_path / f"v{ENDINGS[form]}", (5, 70, 130)
    volume = begin(path, shape, dtype, (8.0, 8.0, 8.0), format=form)
    volume.levels[0][:] = np.zeros(shape, dtype)
    for level in range(1, len(volume.levels)):
        for task in volume.tasks(level):
            volume.coarsen(task)
    finish(path)
    assert open_volume(path).absent_chunks(np.s_[:]) == (0, 2 * 3)
    keys = {"n5": ["s1", "s2"], "precomputed": ["16_16_16", "32_32_32"]}.get(form, ["1", "2"])
    assert [open_volume(path, dataset=key).absent_chunks(np.s_[:]) for key in keys] == [
        (0, 2), (0, 1),
    ]  # fmt: skip
    one = _write(tmp_path / "alone", form, np.zeros_like(ARRAY))
    assert open_volume(one).absent_chunks(np.s_[:]) == (0, 30)
