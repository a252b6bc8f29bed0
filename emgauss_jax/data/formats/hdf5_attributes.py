"""What the attributes of an HDF5 dataset say: names of axes, voxel size, and place.

CREMI and funlib write `resolution` (or `voxel_size`) and `offset`, in nm or in `units`, ordered as
the array's axes. Fiji writes `element_size_um`, ilastik `axistags`, netCDF dimension scales.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.formats.axis_names import letter_of
from emgauss_jax.data.formats.interface import Place, VolumeError, Voxel
from emgauss_jax.data.formats.units import to_nm

_NAMES = ("axes", "axis_names", "axis_labels", "dimension_names", "_ARRAY_DIMENSIONS")
_SIZES = ("resolution", "voxel_size")
_LEAST_NM = 0.1  # a voxel under this is no voxel of electron microscopy
_SAME = 0.01  # relative difference of two sizes that are taken for one
_FLAGS = "--config.data.voxel_nm=z,y,x (train), --input_voxel_nm=z,y,x (reconstruct)"


class Axes(NamedTuple):
    """Names of an array's axes, () where nothing names them, and what was assumed."""

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _texts(value: Any) -> list[str]:
    """Turn an attribute into texts: one for each element, each letter or each word."""
    items = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
        for item in np.ravel(value).tolist()
    ]
    if len(items) != 1:
        return [item.strip() for item in items]
    words = items[0].replace(",", " ").split()
    return words if len(words) != 1 else list(words[0]) if words[0].isalpha() else words


def _axistags(array: Any) -> list[dict[str, Any]]:
    text = array.attrs.get("axistags")
    if text is None:
        return []
    try:
        tags = json.loads(text)["axes"]
        return [{"key": "", **tag} for tag in tags]
    except (ValueError, TypeError, KeyError):
        raise VolumeError(f"axistags: got {str(text)[:60]!r}, wanted JSON of vigra") from None


def _dimension_names(array: Any) -> list[str]:
    """Return the labels of the dimensions, or the names of the scales attached to them.

    They are read from their attribute: what HDF5 has for it ends the process where that is damaged.
    """
    stored = np.ravel(array.attrs.get("DIMENSION_LABELS", [""] * array.ndim)).tolist()
    if len(stored) != array.ndim:
        raise VolumeError(f"DIMENSION_LABELS: got {len(stored)}, wanted {array.ndim}")
    labels = [
        label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label or "")
        for label in stored
    ]
    if all(labels) or "DIMENSION_LIST" not in array.attrs:
        return labels
    scales = [dim[0].name.rsplit("/", 1)[-1] if len(dim) else "" for dim in array.dims]
    return [label or scale for label, scale in zip(labels, scales, strict=True)]


def _namings(array: Any) -> dict[str, list[str]]:
    """Collect every naming of the axes, by where it stands."""
    found = {"axistags": [tag["key"] for tag in _axistags(array)]}
    found["dimension labels"] = _dimension_names(array)
    found |= {f"{name!r}": _texts(array.attrs[name]) for name in _NAMES if name in array.attrs}
    return {source: names for source, names in found.items() if any(names)}


def _lettered(names: Sequence[str]) -> tuple[str, ...]:
    """Give the letters of names, such as x of width; names that have none stay as they are."""
    return tuple(letter_of(name) or name.lower() for name in names)


def axes_of(array: Any) -> Axes:
    """Name the axes of a dataset, by all that names them.

    Where x and y are named, and one other axis besides, that one is z: a series is read as a stack.

    Args:
      array: the dataset.

    Raises:
      VolumeError: namings contradict each other or the array's shape, or leave z, y and x unclear.
    """
    namings = _namings(array)
    lettered = {source: _lettered(names) for source, names in namings.items()}
    found = {source: names for source, names in lettered.items() if set(names) & set("xyz")}
    if not found:
        said = " and ".join(", ".join(names) for names in namings.values())
        note = f"the axes are named {said}: they are taken as z, y, x in stored order"
        return Axes((), (note,) if said else ())
    if len(set(found.values())) > 1:
        got = " but ".join(f"{', '.join(names)} in {source}" for source, names in found.items())
        raise VolumeError(f"axes: got {got}, wanted one order")
    (source, names), shape = next(iter(found.items())), array.shape
    if len(names) != len(shape):
        raise VolumeError(f"axes: got {', '.join(names)} ({source}) for shape {shape}")
    if {"y", "x"} <= set(names) and "z" not in names:
        others = [i for i, name in enumerate(names) if name not in "yx"]
        long = [i for i in others if shape[i] > 1] or others[:1]
        if len(long) == 1:
            taken = names[long[0]] or "without a name"
            names = tuple("z" if i == long[0] else name for i, name in enumerate(names))
            return Axes(names, (f"axis {taken} is taken for z",))
    if any(names.count(name) != 1 for name in "zyx"):
        raise VolumeError(f"axes: got {', '.join(names)} ({source}), wanted z, y and x, once each")
    return Axes(names)


