"""What does not fit into memory in one piece is refused before memory is taken for it."""

import gzip
import json
import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
import tifffile

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats import units_in_memory
from emgauss_jax.data.volume import open_volume
from tests.benchmarks.fuzz_samples import CHUNK, SAMPLES, SHAPE, VOLUME, VOXEL_NM

MEMBER = gzip.compress(bytes(2**24), mtime=0)
TAIL = MEMBER * 1000  # 16 GiB of zeros in 16 MB


def made(form, folder):
    path = folder / SAMPLES[form].name
    SAMPLES[form].make(path)
    return path


def refused(path, words, most=2**27):
    """Open and read a corner; the bytes that Python and NumPy take on the way are counted."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=words) as caught:
            open_volume(path, voxel_nm=VOXEL_NM)[:2, :4, :4]
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("form", ["mrc_gz", "nifti_gz"])
def test_what_follows_the_voxels_of_a_compressed_file_is_not_decompressed(form, tmp_path):
    path = made(form, tmp_path)
    with path.open("ab") as file:
        file.write(TAIL)
    tracemalloc.start()
    volume = open_volume(path)
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()
    np.testing.assert_array_equal(volume[:], VOLUME)


@pytest.mark.parametrize(
    ("form", "start", "sizes"),
    [
        ("mrc_gz", 0, struct.pack("<3i", *[20_000] * 3)),
        ("nifti_gz", 40, struct.pack("<4h", 3, *[32_767] * 3)),
    ],
)
def test_a_compressed_file_whose_header_says_more_than_memory_is_refused(
    form, start, sizes, tmp_path
):
    path = made(form, tmp_path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[start : start + len(sizes)] = sizes
    path.write_bytes(gzip.compress(bytes(content)))
    refused(path, "decompressed file: got .* GiB in one piece, wanted at most")


@pytest.mark.parametrize(
    ("edges", "words"),
    [(10**4, "chunk: got 10,000 x 10,000 x 10,000"), (1, "wanted at most .* chunks")],
)
def test_chunks_of_zarr_fit_into_memory_and_are_not_without_number(edges, words, tmp_path):
    path = made("zarr2_bare", tmp_path)
    metadata = json.loads((path / ".zarray").read_text())
    metadata |= {"shape": [10**5] * 3, "chunks": [edges] * 3}
    (path / ".zarray").write_text(json.dumps(metadata))
    refused(path, words)


def test_a_volume_larger_than_memory_in_small_chunks_is_read(tmp_path):
    path = made("zarr2_bare", tmp_path)
    metadata = json.loads((path / ".zarray").read_text())
    metadata["shape"] = [10_000, 20_000, 20_000]  # 4 TB in chunks of 4 x 8 x 8 are too many
    (path / ".zarray").write_text(json.dumps({**metadata, "chunks": [64] * 3}))
    volume = open_volume(path, voxel_nm=VOXEL_NM)
    assert volume.shape == (10_000, 20_000, 20_000)
    assert not volume[5_000:5_002, :4, :4].any()  # absent: the fill value


def test_one_chunk_of_very_many_is_found_and_none_is_told_at_once(tmp_path):
    path = made("zarr2_bare", tmp_path)
    metadata = json.loads((path / ".zarray").read_text())
    metadata |= {"shape": [60_000] * 3, "chunks": [64] * 3}  # 8e8 names
    (path / ".zarray").write_text(json.dumps(metadata))
    for file in path.glob("0.*"):
        file.rename(path / "900.900.900")
    open_volume(path, voxel_nm=VOXEL_NM)
    for file in path.glob("*.*.*"):
        file.unlink()
    refused(path, "chunks: got none of 8")


@pytest.mark.parametrize("name", ["../x", "/etc", "a/../../x"])
def test_a_level_outside_of_its_container_is_refused(name, tmp_path):
    path = made("ome_zarr", tmp_path)
    text = (path / "zarr.json").read_text()
    assert '"path": "0"' in text
    (path / "zarr.json").write_text(text.replace('"path": "0"', f'"path": "{name}"'))
    refused(path, "path of a level: got")


def test_a_file_outside_of_its_folder_is_not_opened_for_an_ome_header(tmp_path):
    path = made("tiff_ome", tmp_path)
    text = tifffile.TiffFile(path).ome_metadata
    uuid = '<TiffData><UUID FileName="../x.tif">urn:uuid:1</UUID></TiffData></Pixels>'
    away = text.replace("</Pixels>", uuid)
    tifffile.imwrite(path, VOLUME, description=away, metadata=None)
    refused(path, "OME header names: got '../x.tif'")


def test_a_compressed_chunk_of_precomputed_gives_no_more_than_its_voxels(tmp_path):
    path = made("precomputed", tmp_path)
    (scale,) = (each for each in path.iterdir() if each.is_dir())
    first = scale / "_".join(f"0-{edge}" for edge in CHUNK[::-1])
    first.unlink()
    first.with_name(first.name + ".gz").write_bytes(TAIL)
    refused(path, "Expected chunk length to be 256")


def test_a_chunk_of_hdf5_holds_no_more_than_its_voxels(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        array = file.create_dataset("raw", SHAPE, "u1", chunks=SHAPE, compression="gzip")
        array.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(2**27)))
    refused(path, "dataset: got 1.* compressed bytes for 600 bytes of voxels")


def test_a_page_of_tiff_fits_into_memory(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, VOLUME, compression="zlib", metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        for page in tif.pages:
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                tag = page.tags[name]
                content[tag.offset : tag.offset + 12] = struct.pack("<HHII", tag.code, 4, 1, 10**6)
    path.write_bytes(content)
    refused(path, "page 0: got .*1,000,000 x 1,000,000.* GiB in one piece")


def test_a_png_fits_into_memory(tmp_path):
    head = struct.pack(">IIBBBBB", 10**6, 10**6, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d))
              for n, d in parts]  # fmt: skip
    for z in range(3):
        (tmp_path / f"{z}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    refused(tmp_path, "0.png: image: got 1,000,000 x 1,000,000")


def test_an_ome_header_with_entities_is_refused(tmp_path):
    path = tmp_path / "x.ome.tif"
    ome = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    laughs = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    text = f"{laughs}<OME {ome}><Image Name='&b;'/></OME>"
    tifffile.imwrite(path, VOLUME, description=text, metadata=None)
    refused(path, "DOCTYPE")


def test_json_of_a_gigabyte_is_not_read(tmp_path):
    path = made("zarr2_bare", tmp_path)
    with (path / ".zattrs").open("wb") as file:
        file.truncate(2**30)  # a hole: it takes no disk
    refused(path, ".zattrs: got 1,073,741,824 bytes of JSON")


def test_memory_is_known_and_a_limit_on_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    assert 2**28 < units_in_memory.memory() <= 2**50
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (12345, 12345))
    assert units_in_memory.memory() == 12345
