"""N5: axes xyz on disk, voxel size and place in one of several dialects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorstore as ts

from emgauss_jax.data.formats.axis_names import Axes, find_axes, letter_of
from emgauss_jax.data.formats.chunked import (
    Box,
    Stored,
    chunked_reader,
    chunked_writer,
    open_array,
    writable_array,
)
from emgauss_jax.data.formats.interface import (
    DTYPES,
    Format,
    Layout,
    Level,
    Place,
    Reader,
    VolumeError,
    Voxel,
    Writer,
    read_json,
    write_json,
)
from emgauss_jax.data.formats.stated import Order, Stated, ordered, read_stated
from emgauss_jax.data.formats.stored_chunks import (
    StoredChunks,
    count_files,
    has_any,
    none_there,
    watch,
    with_suffixes,
)

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


def _axes(shape: Sequence[int], own: dict[str, Any]) -> Axes:
    """Find z, y and x of an array of this shape, slowest axis first.

    N5 names `axes` from the fastest one. Python's zarr, which turns the array round but not its
    attributes, has written them from the slowest one: then nothing tells which way they run.
    """
    sources = {name: own[name] for name in ("axis_names", "_ARRAY_DIMENSIONS") if own.get(name)}
    names = list(own.get("axes") or ())
    slowest_first = [letter for letter in map(letter_of, names) if letter in ("z", "y", "x")]
    if slowest_first != ["z", "y", "x"]:
        return find_axes(shape, {**({"axes": names[::-1]} if names else {}), **sources})
    if sources:
        return find_axes(shape, sources)
    raise VolumeError(
        f"axes: got {', '.join(names)}, which N5 counts from the fastest axis (shape "
        f"{tuple(shape[::-1])}) and Python's zarr from the slowest ({tuple(shape)}); wanted them "
        "as N5 counts, x, y, z, or `axis_names` beside them, which counts from the slowest"
    )


def _stated(array: Path, axes: Axes, ndim: int) -> Stated | None:
    """Read what the array, or else its group, states."""
    for path in (array, array.parent):
        attributes = _attributes(path)
        by_python = any(name in attributes for name in ("axis_names", "_ARRAY_DIMENSIONS"))
        found = read_stated(attributes, Order(ndim, axes.zyx, not by_python, axes.named))
        if found:
            return found
    return None


def _stored(array: Path, store: ts.TensorStore) -> Stored:
    """Look at the blocks of an array; boxes count from its slowest axis, names from the fastest."""

    def name(index: Sequence[int]) -> str:
        return "/".join(map(str, index))

    def dotted(index: Sequence[int]) -> str:
        return ".".join(map(str, index))

    edges, others = store.chunk_layout.write_chunk.shape, (*with_suffixes(name), dotted)
    blocks = StoredChunks(array, store.shape, edges, name, others=others)
    if not has_any(blocks):
        raise none_there(blocks)
    check = watch(blocks)

    def absent(box: Box) -> tuple[int, int]:
        count = count_files(blocks, box[::-1])
        return count.absent, count.all

    return Stored(absent, lambda box: check(box[::-1]))


def read(path: Path, dataset: str) -> Reader:
    """Open an N5 array.

    Args:
      path: the container's folder, or a folder inside it.
      dataset: an array, or a group that holds `s0`; "" is the folder itself.

    Returns:
      The volume, zyx. Its voxel size is the array's COSEM `transform`, else `pixelResolution` or
      `resolution` of the array or its group, times the array's `downsamplingFactors`.

    Raises:
      VolumeError: no array, none of its blocks, or axes that run one way or the other.
    """
    array = _find(path, dataset)
    store, own = open_array("n5", array), _attributes(array)
    axes = _axes(store.shape[::-1], own)
    stated = _stated(array, axes, store.rank)
    # COSEM states each level's own size; the other dialects that of level 0, and factors
    is_own = stated is None or stated.name == "transform"
    listed = ordered(own.get("downsamplingFactors"), Order(store.rank, axes.zyx, True, False))
    factors = (1, 1, 1) if is_own or listed is None else listed

    def voxel_nm() -> Voxel | None:
        base = stated and stated.voxel_nm()
        return base and tuple(size * factor for size, factor in zip(base, factors, strict=True))

    def place(voxel: Voxel) -> Place:
        return stated.place(voxel, factors) if stated else Place()

    notes = (*axes.notes, *axes.turned, *(stated.notes if stated else ()))
    return chunked_reader(store.T, axes.zyx, voxel_nm, place, notes, _stored(array, store))


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


def _transform(level: Level) -> dict[str, Any]:
    """Write COSEM's dialect, the only one that places every level by itself."""
    return {
        "axes": ["z", "y", "x"],
        "scale": list(level.voxel_nm),
        "translate": list(level.place.centre_nm),
        "units": ["nm"] * 3,
    }


def create(path: Path, layout: Layout) -> Writer:
    """Create an N5 container: a group with the metadata and arrays of all levels.

    Args:
      path: the container's folder to write.
      layout: the volume to write; the levels are `s0`, `s1`, ...

    Returns:
      The writer of the first level. Group and first array state the first level's voxel size in
      the dialects of Fiji's N5 plugins and of neuroglancer. The other arrays state the same size
      and their factors in Fiji's dialect only, because neuroglancer's has no factors there. Every
      array states its own size and place in COSEM's.
    """
    xyz = list(layout.voxel_nm[::-1])
    fiji = {"axes": ["x", "y", "z"], "pixelResolution": {"dimensions": xyz, "unit": "nm"}}
    sizes = {**fiji, "resolution": xyz, "units": ["nm"] * 3}
    factors = [level.factors[::-1] for level in layout.levels]
    scales = {"multiScale": True, "scales": factors}
    write_json(path / "attributes.json", {"n5": "2.0.0", **scales, **sizes})
    writer = chunked_writer(levels(path, layout, create=True)[0])
    for i, (level, target) in enumerate(zip(layout.levels, _targets(path, layout), strict=True)):
        own = {"downsamplingFactors": factors[i], **(fiji if i else sizes)}
        own["transform"] = _transform(level)
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
