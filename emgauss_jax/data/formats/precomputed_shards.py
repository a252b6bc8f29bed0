"""The chunks in the shards of a precomputed volume."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts


def chunk_ids(ranges: Sequence[range], grid: Sequence[int]) -> np.ndarray:
    """Give the numbers of chunks: a compressed Morton code, bits of x, y and z in turn.

    Args:
      ranges: places of the chunks along x, y and z.
      grid: how many chunks there are along x, y and z.

    Returns:
      u64[number of chunks].
    """
    places = np.meshgrid(*(np.array(along, np.uint64) for along in ranges), indexing="ij")
    ids, shift = np.zeros_like(places[0]), 0
    lengths = [int(count - 1).bit_length() for count in grid]
    for bit in range(max(lengths)):
        for place, length in zip(places, lengths, strict=True):
            if bit < length:
                ids |= ((place >> np.uint64(bit)) & np.uint64(1)) << np.uint64(shift)
                shift += 1
    return ids.ravel()


def count_in_shards(
    folder: Path, sharding: dict[str, Any], grid: Sequence[range], wanted: Sequence[range]
) -> tuple[int, int]:
    """Count the chunks that no shard holds, from the shards' own indexes.

    Args:
      folder: of the scale.
      sharding: as `info` describes it.
      grid: all places along x, y and z.
      wanted: those of the chunks that are counted.

    Returns:
      (absent, all) of the wanted chunks.
    """
    base = {"driver": "file", "path": f"{folder.absolute().as_posix()}/"}
    spec = {"driver": "neuroglancer_uint64_sharded", "base": base, "metadata": sharding}
    there = ts.KvStore.open(spec).result().list().result()
    ids = np.frombuffer(b"".join(there), ">u8")
    asked = chunk_ids(wanted, [len(along) for along in grid])
    return len(asked) - int(np.isin(asked, ids).sum()), len(asked)
