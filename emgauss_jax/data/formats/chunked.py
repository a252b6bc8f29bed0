"""What the chunked formats share: arrays opened and created with tensorstore."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorstore as ts

from emgauss_jax.data.formats.interface import Place, Reader, Slices, Voxel, Writer, at_origin
from emgauss_jax.data.formats.units_in_memory import check_chunks

# Decoded chunks are cached, otherwise planes read one by one would each decode every chunk they
# cross. The cache helps while 64 planes fit into it: up to 2048 x 2048 px of uint8.
CACHE = ts.Context({"cache_pool": {"total_bytes_limit": 256 * 2**20}})


Box = tuple[slice, ...]


def _spec(driver: str, path: Path, members: dict[str, Any]) -> dict[str, Any]:
    kvstore = {"driver": "file", "path": Path(os.path.abspath(path)).as_posix()}
    return {"driver": driver, "kvstore": kvstore, **members}


def open_array(driver: str, path: Path, **members: Any) -> ts.TensorStore:
    """Open an array for reading, metadata only; `members` are added to the tensorstore spec."""
    store = ts.open(_spec(driver, path, members), read=True, context=CACHE).result()
    itemsize = store.dtype.numpy_dtype.itemsize
    check_chunks(store.shape, store.chunk_layout.read_chunk.shape, itemsize)
    return store


def writable_array(driver: str, path: Path, create: bool, **members: Any) -> ts.TensorStore:
    """Create an array with the metadata in `members`, or open one created with the same.

    Chunks of zeros are stored too, so that none is absent of a volume that is written whole.
    """
    mode = {"create": True} if create else {"open": True}
    spec = _spec(driver, path, {**members, "store_data_equal_to_fill_value": True})
    return ts.open(spec, read=True, write=True, **mode).result()


class Stored(NamedTuple):
    """What is known of an array's chunks on disk; boxes are of all its axes."""

    absent: Callable[[Box], tuple[int, int]]  # chunks of a box: (those that are absent, all)
    check: Callable[[Box], Any]  # raises where reading a box would miss a chunk that is there


def chunked_reader(
    store: ts.TensorStore,
    zyx: Sequence[int],
    voxel_nm: Callable[[], Voxel | None],
    place: Callable[[Voxel], Place] = at_origin,
    notes: tuple[str, ...] = (),
    stored: Stored | None = None,
) -> Reader:
    """Wrap a store as a Reader with axes z, y, x.

    Args:
      store: axes in C order, origin 0; all but three have length 1.
      zyx: those that are z, y and x.
      voxel_nm: see `Reader`.
      place: see `Reader`.
      notes: see `Reader`.
      stored: the store's chunks on disk, its axes in their order.

    Returns:
      The reader.
    """
    view = store[tuple(slice(None) if axis in zyx else 0 for axis in range(store.rank))]
    view = view.transpose([sorted(zyx).index(axis) for axis in zyx])

    def whole(box: Slices) -> Box:
        parts = dict(zip(zyx, box, strict=True))
        return tuple(parts.get(axis, slice(0, 1)) for axis in range(store.rank))

    def read(box: Slices) -> np.ndarray:
        if stored:
            stored.check(whole(box))
        return view[box].read().result()

    absent = (lambda box: stored.absent(whole(box))) if stored else None
    dtype = view.dtype.numpy_dtype
    return Reader(view.shape, dtype, voxel_nm, read, place, notes, absent)


def chunked_writer(store: ts.TensorStore) -> Writer:
    """Wrap a zyx store as a Writer; every write is on disk when it returns."""

    def write(box: Slices, array: np.ndarray) -> None:
        store[box].write(array).result()

    return Writer(write, lambda: None)
