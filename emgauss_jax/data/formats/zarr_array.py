"""One zarr array, opened with tensorstore: metadata it is too strict for, and chunks on disk."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorstore as ts

from emgauss_jax.data.formats.chunked import Stored, open_array
from emgauss_jax.data.formats.interface import VolumeError, read_json
from emgauss_jax.data.formats.stored_chunks import (
    Box,
    Name,
    StoredChunks,
    count_files,
    has_any,
    none_there,
    touched,
    watch,
    with_suffixes,
)

_DRIVERS = {"zarr2": "zarr", "zarr3": "zarr3"}
# what the standards define; tensorstore takes no other members in a spec
_MEMBERS = {
    "zarr2": (
        "zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters",
        "dimension_separator",
    ),
    "zarr3": (
        "zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding",
        "fill_value", "codecs", "attributes", "dimension_names",
    ),
}  # fmt: skip


class ZarrArray(NamedTuple):
    """An opened array."""

    store: ts.TensorStore
    metadata: dict[str, Any]  # as the file has it
    stored: Stored
    notes: tuple[str, ...]


def _lenient(codec: Any) -> Any:
    """Change what tensorstore refuses in a codec and what no decoder looks at."""
    if not isinstance(codec, dict):
        return codec
    settings = dict(codec.get("configuration", codec))
    kind = codec.get("name", codec.get("id"))
    if kind in ("gzip", "zlib") and settings.get("level", 0) < 0:  # Java's "default"
        settings["level"] = 1
    if kind == "zstd" and "id" in codec:
        settings.pop("checksum", None)
    if kind == "sharding_indexed":
        settings["codecs"] = [_lenient(each) for each in settings["codecs"]]
    return {**codec, "configuration": settings} if "configuration" in codec else settings


def _readable(metadata: dict[str, Any], form: str) -> dict[str, Any]:
    if form == "zarr2":
        return {**metadata, "compressor": _lenient(metadata.get("compressor"))}
    return {**metadata, "codecs": [_lenient(each) for each in metadata.get("codecs", ())]}


def _joined(separator: str, prefix: tuple[str, ...] = ()) -> Name:
    return lambda index: separator.join((*prefix, *map(str, index)))


def _namings(form: str) -> Iterator[tuple[dict[str, Any], Name]]:
    """List all ways to name chunks: the member of the metadata that says it, and the names."""
    for separator in "/.":
        if form == "zarr2":
            yield {"dimension_separator": separator}, _joined(separator)
            continue
        for kind, prefix in (("default", ("c",)), ("v2", ())):
            encoding = {"name": kind, "configuration": {"separator": separator}}
            yield {"chunk_key_encoding": encoding}, _joined(separator, prefix)


def _said(metadata: dict[str, Any], form: str) -> dict[str, Any]:
    """Give the member of the metadata that says how chunks are named, defaults filled in."""
    if form == "zarr2":
        return {"dimension_separator": metadata.get("dimension_separator") or "."}
    encoding = metadata["chunk_key_encoding"]
    kind = encoding["name"]
    default = {"separator": "." if kind == "v2" else "/"}
    configuration = {**default, **encoding.get("configuration", {})}
    return {"chunk_key_encoding": {"name": kind, "configuration": configuration}}


def _located(
    folder: Path, shape: Sequence[int], edges: Sequence[int], said: dict[str, Any], form: str
) -> tuple[StoredChunks, dict[str, Any], tuple[str, ...]]:
    """Find out how the chunks on disk are named: as the metadata say, or else as they are.

    Returns:
      The chunks, the metadata that say their names, and a note if these are not the file's.
    """
    ways = sorted(_namings(form), key=lambda way: way[0] != said)
    names = [name for _, name in ways]
    for member, name in ways:
        others = [other for other in names if other is not name]
        others = (*others, *itertools.chain(*map(with_suffixes, names)))
        chunks = StoredChunks(folder, tuple(shape), tuple(edges), name, others=others)
        if has_any(chunks):
            first = [0] * len(shape)
            note = f"chunks are named {name(first)}, not {names[0](first)} as the metadata say"
            return chunks, member, () if name is names[0] else (note,)
    raise none_there(StoredChunks(folder, tuple(shape), tuple(edges), names[0]))


def _shard_index(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """Give the codec of shards where chunks are in shards, and in nothing else."""
    codecs = metadata.get("codecs", ())
    is_sharded = len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed"
    return codecs[0]["configuration"] if is_sharded else None


def _chunks_in(shard: Path, grid: Sequence[int], codec: dict[str, Any]) -> np.ndarray:
    """Tell which chunks a shard has, bool of shape `grid`."""
    has = np.zeros(grid, bool)
    spec = {
        "driver": "zarr3_sharding_indexed",
        "base": {"driver": "file", "path": shard.as_posix()},
        "grid_shape": list(grid),
        "index_codecs": codec["index_codecs"],
        "index_location": codec.get("index_location", "end"),
    }
    for key in ts.KvStore.open(spec).result().list().result():
        has[tuple(np.frombuffer(key, ">u4"))] = True
    return has


def _count_in_shards(shards: StoredChunks, codec: dict[str, Any], box: Box) -> tuple[int, int]:
    """Count the chunks of a box that no shard holds: (absent, all)."""
    inner = codec["chunk_shape"]
    grid = [edge // size for edge, size in zip(shards.edges, inner, strict=True)]
    chunks = touched(shards._replace(edges=tuple(inner)), box)
    present = 0
    for index in itertools.product(*touched(shards, box)):
        shard = shards.folder / shards.name(index)
        if shard.is_file():
            starts = [place * size for place, size in zip(index, grid, strict=True)]
            parts = tuple(
                slice(max(r.start - start, 0), min(r.stop - start, size))
                for r, start, size in zip(chunks, starts, grid, strict=True)
            )
            present += int(_chunks_in(shard.absolute(), grid, codec)[parts].sum())
    count = math.prod(map(len, chunks))
    count_files(shards, box)  # refuses shards that have other names
    return count - present, count


def _opened(folder: Path, form: str, metadata: dict[str, Any], given: dict[str, Any]) -> Any:
    """Open the array, with other metadata where those of the file cannot be taken as they are."""
    members = {}
    if given != metadata:
        known = {name: given[name] for name in _MEMBERS[form] if name in given}
        members = {"metadata": known, "assume_metadata": True, "open": True}
    try:
        return open_array(_DRIVERS[form], folder, **members)
    except ValueError as error:
        if "is not registered" not in str(error) and "not supported" not in str(error):
            raise
        names = ("compressor", "filters", "codecs")
        codecs = {name: given[name] for name in names if given.get(name)}
        raise VolumeError(
            f"compression: got {json.dumps(codecs)}, wanted a codec that tensorstore has, such as "
            "gzip, zlib, zstd or blosc: copy the array with another one"
        ) from None


def open_zarr(folder: Path, form: str) -> ZarrArray:
    """Open a zarr array for reading.

    Args:
      folder: of the array.
      form: "zarr2" or "zarr3".

    Returns:
      The array, its metadata and what is known of its chunks.

    Raises:
      VolumeError: it has chunks, but none of them is there; or it has a codec that is not known.
    """
    metadata = read_json(folder / (".zarray" if form == "zarr2" else "zarr.json"))
    readable = _readable(metadata, form)
    store = _opened(folder, form, metadata, readable)
    edges = store.chunk_layout.write_chunk.shape
    said = _said(metadata, form)
    shards, member, notes = _located(folder, store.shape, edges, said, form)
    if member != said:
        store = _opened(folder, form, metadata, {**readable, **member})
    codec = _shard_index(metadata) if form == "zarr3" else None

    def absent(box: Box) -> tuple[int, int]:
        if codec:
            return _count_in_shards(shards, codec, box)
        count = count_files(shards, box)
        return count.absent, count.all

    return ZarrArray(store, metadata, Stored(absent, watch(shards)), notes)
