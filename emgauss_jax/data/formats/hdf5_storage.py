"""What an HDF5 file holds of a dataset; HDF5 reads the fill value where nothing is stored."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from emgauss_jax.data.formats.interface import Slices, VolumeError
from emgauss_jax.data.formats.units_in_memory import check_chunks, check_packed


def check_filters(h5py: ModuleType, array: Any) -> None:
    """Raise VolumeError if chunks are too large, or compressed in a way that is not known here."""
    if array.chunks is not None:
        check_chunks(array.shape, array.chunks, array.dtype.itemsize)
        size = array.id.get_num_chunks() * math.prod(array.chunks) * array.dtype.itemsize
        check_packed("dataset", array.id.get_storage_size(), size)
    plist = array.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        code, *_, name = plist.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                import hdf5plugin  # noqa: F401 (it registers its filters)
        if not h5py.h5z.filter_avail(code):
            text = name.decode() if isinstance(name, bytes) else name
            raise VolumeError(f"HDF5 filter {code} ({text}) is missing: pip install hdf5plugin")


def _check_sources(array: Any) -> None:
    """Raise VolumeError if a virtual dataset refers to files that are not there."""
    folder = Path(array.file.filename).parent
    names = {source.file_name for source in array.virtual_sources()} - {"."}
    # a "%" stands for a number that runs as far as there are files
    missing = sorted(n for n in names if "%" not in n and not (folder / n).is_file())
    if missing:
        raise VolumeError(
            f"virtual dataset: {len(missing)} of its {len(names)} files are not there, "
            f"the first is {missing[0]}"
        )


def check_written(array: Any) -> None:
    """Raise VolumeError if no voxel of a dataset is stored."""
    if array.is_virtual:
        _check_sources(array)
    elif array.size and not array.id.get_storage_size():
        raise VolumeError(
            f"dataset {array.name}: got none of its voxels, wanted some: it was created and never "
            "written, or not copied"
        )


def _stored(array: Any) -> np.ndarray:
    """Tell for every chunk of an array whether it is stored: bool, a chunk an element."""
    grid = [-(-length // edge) for length, edge in zip(array.shape, array.chunks, strict=True)]
    stored = np.full(grid, array.id.get_num_chunks() == math.prod(grid))
    if stored.all():
        return stored

    def note(chunk: Any) -> None:
        offset = zip(chunk.chunk_offset, array.chunks, strict=True)
        stored[tuple(start // edge for start, edge in offset)] = True

    array.id.chunk_iter(note)
    return stored


def absent_counter(array: Any, axes: Sequence[int]) -> Callable[[Slices], tuple[int, int]] | None:
    """Return a function that counts the chunks of a box: (absent, all); None: it has no chunks.

    Args:
      array: the dataset.
      axes: which of its axes are z, y, x.
    """
    if array.chunks is None or array.is_virtual:
        return None
    stored = cache(lambda: _stored(array))

    def count(box: Slices) -> tuple[int, int]:
        index = [slice(0, 1)] * array.ndim
        for axis, part in zip(axes, box, strict=True):
            edge = array.chunks[axis]
            index[axis] = slice(part.start // edge, -(-part.stop // edge))
        chunks = stored()[tuple(index)]
        return int(np.count_nonzero(~chunks)), chunks.size

    return count
