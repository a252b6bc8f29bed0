"""HDF5, as CREMI lays it out: `volumes/raw` with a `resolution` in nm, zyx."""

from pathlib import Path
from types import ModuleType
from typing import Any

from emgauss_jax.data.formats.interface import (
    Format,
    Layout,
    Reader,
    VolumeError,
    Voxel,
    Writer,
    array_reader,
    pick_axes,
)
from emgauss_jax.data.formats.units import to_nm

DEFAULT_DATASET = "volumes/raw"


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise VolumeError("HDF5 needs h5py: pip install 'emgauss_jax[formats]'") from None
    return h5py


def _find(file: Any, dataset: str) -> Any:
    """Return the named dataset, else `volumes/raw`, else the only one of three dimensions."""
    found = {}

    def note(name: str, node: Any) -> None:
        if len(getattr(node, "shape", None) or ()) >= 3:
            found[name] = node

    file.visititems(note)
    name = (dataset or DEFAULT_DATASET).strip("/")
    if name in found:
        return found[name]
    if dataset and name in file:
        raise VolumeError(f"dataset: {dataset!r} is no array of 3 dimensions; have {sorted(found)}")
    if dataset or len(found) != 1:
        raise VolumeError(f"dataset: got {dataset!r}, wanted one of {sorted(found)}")
    return next(iter(found.values()))


def _voxel_nm(array: Any, axes: tuple[int, ...]) -> Voxel | None:
    resolution = pick_axes(array.attrs.get("resolution"), len(array.shape), axes)
    if resolution is not None:
        return resolution
    size_um = pick_axes(array.attrs.get("element_size_um"), len(array.shape), axes)
    return size_um and tuple(to_nm(size, "um") for size in size_um)


def read(path: Path, dataset: str) -> Reader:
    """Open a dataset of an HDF5 file.

    Args:
      path: the file.
      dataset: path inside it; "" is `volumes/raw`, or the only dataset of three dimensions.

    Returns:
      The volume; its voxel size is the attribute `resolution` (nm) or `element_size_um`. The
      attribute `offset` is ignored.
    """
    array = _find(_h5py().File(path, "r"), dataset)
    return array_reader(array, lambda axes: _voxel_nm(array, axes))


def create(path: Path, layout: Layout) -> Writer:
    """Create an HDF5 file with one chunked dataset.

    Args:
      path: the file to write.
      layout: the volume to write, as `volumes/raw`.

    Returns:
      The writer. `element_size_um` is written beside `resolution`, because Fiji reads it.
    """
    file = _h5py().File(path, "w")
    array = file.create_dataset(
        DEFAULT_DATASET, layout.shape, layout.dtype, chunks=layout.levels[0].chunk
    )
    array.attrs["resolution"] = layout.voxel_nm
    array.attrs["offset"] = (0.0, 0.0, 0.0)
    array.attrs["element_size_um"] = [size / 1e3 for size in layout.voxel_nm]
    return Writer(array.__setitem__, file.close)


FORMAT = Format(
    name="hdf5",
    suffixes=(".h5", ".hdf5", ".hdf"),
    read=read,
    create=create,
    output_suffix=".h5",
)
