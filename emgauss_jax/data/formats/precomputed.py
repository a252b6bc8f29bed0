"""neuroglancer precomputed: axes xyz and channel, resolution in nm, the corner in whole voxels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from emgauss_jax.data.formats.chunked import (
    Stored,
    chunked_reader,
    chunked_writer,
    open_array,
    writable_array,
)
from emgauss_jax.data.formats.coded_chunks import DECODERS, coded_store
from emgauss_jax.data.formats.interface import (
    DTYPES,
    Format,
    Layout,
    Level,
    Place,
    Reader,
    Slices,
    VolumeError,
    Voxel,
    Writer,
    read_json,
)
from emgauss_jax.data.formats.precomputed_shards import count_in_shards
from emgauss_jax.data.formats.stored_chunks import (
    SUFFIXES,
    Box,
    StoredChunks,
    count_files,
    has_any,
    none_there,
    touched,
    watch,
    with_suffixes,
)

_DRIVER = "neuroglancer_precomputed"


def _scale(info: dict[str, Any], dataset: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Choose a scale, and note it where that is not the first one."""
    scales = {scale["key"]: scale for scale in info.get("scales", ())}
    key = dataset or min(scales, key=lambda key: math.prod(scales[key]["resolution"]), default="")
    if key not in scales:
        raise VolumeError(f"dataset: got {dataset!r}, wanted a scale of `info`: {list(scales)}")
    first = next(iter(scales))
    if dataset or key == first:
        return scales[key], ()
    return scales[key], (f"scale {key} is read, the finest one, though {first} is listed first",)


def _chunks(folder: Path, store: ts.TensorStore) -> StoredChunks:
    """Tell how the chunks of a scale are named: by their box, x first."""
    shape, origin = store.shape[:3], store.domain.origin[:3]
    edges = store.chunk_layout.read_chunk.shape[:3]

    def name(index: Sequence[int]) -> str:
        starts = [place * edge for place, edge in zip(index, edges, strict=True)]
        stops = [min(a + edge, n) for a, edge, n in zip(starts, edges, shape, strict=True)]
        bounds = zip(starts, stops, origin, strict=True)
        return "_".join(f"{a + first}-{b + first}" for a, b, first in bounds)

    unknown = [suffix for suffix in SUFFIXES if suffix not in DECODERS]
    aliases, others = with_suffixes(name, list(DECODERS)), with_suffixes(name, unknown)
    return StoredChunks(folder, shape, edges, name, aliases, others)


def _xyz(box: Box) -> Box:
    """Turn a box of channel, z, y, x into one of x, y, z."""
    return box[:0:-1]


def _reader(store: ts.TensorStore, stored: Stored, scale: dict[str, Any], notes: Any) -> Reader:
    origin = store.domain.origin[2::-1]
    view = store.translate_to[(0,) * store.rank].T  # channel, z, y, x
    voxel_nm = tuple(scale["resolution"][::-1])

    def place(voxel: Voxel) -> Place:
        return Place(tuple((a + 0.5) * nm for a, nm in zip(origin, voxel, strict=True)))

    return chunked_reader(view, (1, 2, 3), lambda: voxel_nm, place, notes, stored)


def _unsharded(
    path: Path, store: ts.TensorStore, info: dict[str, Any], scale: dict[str, Any], notes: Any
) -> Reader:
    chunks = _chunks(path / scale["key"], store)
    if not has_any(chunks):
        raise none_there(chunks)
    aliased, coded = watch(chunks), coded_store(store, chunks, info, scale["key"])

    def absent(box: Box) -> tuple[int, int]:
        count = count_files(chunks, _xyz(box))
        return count.absent, count.all

    stored = Stored(absent, lambda box: None)
    plain, decoded = (_reader(each, stored, scale, notes) for each in (store, coded))

    def read(box: Slices) -> np.ndarray:
        reader = decoded if aliased(box[::-1]) else plain
        return reader.read(box)

    return plain._replace(read=read)


def _sharded(path: Path, store: ts.TensorStore, scale: dict[str, Any], notes: Any) -> Reader:
    folder = path / scale["key"]
    if math.prod(store.shape) and not any(folder.glob("*.shard")):
        raise VolumeError(f"chunks: got none in {folder.name}, wanted files such as 0.shard")
    chunks = _chunks(folder, store)

    def absent(box: Box) -> tuple[int, int]:
        grid = touched(chunks, chunks.whole)
        return count_in_shards(folder, scale["sharding"], grid, touched(chunks, _xyz(box)))

    return _reader(store, Stored(absent, lambda box: None), scale, notes)


def read(path: Path, dataset: str) -> Reader:
    """Open one scale of a precomputed volume.

    Args:
      path: the folder that holds `info`.
      dataset: the key of a scale; "" is the finest one, which should be the first.

    Returns:
      The volume. Its `voxel_offset` is where the corner of its first voxel lies, in voxels. Chunks
      that cloud-volume has compressed are read, too.

    Raises:
      VolumeError: there is no such scale, or no chunk of it.
    """
    info = read_json(path / "info")
    scale, notes = _scale(info, dataset)
    store = open_array(_DRIVER, path, scale_metadata={"key": scale["key"]})
    if store.shape[-1] != 1:
        raise VolumeError(f"got shape {store.shape[::-1]} (channel, z, y, x), wanted one channel")
    if scale.get("sharding"):
        return _sharded(path, store, scale, notes)
    return _unsharded(path, store, info, scale, notes)


def _offset(level: Level) -> list[int]:
    """Give the corner of a level in whole voxels (z, y, x), as near as they allow."""
    centre = zip(level.place.centre_nm, level.voxel_nm, strict=True)
    return [int(np.rint(nm / size - 0.5)) for nm, size in centre]


def levels(path: Path, layout: Layout, create: bool) -> tuple[ts.TensorStore, ...]:
    """Create the scales of a precomputed volume, or open them for writing.

    Args:
      path: the volume's folder.
      layout: the volume that the arrays hold.
      create: True creates the arrays, False opens existing ones.

    Returns:
      A zyx array for every level.
    """
    image = {"type": "image", "data_type": layout.dtype.name, "num_channels": 1}
    stores = []
    for level in layout.levels:
        resolution = level.voxel_nm[::-1]
        scale = {
            "key": "_".join(f"{size:g}" for size in resolution),
            "size": level.shape[::-1],
            "resolution": resolution,
            "voxel_offset": _offset(level)[::-1],
            "chunk_size": level.chunk[::-1],
            "encoding": "raw",
        }
        members = {"multiscale_metadata": image, "scale_metadata": scale}
        store = writable_array(_DRIVER, path, create, **members)[..., 0]
        stores.append(store.translate_to[0, 0, 0].T)
    return tuple(stores)


def create(path: Path, layout: Layout) -> Writer:
    """Create a precomputed volume, raw and unsharded, with one scale per level.

    Args:
      path: the folder to write.
      layout: the volume to write; the key of a scale is its resolution.

    Returns:
      The writer of the first level. `voxel_offset` is rounded: a level may lie up to half of its
      voxels from its place.
    """
    return chunked_writer(levels(path, layout, create=True)[0])


FORMAT = Format(
    name="precomputed",
    suffixes=(".precomputed",),
    read=read,
    create=create,
    output_suffix=".precomputed",
    contents=("info",),
    dtypes=tuple(name for name in DTYPES if name not in ("float16", "float64")),
    levels=levels,
)
