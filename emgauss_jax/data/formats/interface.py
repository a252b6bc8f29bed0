"""The contract between a file format and `data/volume.py`, and helpers that formats share.

A format module exports one `Format` record, which registry.py lists. Boxes are three slices with a
start and a stop inside the volume; arrays are zyx. A format raises `VolumeError` without the path,
which `data/volume.py` adds.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.errors import InputError

LARGEST_JSON = 2**26  # bytes of metadata: usual ones have some thousands
CHUNK = 64  # voxels along an edge of a stored chunk, unless another is asked for
# What a volume may hold; a format that cannot store all of them lists its own in `Format.dtypes`.
DTYPES = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64",
)  # fmt: skip

Slices = tuple[slice, slice, slice]
Voxel = tuple[float, float, float]


class VolumeError(InputError):
    """A file or setting that a format cannot use: one line, "got .., wanted ..", no path."""


class Place(NamedTuple):
    """Where a volume lies in the space that its file describes.

    A format that stores the corner of the first voxel adds half a voxel to get its centre.
    """

    centre_nm: Voxel = (0.0, 0.0, 0.0)  # of the first voxel (z, y, x)
    # unit vectors along z, y and x, each (z, y, x); only NIfTI can turn or mirror a volume
    axes: tuple[Voxel, Voxel, Voxel] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def moved(self, by_nm: Sequence[float]) -> "Place":
        """Start the volume by so many nm further along its own axes z, y and x."""
        centre = np.asarray(self.centre_nm) + np.asarray(by_nm, np.float64) @ np.asarray(self.axes)
        return self._replace(centre_nm=tuple(centre.tolist()))


AT_ORIGIN = Place()


def at_origin(voxel_nm: Voxel) -> Place:
    """Place a volume whose file does not say where it lies."""
    return AT_ORIGIN


class Reader(NamedTuple):
    """An opened volume, metadata only."""

    shape: tuple[int, int, int]  # (D, H, W)
    dtype: np.dtype  # any byte order; bool where the voxels are 0 and 1
    voxel_nm: Callable[[], Voxel | None]  # called only if the user gives no voxel size
    read: Callable[[Slices], np.ndarray]
    place: Callable[[Voxel], Place] = at_origin  # given the voxel size that is used
    notes: tuple[str, ...] = ()  # what was assumed or changed in reading: a line each, no path
    # (absent, all): how many of the stored chunks that a box touches are not there; None: the
    # format has no chunks that could be absent
    absent: Callable[[Slices], tuple[int, int]] | None = None
    close: Callable[[], None] = lambda: (
        None
    )  # of what is kept open; called if the volume is refused


class Writer(NamedTuple):
    """A volume being written."""

    write: Callable[[Slices, np.ndarray], None]
    close: Callable[[], None]


class Level(NamedTuple):
    """One array of a volume to be written: the volume itself, or its mean over `factors`."""

    shape: tuple[int, int, int]  # (D, H, W)
    voxel_nm: Voxel  # (z, y, x)
    factors: tuple[int, int, int]  # voxels of the volume per voxel of the level, (z, y, x)
    place: Place
    chunk: tuple[int, int, int]  # edge lengths of a stored chunk, (z, y, x), voxels
    shard: tuple[int, int, int] | None = None  # of a file of whole chunks; None: one a file

    @property
    def file(self) -> tuple[int, int, int]:
        """Edge lengths of a file, (z, y, x), voxels: no two processes may write one at once."""
        return self.shard or self.chunk


@dataclass(frozen=True)
class Layout:
    """The metadata of a volume to be written."""

    name: str  # the final file name, not that of the partial file
    shape: tuple[int, int, int]  # (D, H, W)
    dtype: np.dtype  # one of the format's, native byte order
    voxel_nm: Voxel  # (z, y, x)
    place: Place = AT_ORIGIN
    chunk: tuple[int, int, int] = (CHUNK,) * 3  # (z, y, x), voxels; cut to a smaller level's shape
    shard: tuple[int, int, int] | None = None  # of whole chunks; None: a file for each chunk
    factors: tuple[tuple[int, int, int], ...] = ((1, 1, 1),)  # of every level, the volume first

    @property
    def levels(self) -> tuple[Level, ...]:
        """The volume and its coarser levels; only chunked formats have coarser ones."""
        return tuple(self._level(factors) for factors in self.factors)

    def _level(self, factors: tuple[int, int, int]) -> Level:
        shape = tuple(-(-length // f) for length, f in zip(self.shape, factors, strict=True))
        sizes = list(zip(self.voxel_nm, factors, strict=True))
        # the first voxel's centre is the mean of the centres of the voxels it averages
        place = self.place.moved([size * (f - 1) / 2 for size, f in sizes])
        chunk = tuple(min(pair) for pair in zip(self.chunk, shape, strict=True))
        shard = self.shard and tuple(
            edge * -(-min(length, n) // edge)
            for edge, length, n in zip(chunk, self.shard, shape, strict=True)
        )
        return Level(shape, tuple(size * f for size, f in sizes), factors, place, chunk, shard)


class Format(NamedTuple):
    """Everything the package knows about one format."""

    name: str  # the value of `Volume.format` and of `create_volume(format=...)`
    suffixes: tuple[str, ...]  # of its files and folders, lower case
    read: Callable[[Path, str], Reader]  # (path, dataset), metadata only
    # (path, layout), the path does not exist yet; None: the format is only read
    create: Callable[[Path, Layout], Writer] | None
    output_suffix: str  # of the output for an input of this format; must store a voxel size
    contents: tuple[str, ...] = ()  # files by which a folder is recognised; () for a single file
    read_suffixes: tuple[str, ...] = ()  # of further files, which are read and never written
    members: tuple[str, ...] = ()  # suffixes of the images of a folder or a pattern, one a slice
    dtypes: tuple[str, ...] = DTYPES  # that it can store
    has_series: bool = False  # `dataset` is the number of one of the images in a file
    # (path, layout, create=...) -> a zyx tensorstore for every level, written by many processes in
    # boxes of whole chunks; None where one process writes the file
    levels: Callable[..., tuple[Any, ...]] | None = None
    has_shards: bool = False  # whether a file can hold several chunks
    has_inner_chunks: bool = False  # whether one process writes the file in chunks

    @property
    def is_chunked(self) -> bool:
        """Whether many processes can write one volume at once, with a pyramid."""
        return self.levels is not None

    @property
    def has_chunks(self) -> bool:
        """Whether volumes are stored in chunks, in files of their own or in one file."""
        return self.is_chunked or self.has_inner_chunks


def spatial_axes(shape: Sequence[int], names: Sequence[str] = ()) -> tuple[int, ...]:
    """Find which axes of an array are z, y and x.

    Args:
      shape: the array's shape, any number of axes.
      names: a name for each axis, or empty.

    Returns:
      The indices of z, y, x: by name where all three are named, else in stored order, singleton
      axes dropped from the front until three are left.

    Raises:
      VolumeError: another axis is longer than 1, or there are fewer than three axes.
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


