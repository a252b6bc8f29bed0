"""NPY: a bare array, no voxel size."""

from pathlib import Path

import numpy as np

from emgauss_jax.data.formats.interface import (
    DTYPES,
    Format,
    Layout,
    Reader,
    VolumeError,
    Writer,
    array_reader,
    refuse_dataset,
)


def read(path: Path, dataset: str) -> Reader:
    """Open an NPY file, memory-mapped.

    Args:
      path: the file.
      dataset: must be "".

    Returns:
      The volume, without voxel size.
    """
    refuse_dataset("NPY", dataset)
    if path.suffix.lower() != ".npy":
        raise VolumeError("got an archive of arrays, wanted one array: numpy.save, not savez")
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        old = version == (1, 0)
        header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    if dtype.names or dtype.hasobject:
        raise VolumeError(f"dtype: got {dtype}, wanted one of {', '.join(DTYPES)}")
    # an empty array cannot be memory-mapped, but `open_volume` names its shape in an error
    array = (
        np.empty(shape, dtype) if 0 in shape else np.load(path, mmap_mode="r", allow_pickle=False)
    )
    return array_reader(array, lambda axes: None)


def create(path: Path, layout: Layout) -> Writer:
    """Create an NPY file; the voxel size is not stored.

    Args:
      path: the file to write.
      layout: the volume to write.

    Returns:
      The writer, memory-mapped.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=layout.dtype, shape=layout.shape)
    return Writer(array.__setitem__, array.flush)


FORMAT = Format(
    name="npy",
    suffixes=(".npy",),
    read=read,
    create=create,
    output_suffix=".ome.tif",  # NPY cannot carry the voxel size
    read_suffixes=(".npz",),  # for the sake of what is said of them
)
