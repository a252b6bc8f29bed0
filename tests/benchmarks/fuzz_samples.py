"""Small valid volumes of every format, and the files of a workdir, to be damaged by `fuzz`."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import tensorstore as ts
import tifffile

from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.volume import create_volume
from emgauss_jax.execution.config_file import load_config
from emgauss_jax.pseudo_labels import store
from emgauss_jax.pseudo_labels.weights import SourceWeights
from emgauss_jax.storage import network_file, run_dir
from emgauss_jax.storage.files import write_json

SHAPE, VOXEL_NM = (5, 12, 10), (40.0, 8.0, 8.0)
CHUNK = (4, 8, 8)
VOLUME = np.random.default_rng(0).integers(1, 255, SHAPE).astype(np.uint8)
GZIP = {"id": "gzip", "level": 1}


class Sample(NamedTuple):
    """How a sample is made."""

    name: str  # of its file or folder
    make: Callable[[Path], None]
    states_size: bool = True  # whether the file says how large a voxel is


def _ours(path: Path) -> None:
    with create_volume(path, SHAPE, np.uint8, VOXEL_NM, chunk=CHUNK) as writer:
        writer[:] = VOLUME


def _zipped(compress: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        plain = path.with_suffix("")
        _ours(plain)
        path.write_bytes(compress(plain.read_bytes()))
        plain.unlink()

    return make


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # the same bytes every time


def _plain_tiff(path: Path) -> None:
    tifffile.imwrite(path, VOLUME, photometric="minisblack", compression="zlib", metadata=None)


def _pages_tiff(path: Path) -> None:
    tifffile.imwrite(path, VOLUME, photometric="minisblack", rowsperstrip=4, bigtiff=True)


def _pngs(path: Path) -> None:
    path.mkdir()
    for z, plane in enumerate(VOLUME):
        PIL.Image.fromarray(plane).save(path / f"slice_{z:03}.png")


def _tiffs(path: Path) -> None:
    path.mkdir()
    for z, plane in enumerate(VOLUME):
        tifffile.imwrite(path / f"slice_{z:03}.tif", plane, compression="zlib")


def _stored(path: Path, driver: str, **members: object) -> None:
    kvstore = {"driver": "file", "path": path.absolute().as_posix()}
    spec = {"driver": driver, "kvstore": kvstore, **members}
    array = ts.open(spec, create=True, open=True).result()
    array[...].write(
        VOLUME.reshape(array.shape) if array.rank == 3 else VOLUME.T[..., None]
    ).result()


def _bare_zarr2(path: Path) -> None:
    blosc = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    metadata = {"shape": SHAPE, "chunks": CHUNK, "dtype": "|u1", "compressor": blosc}
    _stored(path, "zarr", metadata=metadata)


def _sharded_zarr3(path: Path) -> None:
    inner = [{"name": "bytes", "configuration": {"endian": "little"}},
             {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]  # fmt: skip
    shards = {"chunk_shape": (4, 4, 4), "codecs": inner}
    grid = {"name": "regular", "configuration": {"chunk_shape": CHUNK}}
    codecs = [{"name": "sharding_indexed", "configuration": shards}]
    metadata = {"shape": SHAPE, "data_type": "uint8", "chunk_grid": grid, "codecs": codecs}
    _stored(path, "zarr3", metadata=metadata)


def _sharded_precomputed(path: Path) -> None:
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 1, "minishard_bits": 1,
        "shard_bits": 1, "hash": "identity", "data_encoding": "gzip",
        "minishard_index_encoding": "gzip",
    }  # fmt: skip
    scale = {
        "key": "8_8_40", "size": SHAPE[::-1], "resolution": VOXEL_NM[::-1],
        "chunk_size": (8, 8, 4), "encoding": "raw", "sharding": sharding,
    }  # fmt: skip
    image = {"type": "image", "data_type": "uint8", "num_channels": 1}
    _stored(path, "neuroglancer_precomputed", multiscale_metadata=image, scale_metadata=scale)


def _packed_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        array = file.create_dataset("raw", data=VOLUME, chunks=CHUNK, compression="gzip")
        array.attrs["resolution"] = VOXEL_NM


def _npy(path: Path) -> None:
    np.save(path, VOLUME)


def _network(path: Path) -> None:
    params = {"weights": np.arange(24, dtype=np.float32).reshape(4, 6)}
    learned = network_file.Learned(5, 2, 3, 1, (4, 8, 8))
    network_file.write(path, params, learned, load_config("niiv"))


def _workdir(path: Path) -> None:
    path.mkdir()
    run_dir.claim_workdir(path, load_config("emgauss"))
    run_dir.write_grey_range(path, IntensityRange(0.0, 255.0))
    run_dir.write_damaged(path, [(3, "dark")])
    run_dir.write_absent(path, (1, 9))
    one = {"interpolation": 1.0}
    labels = store.Labels(
        np.zeros((4, 6, 6), np.float16), np.ones((4, 6, 6), np.float16),
        np.arange(4, dtype=np.float32), 4, SourceWeights(one, 1.0, one, 1.0, {"all": 20.0}),
    )  # fmt: skip
    store.write_labels(path, labels)
    write_json(path / "log.json", json.loads("{}"))


SAMPLES = {
    "tiff_imagej": Sample("x.tif", _ours),
    "tiff_ome": Sample("x.ome.tif", _ours),
    "tiff_plain": Sample("x.tif", _plain_tiff, states_size=False),
    "tiff_big": Sample("x.tif", _pages_tiff, states_size=False),
    "folder_png": Sample("x", _pngs, states_size=False),
    "folder_tiff": Sample("x", _tiffs, states_size=False),
    "zarr2_bare": Sample("x.zarr", _bare_zarr2, states_size=False),
    "zarr3_sharded": Sample("x.zarr", _sharded_zarr3, states_size=False),
    "ome_zarr": Sample("x.ome.zarr", _ours),
    "n5": Sample("x.n5", _ours),
    "precomputed": Sample("x.precomputed", _ours),
    "precomputed_sharded": Sample("x.precomputed", _sharded_precomputed),
    "hdf5": Sample("x.h5", _ours),
    "hdf5_packed": Sample("x.h5", _packed_hdf5),
    "mrc": Sample("x.mrc", _ours),
    "mrc_gz": Sample("x.mrc.gz", _zipped(_gzip)),
    "mrc_bz2": Sample("x.mrc.bz2", _zipped(bz2.compress)),
    "nifti": Sample("x.nii", _ours),
    "nifti_gz": Sample("x.nii.gz", _zipped(_gzip)),
    "npy": Sample("x.npy", _npy, states_size=False),
    "network": Sample("x", _network),
    "workdir": Sample("x", _workdir),
}
