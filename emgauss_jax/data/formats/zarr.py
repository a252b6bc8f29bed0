"""Read zarr 2 and 3, with OME-Zarr metadata of any version if there are any.

A group with `multiscales` holds the levels of one image; level 0 is read unless `dataset` names
another. A dataset may be deep inside a container: "volumes/raw", "volumes/raw/1".
"""

import math
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from emgauss_jax.data.formats.chunked import chunked_reader, open_array
from emgauss_jax.data.formats.interface import (
    Reader,
    VolumeError,
    Voxel,
    read_json,
)
from emgauss_jax.data.formats.units import to_nm

_DRIVERS = {"zarr2": "zarr", "zarr3": "zarr3"}


class _Found(NamedTuple):
    """The path of an array, and the OME-Zarr metadata of its group."""

    path: Path
    multiscale: dict[str, Any]  # {} for a bare array
    entry: dict[str, Any]  # the array's own entry under `datasets`


def _attributes(path: Path, form: str) -> dict[str, Any]:
    if form == "zarr2":
        return read_json(path / ".zattrs")
    attributes = read_json(path / "zarr.json").get("attributes", {})
    return attributes.get("ome", attributes)


def _level(group: Path, name: str, form: str) -> _Found | None:
    """Find level `name` ("" the first) of an OME-Zarr group, or None."""
    for multiscale in _attributes(group, form).get("multiscales", ()):
        for entry in multiscale["datasets"]:
            if name in ("", entry["path"]):
                return _Found(group / entry["path"], multiscale, entry)
    return None


def _find(path: Path, dataset: str, form: str) -> _Found:
    parts = PurePosixPath(dataset.strip("/")).parts
    for split in range(len(parts), -1, -1):
        level = _level(path.joinpath(*parts[:split]), "/".join(parts[split:]), form)
        if level:
            return level
    target = path.joinpath(*parts)
    if not parts and "bioformats2raw.layout" in _attributes(path, form):
        return _find(path, "0", form)
    if form == "zarr2":
        is_array = (target / ".zarray").is_file()
    else:
        is_array = read_json(target / "zarr.json").get("node_type") == "array"
    if not is_array:
        children = target.iterdir() if target.is_dir() else ()
        names = sorted(child.name for child in children if child.is_dir())
        raise VolumeError(
            f"dataset: got {dataset!r}, wanted an array or an OME-Zarr image; inside are {names}"
        )
    return _Found(target, {}, {})


def _axes(multiscale: dict[str, Any], ndim: int) -> list[dict[str, str]]:
    # axes are objects since 0.4, names in 0.3, and implied before
    axes = multiscale.get("axes", list("tczyx"[-ndim:]) if multiscale else [])
    return [{"name": axis} if isinstance(axis, str) else axis for axis in axes]


def _voxel_nm(level: _Found, kept: tuple[int, ...], ndim: int) -> Voxel | None:
    """Multiply the scales of level and group; None where a scale or a unit is not given."""
    axes = _axes(level.multiscale, ndim)
    if not level.entry.get("coordinateTransformations"):
        return None
    if not all(axes[axis].get("unit") for axis in kept):
        return None
    transforms = [
        *level.entry["coordinateTransformations"],
        *level.multiscale.get("coordinateTransformations", ()),
    ]
    scales = [transform["scale"] for transform in transforms if transform["type"] == "scale"]
    return tuple(
        to_nm(math.prod(scale[axis] for scale in scales), axes[axis]["unit"]) for axis in kept
    )


def _read(path: Path, dataset: str, form: str) -> Reader:
    level = _find(path, dataset, form)
    store = open_array(_DRIVERS[form], level.path)
    names = [axis["name"] for axis in _axes(level.multiscale, store.rank)]
    return chunked_reader(store, names, lambda axes: _voxel_nm(level, axes, store.rank))


def read_zarr2(path: Path, dataset: str) -> Reader:
    """Open a zarr 2 array or OME-Zarr 0.4 image.

    Args:
      path: the container's folder.
      dataset: a level or an array inside it; "" is level 0, or the folder itself.

    Returns:
      The volume; it has no voxel size without OME metadata.
    """
    return _read(path, dataset, "zarr2")


def read_zarr3(path: Path, dataset: str) -> Reader:
    """Open a zarr 3 array or OME-Zarr 0.5 image.

    Args:
      path: the container's folder.
      dataset: a level or an array inside it; "" is level 0, or the folder itself.

    Returns:
      The volume; it has no voxel size without OME metadata.
    """
    return _read(path, dataset, "zarr3")
