"""HDF5, as CREMI lays it out: `volumes/raw` with a `resolution` in nm, zyx."""

from pathlib import Path
from types import ModuleType
from typing import Any

from emgauss_jax.data.formats.hdf5_attributes import axes_of, place, size_notes, voxel_nm
from emgauss_jax.data.formats.hdf5_storage import absent_counter, check_filters, check_written
from emgauss_jax.data.formats.interface import (
    Format,
    Layout,
    Reader,
    VolumeError,
    Writer,
    array_reader,
    spatial_axes,
)
from emgauss_jax.data.formats.packing import packing_notes

DEFAULT_DATASET = "volumes/raw"


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise VolumeError("HDF5 needs h5py: pip install 'emgauss_jax[formats]'") from None
    return h5py


def _is_volume(node: Any) -> bool:
    return len(getattr(node, "shape", None) or ()) >= 3


def _volumes(file: Any) -> dict[str, Any]:
    """Find the datasets of three dimensions; if there are none, those that links lead to."""
    found: dict[str, Any] = {}

    def note(name: str, node: Any) -> None:
        if _is_volume(node):
            found[name] = node

    file.visititems(note)
    if not found:
        file.visititems_links(lambda name, _: note(name, file.get(name)))
    return found


def _find(file: Any, dataset: str) -> Any:
    """Return the named dataset, else `volumes/raw`, else the only one of three dimensions."""
    name = (dataset or DEFAULT_DATASET).strip("/") or "/"
    node = file.get(name)
    if _is_volume(node):
        return node
    target = getattr(file.get(name, getlink=True), "filename", None)
    if node is None and target:
        raise VolumeError(f"dataset: {name!r} is a link into {target}, where it is not")
    found = _volumes(file)
    if not found:
        inside = sorted(file)
        raise VolumeError(
            f"dataset: got {dataset!r}, wanted an array of 3 dimensions; inside are {inside}, none"
        )
    if dataset or len(found) != 1:
        raise VolumeError(f"dataset: got {dataset!r}, wanted one of {sorted(found)}")
    return next(iter(found.values()))


def read(path: Path, dataset: str) -> Reader:
    """Open a dataset of an HDF5 file.

    Args:
      path: the file.
      dataset: path inside it; "" is `volumes/raw`, or the only dataset of three dimensions.

    Returns:
      The volume; its axes go by their names where something names them. Its voxel size is the
      attribute `resolution` or `voxel_size` (nm, unless `units` says otherwise), or
      `element_size_um`; `offset` is the corner of its first voxel.
    """
    h5py = _h5py()
    file = h5py.File(path, "r")
    try:
        return _read(h5py, file, dataset)
    except BaseException:
        file.close()
        raise


def _read(h5py: ModuleType, file: Any, dataset: str) -> Reader:
    array = _find(file, dataset)
    named = axes_of(array)
    axes = spatial_axes(array.shape, named.names)
    check_filters(h5py, array)
    check_written(array)
    reader = array_reader(array, lambda axes: voxel_nm(array, axes), named.names)
    return reader._replace(
        place=lambda voxel: place(array, axes, voxel),
        notes=(*named.notes, *size_notes(array, axes), *packing_notes(array.attrs)),
        absent=absent_counter(array, axes),
        close=file.close,
    )


def create(path: Path, layout: Layout) -> Writer:
    """Create an HDF5 file with one chunked dataset.

    Args:
      path: the file to write.
      layout: the volume to write, as `volumes/raw`.

    Returns:
      The writer. Every chunk is stored from the first, so that none seems to be lost.
      `element_size_um` is written beside `resolution`, because Fiji reads it.
    """
    h5py = _h5py()
    file = h5py.File(path, "w")
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    chunk = layout.levels[0].chunk
    array = file.create_dataset(
        DEFAULT_DATASET, layout.shape, layout.dtype, chunks=chunk, dcpl=early, fill_time="alloc"
    )
    for dimension, label in zip(array.dims, "zyx", strict=True):
        dimension.label = label
    corner = zip(layout.place.centre_nm, layout.voxel_nm, strict=True)
    array.attrs["resolution"] = layout.voxel_nm
    array.attrs["offset"] = [centre - size / 2 for centre, size in corner]
    array.attrs["element_size_um"] = [size / 1e3 for size in layout.voxel_nm]
    return Writer(array.__setitem__, file.close)


FORMAT = Format(
    name="hdf5",
    suffixes=(".h5", ".hdf5", ".hdf"),
    read=read,
    create=create,
    output_suffix=".h5",
    has_inner_chunks=True,
)
