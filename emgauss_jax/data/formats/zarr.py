"""Read zarr 2 and 3, with OME-Zarr metadata of any version if there are any.

A group with `multiscales` holds the levels of one image; level 0 is read unless `dataset` names
another. A dataset may be deep inside a container: "volumes/raw", "volumes/raw/1".
"""

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from emgauss_jax.data.formats.axis_names import Axes, find_axes
from emgauss_jax.data.formats.chunked import chunked_reader
from emgauss_jax.data.formats.interface import (
    Place,
    Reader,
    VolumeError,
    Voxel,
    at_origin,
    check_inside,
    read_json,
)
from emgauss_jax.data.formats.ome_metadata import Level, notes_on
from emgauss_jax.data.formats.packing import packing_notes
from emgauss_jax.data.formats.stated import Order, read_stated
from emgauss_jax.data.formats.zarr_array import open_zarr


class _Found(NamedTuple):
    """The path of an array, and the OME-Zarr metadata of its group."""

    path: Path
    level: Level | None  # None for a bare array
    notes: tuple[str, ...] = ()


def _attributes(path: Path, form: str) -> dict[str, Any]:
    if form == "zarr2":
        return read_json(path / ".zattrs")
    return read_json(path / "zarr.json").get("attributes", {})


def _ome(path: Path, form: str) -> dict[str, Any]:
    attributes = _attributes(path, form)
    return attributes.get("ome", attributes)


def _level(group: Path, name: str, form: str) -> _Found | None:
    """Find level `name` ("" the first) of an OME-Zarr group, or None."""
    multiscales = _ome(group, form).get("multiscales", ())
    for multiscale in multiscales:
        for entry in multiscale["datasets"]:
            if name in ("", entry["path"]):
                level = Level(multiscale, entry)
                notes = () if name else notes_on(level, len(multiscales))
                inside = check_inside(entry["path"], "path of a level")
                return _Found(group / inside, level, notes)
    return None


def _find(path: Path, dataset: str, form: str) -> _Found:
    parts = PurePosixPath(dataset.strip("/")).parts
    for split in range(len(parts), -1, -1):
        found = _level(path.joinpath(*parts[:split]), "/".join(parts[split:]), form)
        if found:
            return found
    target = path.joinpath(*parts)
    if not parts and "bioformats2raw.layout" in _ome(path, form):
        others = sorted(child.name for child in path.iterdir() if child.name.isdigit())[1:]
        note = (f"image 0 is read; the file has {', '.join(others)} too",) if others else ()
        first = _find(path, "0", form)
        return first._replace(notes=(*note, *first.notes))
    if form == "zarr2":
        is_array = (target / ".zarray").is_file()
    else:
        is_array = read_json(target / "zarr.json").get("node_type") == "array"
    if not is_array:
        children = target.iterdir() if target.is_dir() else ()
        names = sorted(child.name for child in children if child.is_dir())
        wells = _ome(target, form).get("plate", {}).get("wells")
        plate = f" (a plate: name a field, such as {wells[0]['path']}/0)" if wells else ""
        raise VolumeError(
            f"dataset: got {dataset!r}, wanted an array or an OME-Zarr image{plate}; "
            f"inside are {names}"
        )
    return _Found(target, None)


def _named(found: _Found, metadata: dict[str, Any], attributes: dict[str, Any], ndim: int) -> Axes:
    """Find z, y and x by all the names that the file gives the axes."""
    sources = {
        "OME axes": found.level and [axis["name"] for axis in found.level.axes(ndim)],
        "dimension_names": metadata.get("dimension_names"),
        "_ARRAY_DIMENSIONS": attributes.get("_ARRAY_DIMENSIONS"),
        "axis_names": attributes.get("axis_names"),
    }
    named = {where: names for where, names in sources.items() if names and any(names)}
    return find_axes(metadata["shape"], named)


def _read(path: Path, dataset: str, form: str) -> Reader:
    found = _find(path, dataset, form)
    array = open_zarr(found.path, form)
    attributes, ndim = _attributes(found.path, form), array.store.rank
    axes = _named(found, array.metadata, attributes, ndim)
    order = Order(ndim, axes.zyx, False, axes.named)
    by_ome = found.level is not None and found.level.has_size(axes.zyx, ndim)
    stated = None if by_ome else read_stated(attributes, order)

    def voxel_nm() -> Voxel | None:
        if by_ome:
            return found.level.voxel_nm(axes.zyx, ndim)
        return stated and stated.voxel_nm()

    def place(voxel: Voxel) -> Place:
        if stated:
            return stated.place(voxel)
        return found.level.place(voxel, axes.zyx, ndim) if found.level else at_origin(voxel)

    notes = (*found.notes, *array.notes, *axes.notes, *(() if found.level else axes.turned))
    notes += (*(stated.notes if stated else ()), *packing_notes(attributes))
    return chunked_reader(array.store, axes.zyx, voxel_nm, place, notes, array.stored)


def read_zarr2(path: Path, dataset: str) -> Reader:
    """Open a zarr 2 array or OME-Zarr 0.4 image.

    Args:
      path: the container's folder.
      dataset: a level or an array inside it; "" is level 0, or the folder itself.

    Returns:
      The volume; without OME metadata its voxel size is what the array's attributes state.
    """
    return _read(path, dataset, "zarr2")


def read_zarr3(path: Path, dataset: str) -> Reader:
    """Open a zarr 3 array or OME-Zarr 0.5 or 0.6 image.

    Args:
      path: the container's folder.
      dataset: a level or an array inside it; "" is level 0, or the folder itself.

    Returns:
      The volume; without OME metadata its voxel size is what the array's attributes state.
    """
    return _read(path, dataset, "zarr3")
