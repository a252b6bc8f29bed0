"""N5: axes xyz on disk, voxel size in one of several dialects."""

from pathlib import Path
from typing import Any

import tensorstore as ts

from emgauss_jax.data.formats.chunked import (
    chunked_reader,
    chunked_writer,
    open_array,
    writable_array,
)
from emgauss_jax.data.formats.interface import (
    DTYPES,
    Format,
    Layout,
    Reader,
    VolumeError,
    Voxel,
    Writer,
    pick_axes,
    read_json,
    write_json,
)
from emgauss_jax.data.formats.units import to_nm

_FIRST_LEVEL = "s0"


def _attributes(path: Path) -> dict[str, Any]:
    return read_json(path / "attributes.json")


def _find(path: Path, dataset: str) -> Path:
    target = path / dataset.strip("/")
    for candidate in (target, target / _FIRST_LEVEL):
        if "dimensions" in _attributes(candidate):
            return candidate
    children = target.iterdir() if target.is_dir() else ()
    names = sorted(child.name for child in children if child.is_dir())
    raise VolumeError(
        f"dataset: got {dataset!r}, wanted an N5 array or a group with {_FIRST_LEVEL}; "
        f"inside are {names}"
    )


def _stated(attributes: dict[str, Any], axes: tuple[int, ...], ndim: int) -> Voxel | None:
    """Read `pixelResolution` or `resolution`; both list x, y, z."""
    pixel = attributes.get("pixelResolution")
    if isinstance(pixel, dict) and pixel.get("unit"):
        lengths, units = pixel["dimensions"], [pixel["unit"]] * 3
    else:
        lengths, units = attributes.get("resolution"), attributes.get("units")
    sizes = pick_axes(lengths and lengths[::-1], ndim, axes)
    # older files have a `resolution` without units, in nm
    units = pick_axes(units and units[::-1], ndim, axes) or ("nm",) * 3
    return sizes and tuple(to_nm(size, unit) for size, unit in zip(sizes, units, strict=True))


def _voxel_nm(array: Path, axes: tuple[int, ...], ndim: int) -> Voxel | None:
    own = _attributes(array)
    transform = own.get("transform")
    if transform:  # COSEM: this level's own scale, axes by name
        values = zip(transform["scale"], transform["units"], strict=True)
        sizes = {
            axis: to_nm(scale, unit)
            for axis, (scale, unit) in zip(transform["axes"], values, strict=True)
        }
        return sizes["z"], sizes["y"], sizes["x"]
    base = _stated(own, axes, ndim) or _stated(_attributes(array.parent), axes, ndim)
    # the other dialects state the voxel size of level 0 and the factors of each level
    factors = pick_axes(own.get("downsamplingFactors", [1] * ndim)[::-1], ndim, axes)
    return base and tuple(size * factor for size, factor in zip(base, factors, strict=True))


def read(path: Path, dataset: str) -> Reader:
    """Open an N5 array.

    Args:
      path: the container's folder, or a folder inside it.
      dataset: an array, or a group that holds `s0`; "" is the folder itself.

    Returns:
      The volume, zyx. Its voxel size is the array's COSEM `transform`, else `pixelResolution` or
      `resolution` of the array or its group, times the array's `downsamplingFactors`.
    """
    array = _find(path, dataset)
    store = open_array("n5", array).T
    names = _attributes(array).get("axes", [])[::-1]
    return chunked_reader(store, names, lambda axes: _voxel_nm(array, axes, store.rank))


def _targets(path: Path, layout: Layout) -> list[Path]:
    return [path / f"s{i}" for i in range(len(layout.levels))]


def levels(path: Path, layout: Layout, create: bool) -> tuple[ts.TensorStore, ...]:
    """Create the arrays of an N5 group, or open them for writing.

    Args:
      path: the container's folder.
      layout: the volume that the arrays hold.
      create: True creates the arrays, False opens existing ones.

    Returns:
      A zyx array for every level.
    """
    common = {"dataType": layout.dtype.name, "compression": {"type": "gzip", "level": 1}}
    stores = []
    for level, target in zip(layout.levels, _targets(path, layout), strict=True):
        sizes = {"dimensions": level.shape[::-1], "blockSize": level.chunk[::-1]}
        stores.append(writable_array("n5", target, create, metadata={**sizes, **common}).T)
    return tuple(stores)


def create(path: Path, layout: Layout) -> Writer:
    """Create an N5 container: a group with the metadata and arrays of all levels.

    Args:
      path: the container's folder to write.
      layout: the volume to write; the levels are `s0`, `s1`, ...

    Returns:
      The writer of the first level. Group and first array state the first level's voxel size in
      the dialects of Fiji's N5 plugins and of neuroglancer. The other arrays state the same size
      and their factors in Fiji's dialect only, because neuroglancer's has no factors there.
    """
    xyz = list(layout.voxel_nm[::-1])
    fiji = {"axes": ["x", "y", "z"], "pixelResolution": {"dimensions": xyz, "unit": "nm"}}
    sizes = {**fiji, "resolution": xyz, "units": ["nm"] * 3}
    factors = [level.factors[::-1] for level in layout.levels]
    scales = {"multiScale": True, "scales": factors}
    write_json(path / "attributes.json", {"n5": "2.0.0", **scales, **sizes})
    writer = chunked_writer(levels(path, layout, create=True)[0])
    for i, target in enumerate(_targets(path, layout)):
        own = {"downsamplingFactors": factors[i], **(fiji if i else sizes)}
        write_json(target / "attributes.json", {**_attributes(target), **own})
    return writer


FORMAT = Format(
    name="n5",
    suffixes=(".n5",),
    read=read,
    create=create,
    output_suffix=".n5",
    contents=("attributes.json",),
    dtypes=tuple(name for name in DTYPES if name != "float16"),
    levels=levels,
)
