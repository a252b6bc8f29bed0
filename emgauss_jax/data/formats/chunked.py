"""What the chunked formats share: arrays opened and created with tensorstore."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from emgauss_jax.data.formats.interface import Reader, Slices, Voxel, Writer, spatial_axes

# Decoded chunks are cached, otherwise planes read one by one would each decode every chunk they
# cross. The cache helps while 64 planes fit into it: up to 2048 x 2048 px of uint8.
_CACHE = ts.Context({"cache_pool": {"total_bytes_limit": 256 * 2**20}})


def _spec(driver: str, path: Path, members: dict[str, Any]) -> dict[str, Any]:
    kvstore = {"driver": "file", "path": Path(os.path.abspath(path)).as_posix()}
    return {"driver": driver, "kvstore": kvstore, **members}


def open_array(driver: str, path: Path, **members: Any) -> ts.TensorStore:
    """Open an array for reading, metadata only; `members` are added to the tensorstore spec."""
    return ts.open(_spec(driver, path, members), read=True, context=_CACHE).result()


def writable_array(driver: str, path: Path, create: bool, **members: Any) -> ts.TensorStore:
    """Create an array with the metadata in `members`, or open one created with the same."""
    mode = {"create": True} if create else {"open": True}
    return ts.open(_spec(driver, path, members), read=True, write=True, **mode).result()


def chunked_reader(
    store: ts.TensorStore,
    names: Sequence[str],
    voxel_nm: Callable[[tuple[int, ...]], Voxel | None],
) -> Reader:
    """Wrap a store as a Reader with axes z, y, x.

    Args:
      store: axes in C order, origin 0.
      names: a name for each axis, or empty.
      voxel_nm: called with the indices of the z, y, x axes in `store`.

    Returns:
      The reader.
    """
    axes = spatial_axes(store.shape, names)
    view = store[tuple(slice(None) if axis in axes else 0 for axis in range(store.rank))]
    view = view.transpose([sorted(axes).index(axis) for axis in axes])

    def read(box: Slices) -> np.ndarray:
        return view[box].read().result()

    return Reader(view.shape, view.dtype.numpy_dtype, lambda: voxel_nm(axes), read)


def chunked_writer(store: ts.TensorStore) -> Writer:
    """Wrap a zyx store as a Writer; every write is on disk when it returns."""

    def write(box: Slices, array: np.ndarray) -> None:
        store[box].write(array).result()

    return Writer(write, lambda: None)
