"""What a format hands to `data/volume.py`, which opens every file, and the rules all share.

A format module gives one `Format` record, listed in registry.py. Boxes are three slices with a
start and a stop, inside the volume; arrays are zyx. What a format itself finds wrong it raises as
`VolumeError`, without the path: the door adds it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.errors import InputError

CHUNK = 64  # voxels along an edge of a stored chunk

Slices = tuple[slice, slice, slice]
Voxel = tuple[float, float, float]


class VolumeError(InputError):
    """A file that is not what was wanted: one line, what was got and what was wanted."""


class Reader(NamedTuple):
    """An opened volume, metadata only."""

    shape: tuple[int, int, int]  # (D, H, W)
    dtype: np.dtype  # any byte order
    voxel_nm: Callable[[], Voxel | None]  # asked only when the caller names no voxel size
    read: Callable[[Slices], np.ndarray]


class Writer(NamedTuple):
    """A volume being written."""

    write: Callable[[Slices, np.ndarray], None]
    close: Callable[[], None]


class Level(NamedTuple):
    """One array of a volume to be written: the volume itself, or its mean over `factors`."""

    shape: tuple[int, int, int]  # (D, H, W)
    voxel_nm: Voxel  # (z, y, x)
    factors: tuple[int, int, int]  # voxels of the volume in one of the level, (z, y, x)

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Edge lengths of a stored chunk, (z, y, x)."""
        return tuple(min(CHUNK, length) for length in self.shape)


@dataclass(frozen=True)
class Layout:
    """A volume to be written."""

    name: str  # the final file name; the file written first has another one
    shape: tuple[int, int, int]  # (D, H, W)
    dtype: np.dtype  # uint8, uint16 or float32, native
    voxel_nm: Voxel  # (z, y, x)
    factors: tuple[tuple[int, int, int], ...] = ((1, 1, 1),)  # of every level, the volume first

    @property
    def levels(self) -> tuple[Level, ...]:
        """The volume and the coarser levels below it; only chunked folders have such."""
        return tuple(
            Level(
                tuple(-(-length // f) for length, f in zip(self.shape, factors, strict=True)),
                tuple(size * f for size, f in zip(self.voxel_nm, factors, strict=True)),
                factors,
            )
            for factors in self.factors
        )


class Format(NamedTuple):
    """All the project knows about one format."""

    name: str  # as `Volume.format` and `create_volume(format=...)` have it
    suffixes: tuple[str, ...]  # it is recognised and written by, lower case
    read: Callable[[Path, str], Reader]  # (path, dataset), metadata only
    create: Callable[[Path, Layout], Writer]  # (path, layout), nothing stands there yet
    output_suffix: str  # of an output like an input of this format; it must carry a voxel size
    contents: tuple[str, ...] = ()  # files by which a folder is recognised; () for a single file
    # (path, layout, create=...) -> a zyx tensorstore for every level, written by many processes in
    # boxes of whole chunks; None where one process writes the file
    levels: Callable[..., tuple[Any, ...]] | None = None

    @property
    def is_chunked(self) -> bool:
        """Whether many processes can write it at once, with a pyramid."""
        return self.levels is not None


def spatial_axes(shape: Sequence[int], names: Sequence[str] = ()) -> tuple[int, ...]:
    """Find the axes of an array that are z, y and x.

    Args:
      shape: the array's shape, any number of axes.
      names: a name for each axis, or nothing.

    Returns:
      The indices of z, y, x: by name where all three are named, else in stored order, singleton
      axes dropped from the front until three are left.

    Raises:
      VolumeError: a further axis is longer than 1, or fewer than three are there.
    """
    names = [name.lower() for name in names]
    if len(names) == len(shape) and all(names.count(name) == 1 for name in "zyx"):
        kept = [names.index(name) for name in "zyx"]
    else:
        kept = list(range(len(shape)))
        for axis, length in enumerate(shape):
            if length == 1 and len(kept) > 3:
                kept.remove(axis)
    dropped = [length for axis, length in enumerate(shape) if axis not in kept]
    if len(kept) != 3 or any(length != 1 for length in dropped):
        got = f"got shape {tuple(shape)}" + (f" with axes {''.join(names)}" if names else "")
        raise VolumeError(f"{got}, wanted 3 dimensions (z, y, x) besides singleton ones")
    return tuple(kept)


def array_reader(array: Any, voxel_nm: Callable[[tuple[int, ...]], Voxel | None]) -> Reader:
    """Present anything that is sliced like an array as a Reader.

    Args:
      array: numpy memmap, h5py dataset or the like, axes in stored order.
      voxel_nm: called with the indices of the z, y, x axes.

    Returns:
      The reader, singleton axes dropped.
    """
    axes = spatial_axes(array.shape)

    def read(box: Slices) -> np.ndarray:
        index = [0] * len(array.shape)
        for axis, part in zip(axes, box, strict=True):
            index[axis] = part
        return array[tuple(index)]

    shape = tuple(array.shape[axis] for axis in axes)
    return Reader(shape, array.dtype, lambda: voxel_nm(axes), read)


def pick_axes(values: Any, ndim: int, axes: Sequence[int]) -> Voxel | None:
    """Take the z, y, x entries of a per-axis attribute, or None where there are none.

    Args:
      values: one number for each of the ndim axes, or one for each of z, y, x.
      ndim: number of axes of the array.
      axes: indices of z, y, x.
    """
    values = [] if values is None else np.ravel(values).tolist()
    if len(values) == ndim:
        return tuple(values[axis] for axis in axes)
    return tuple(values) if len(values) == 3 else None


def refuse_dataset(form: str, dataset: str) -> None:
    """Raise when a dataset is named in a format that holds one volume only."""
    if dataset:
        raise VolumeError(f"dataset: got {dataset!r}, wanted none: {form} holds one volume")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file is an empty one."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(content, dict):
        raise VolumeError(f"{path.name}: got a JSON {type(content).__name__}, wanted an object")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, making the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