def _per_axis(values: Any, ndim: int, axes: Sequence[int]) -> list[Any] | None:
    """Pick z, y, x of values for every axis, or for the three spatial ones, in stored order."""
    values = np.ravel(values).tolist()
    if len(values) == ndim:
        return [values[axis] for axis in axes]
    if len(values) == 3:
        return [values[sorted(axes).index(axis)] for axis in axes]
    return None


def _sizes(array: Any, name: str, axes: Sequence[int]) -> list[float] | None:
    """Read a size per axis (z, y, x); None where there is none, or one that is no length."""
    sizes = _per_axis(array.attrs.get(name, ()), array.ndim, axes)
    if sizes is None or not all(isinstance(size, int | float) for size in sizes):
        return None
    return sizes if all(math.isfinite(size) and size > 0 for size in sizes) else None


def _units(array: Any, axes: Sequence[int]) -> list[str]:
    """Read the units of z, y, x; nm where the dataset names none."""
    value = array.attrs.get("units", array.attrs.get("unit", ""))
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in np.ravel(value)]
    texts = texts * 3 if len(texts) == 1 else texts
    return [text or "nm" for text in _per_axis(texts, array.ndim, axes) or [""] * 3]


def _element_size(array: Any, axes: Sequence[int]) -> list[float] | None:
    """Read `element_size_um`, which Fiji writes as z, y, x, others in the order of the array.

    Where the order matters, the one that makes pixels square is taken, else Fiji's.
    """
    stored = _sizes(array, "element_size_um", axes)
    if stored is None or np.size(array.attrs["element_size_um"]) != 3:
        return stored
    fiji = np.ravel(array.attrs["element_size_um"]).tolist()
    is_square = [math.isclose(sizes[1], sizes[2], rel_tol=_SAME) for sizes in (fiji, stored)]
    return stored if is_square == [False, True] else fiji


def _found_sizes(array: Any, axes: Sequence[int]) -> dict[str, Voxel]:
    """Collect the voxel sizes that the dataset states, nm, by attribute."""
    found = {}
    for name in _SIZES:
        sizes = _sizes(array, name, axes)
        if sizes:
            pairs = zip(sizes, _units(array, axes), strict=True)
            found[name] = tuple(to_nm(size, unit) for size, unit in pairs)
    micro = _element_size(array, axes)
    if micro:
        found["element_size_um"] = tuple(to_nm(size, "um") for size in micro)
    return found


def voxel_nm(array: Any, axes: Sequence[int]) -> Voxel | None:
    """Return the voxel size (z, y, x) that the attributes state, nm, or None.

    Args:
      array: the dataset.
      axes: which of its axes are z, y, x.

    Raises:
      VolumeError: two attributes contradict each other; a unit is no length; or there are only the
        sizes of `axistags`, which have no unit.
    """
    found = _found_sizes(array, axes)
    for sizes in found.values():
        if not np.allclose(sizes, next(iter(found.values())), rtol=_SAME, atol=0):
            got = ", ".join(f"{name} {tuple(values)}" for name, values in found.items())
            raise VolumeError(f"voxel size: got {got} nm, wanted the same, or {_FLAGS}")
    if found:
        return next(iter(found.values()))
    tags = [tag.get("resolution") or 0 for tag in _axistags(array)]
    if len(tags) == array.ndim and all(tags[axis] > 0 for axis in axes):
        got = ", ".join(f"{tags[axis]:g}" for axis in axes)
        raise VolumeError(
            f"voxel size: got {got} (z, y, x) in axistags, without a unit, wanted nm: {_FLAGS}"
        )
    return None


def size_notes(array: Any, axes: Sequence[int]) -> tuple[str, ...]:
    """Say where a size without a unit seems to be in another unit than nm."""
    named = "units" in array.attrs or "unit" in array.attrs
    for name in () if named else _SIZES:
        sizes = _sizes(array, name, axes)
        text = ", ".join(f"{size:g}" for size in sizes or ())
        if sizes and min(sizes) < _LEAST_NM:
            return (f"{name} {text} (z, y, x) has no unit: too small in nm, is it in um?",)
    return ()


def place(array: Any, axes: Sequence[int], voxel: Voxel) -> Place:
    """Return where the volume lies: `offset` is the corner of the first voxel, 0 by default.

    An offset beside a resolution counts in voxels of that, so that it fits a voxel size of the
    user's own; without one it is in nm.
    """
    offset = _per_axis(array.attrs.get("offset", ()), array.ndim, axes) or [0.0] * 3
    stated = next((sizes for name in _SIZES if (sizes := _sizes(array, name, axes))), None)
    scale = [1.0] * 3 if stated is None else [v / s for v, s in zip(voxel, stated, strict=True)]
    parts = zip(offset, scale, voxel, strict=True)
    return Place(tuple(float(start * factor + size / 2) for start, factor, size in parts))
