"""Precomputed chunks that cloud-volume has compressed: `0-64_0-64_0-64.gz` beside, or in place of,
the file that other readers look for. Each is decompressed and decoded in memory when it is read.
"""

import bz2
import gzip
import json
import lzma
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from emgauss_jax.data.formats.chunked import CACHE
from emgauss_jax.data.formats.stored_chunks import StoredChunks, touched
from emgauss_jax.data.formats.units_in_memory import SLACK, limited

DECODERS = {".gz": gzip, ".bz2": bz2, ".xz": lzma}


def _content(folder: Path, name: str, size: int) -> bytes | None:
    """Read a chunk under its own name or a compressed one; None if it is under neither.

    Args:
      size: bytes of its voxels; no more than twice as many come out of a compressed one.
    """
    for suffix in ("", *DECODERS):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            content = path.read_bytes()
            most = 2 * size + SLACK  # encodings such as compressed_segmentation have headers
            return limited(DECODERS[suffix], content, most) if suffix else content
    return None


def _decoded(info: dict[str, Any], key: str, name: str, content: bytes) -> ts.TensorStore:
    """Open a volume in memory that has one chunk alone."""
    context = ts.Context({"data_copy_concurrency": {"limit": 1}})  # its own: none waits for another
    memory = ts.KvStore.open({"driver": "memory"}, context=context).result()
    memory["info"] = json.dumps(info).encode()
    memory[f"{key}/{name}"] = content
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "memory"}}
    spec["scale_metadata"] = {"key": key}
    return ts.open(spec, read=True, context=context).result()


def coded_store(
    store: ts.TensorStore, chunks: StoredChunks, info: dict[str, Any], key: str
) -> ts.TensorStore:
    """Open a scale so that compressed chunks are found.

    Args:
      store: the scale as tensorstore opens it, axes x, y, z, channel and the file's origin.
      chunks: of its first three axes, which start at 0.
      info: the volume's metadata.
      key: of the scale.

    Returns:
      A store of the same domain; its decoded chunks are cached.
    """
    scale = next(scale for scale in info["scales"] if scale["key"] == key)
    alone = {**info, "scales": [{**scale, "key": "scale"}]}
    origin = store.domain.origin

    def read(domain: ts.IndexDomain, array: np.ndarray, _: Any) -> None:
        corner = [a - b for a, b in zip(domain.origin[:3], origin[:3], strict=True)]
        place = [along.start for along in touched(chunks, tuple(slice(a, a + 1) for a in corner))]
        name = chunks.name(place)
        content = _content(chunks.folder, name, math.prod(chunks.edges) * array.itemsize)
        if content is None:
            array[...] = 0
        else:
            array[...] = _decoded(alone, "scale", name, content)[domain].read().result()

    layout = ts.ChunkLayout(
        read_chunk_shape=store.chunk_layout.read_chunk.shape, grid_origin=origin
    )
    return ts.virtual_chunked(
        read, dtype=store.dtype, domain=store.domain, chunk_layout=layout, context=CACHE
    )
