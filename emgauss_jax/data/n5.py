"""N5: axes xyz on disk, voxel size in one of several dialects."""

from pathlib import Path
from typing import Any

from emgauss_jax.data.backend import (
    Layout,
    Sink,
    Source,
    VolumeError,
    Voxel,
    pick_axes,
    read_json,
    write_json,
)
from emgauss_jax.data.chunked import chunked_sink, chunked_source, create_array, open_array
from emgauss_jax.data.units import to_nm

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
    # `resolution` came without a unit first, and meant nm
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
    # the other dialects give the size of level 0, and each level its factors
    factors = pick_axes(own.get("downsamplingFactors", [1] * ndim)[::-1], ndim, axes)
    return base and tuple(size * factor for size, factor in zip(base, factors, strict=True))


def read(path: Path, dataset: str) -> Source:
    """Open an N5 array.

    Args:
      path: the container's folder, or one inside it.
      dataset: an array, or a group that holds `s0`; "" is the folder itself.

    Returns:
      The volume, zyx. Its voxel size is the array's COSEM `transform`, else `pixelResolution` or
      `resolution` of the array or its group, times the array's `downsamplingFactors`.
    """
    array = _find(path, dataset)
    store = open_array("n5", array).T
    names = _attributes(array).get("axes", [])[::-1]
    return chunked_source(store, "n5", names, lambda axes: _voxel_nm(array, axes, store.rank))


def create(path: Path, layout: Layout) -> Sink:
    """Create an N5 container with a group of one level.

    Args:
      path: the container's folder to write.
      layout: what to write; the default array is `s0`.

    Returns:
      The sink. The voxel size stands in the group and in the array, in the two dialects that
      Fiji's N5 plugins and neuroglancer read.
    """
    target = path / (layout.dataset or _FIRST_LEVEL)
    xyz = list(layout.voxel_nm[::-1])
    sizes = {
        "axes": ["x", "y", "z"],
        "pixelResolution": {"dimensions": xyz, "unit": "nm"},
        "resolution": xyz,
        "units": ["nm"] * 3,
    }
    write_json(path / "attributes.json", {"n5": "2.0.0"})
    group = {**_attributes(target.parent), "multiScale": True, "scales": [[1, 1, 1]], **sizes}
    write_json(target.parent / "attributes.json", group)
    metadata = {
        "dimensions": layout.shape[::-1],
        "blockSize": layout.chunk[::-1],
        "dataType": layout.dtype.name,
        "compression": {"type": "gzip", "level": 1},
    }
    store = create_array("n5", target, metadata=metadata)
    write_json(target / "attributes.json", {**_attributes(target), **sizes})
    return chunked_sink(store.T)