def array_reader(
    array: Any,
    voxel_nm: Callable[[tuple[int, ...]], Voxel | None],
    names: Sequence[str] = (),
) -> Reader:
    """Wrap anything that is sliced like an array as a Reader.

    Args:
      array: numpy memmap, h5py dataset or the like, axes in stored order.
      voxel_nm: called with the indices of the z, y, x axes.
      names: a name for each axis, or empty.

    Returns:
      The reader, axes z, y, x, singleton axes dropped.
    """
    axes = spatial_axes(array.shape, names)
    order = [sorted(axes).index(axis) for axis in axes]

    def read(box: Slices) -> np.ndarray:
        index = [0] * len(array.shape)
        for axis, part in zip(axes, box, strict=True):
            index[axis] = part
        return np.transpose(array[tuple(index)], order)

    shape = tuple(array.shape[axis] for axis in axes)
    return Reader(shape, array.dtype, lambda: voxel_nm(axes), read)


def no_voxel_size(why: str = "") -> VolumeError:
    """Say that a file states no voxel size, and how to give one."""
    return VolumeError(
        f"got no voxel size{why and f' ({why})'}, wanted one in nm: --config.data.voxel_nm=z,y,x "
        "(train), --input_voxel_nm=z,y,x (reconstruct) or --voxel_nm=z,y,x (evaluate)"
    )


def refuse_dataset(form: str, dataset: str) -> None:
    """Raise VolumeError if a dataset is named in a format that holds one volume only."""
    if dataset:
        raise VolumeError(f"dataset: got {dataset!r}, wanted none: {form} holds one volume")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing file counts as an empty object."""
    if not path.is_file():
        return {}
    if path.stat().st_size > LARGEST_JSON:
        raise VolumeError(
            f"{path.name}: got {path.stat().st_size:,} bytes of JSON, wanted at most "
            f"{LARGEST_JSON:,}"
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise VolumeError(f"{path.name}: got a JSON {type(content).__name__}, wanted an object")
    return content


def check_inside(name: str, what: str) -> str:
    """Return a path that stands in a file, or raise VolumeError if it leads out of its folder.

    Args:
      name: relative, as the file has it.
      what: it names, for the message.
    """
    parts = Path(name.replace("\\", "/")).parts
    if Path(name).is_absolute() or ".." in parts or ":" in name:
        raise VolumeError(f"{what}: got {name[:80]!r}, wanted a path inside its own folder")
    return name


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, creating its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
