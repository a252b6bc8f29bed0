"""The files that hold the chunks of an array: which are there, and under which names.

A chunk that is not on disk is read as the fill value. So chunks are counted, and looked for under
the names that another writer, or a compressor, may have given them. Axes are in the order of the
names on disk: a folder then is listed once for all of its chunks.
"""

import functools
import itertools
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.formats.interface import VolumeError

# what a tool for copying appends to the name of a chunk that it has compressed
SUFFIXES = (".gz", ".br", ".zst", ".zstd", ".bz2", ".xz")
_METADATA = {".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json", "attributes.json", "info"}
_LISTED = 500  # so many names are looked for by listing their folders, fewer one by one

_TRIED = 2**22  # so many names are looked for, where there are more, one alike
_NUMBER = re.compile(r"(?<!\d)-?\d+")

Box = tuple[slice, ...]
Name = Callable[[Sequence[int]], str]  # place in the grid of chunks -> path inside the folder


class StoredChunks(NamedTuple):
    """The chunks of an array, each in a file; or its shards, which hold chunks."""

    folder: Path
    shape: tuple[int, ...]  # of the array
    edges: tuple[int, ...]  # of a chunk, or of a shard
    name: Name
    aliases: tuple[Name, ...] = ()  # names under which the reader finds a chunk as well
    others: tuple[Name, ...] = ()  # names that a chunk may have although the reader knows them not

    @property
    def whole(self) -> Box:
        """The box that is the whole array."""
        return tuple(slice(0, length) for length in self.shape)


def with_suffixes(name: Name, suffixes: Sequence[str] = SUFFIXES) -> tuple[Name, ...]:
    """Give the names that chunks have once a tool has compressed them."""
    return tuple(functools.partial(_suffixed, name, suffix) for suffix in suffixes)


def _suffixed(name: Name, suffix: str, index: Sequence[int]) -> str:
    return name(index) + suffix


def touched(chunks: StoredChunks, box: Box) -> tuple[range, ...]:
    """Give the chunks that a box touches, as a range of places along every axis."""
    return tuple(
        range(part.start // edge, -(-part.stop // edge))
        for part, edge in zip(box, chunks.edges, strict=True)
    )


def _finder(folder: Path, count: int) -> Callable[[str], bool]:
    """Make a function that tells whether one of so many names is there."""
    if count < _LISTED:
        return lambda name: (folder / name).is_file()

    @functools.lru_cache(maxsize=64)  # names come folder by folder
    def listed(parent: str) -> frozenset[str]:
        try:
            return frozenset(os.listdir(folder / parent))
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()

    def there(name: str) -> bool:
        parent, _, leaf = name.rpartition("/")
        return leaf in listed(parent)

    return there


def has_any(chunks: StoredChunks) -> bool:
    """Tell whether any chunk is there; the middle one, which nearly all arrays have, is first."""
    ranges, names = touched(chunks, chunks.whole), (chunks.name, *chunks.aliases)
    count = math.prod(map(len, ranges))
    middle = [len(along) // 2 for along in ranges]
    if count == 0 or any((chunks.folder / name(middle)).is_file() for name in names):
        return True
    if count > _TRIED:
        return _has_alike(chunks, names)
    there = _finder(chunks.folder, count)
    return any(there(name(index)) for index in itertools.product(*ranges) for name in names)


def _has_alike(chunks: StoredChunks, names: Sequence[Name]) -> bool:
    """Tell whether any file is named as chunks are, whatever its numbers: they are too many."""
    first = [0] * len(chunks.shape)
    wanted = {_NUMBER.sub("0", name(first)) for name in names}
    for parent, _, files in os.walk(chunks.folder):
        paths = (os.path.relpath(os.path.join(parent, file), chunks.folder) for file in files)
        if any(_NUMBER.sub("0", path.replace(os.sep, "/")) in wanted for path in paths):
            return True
    return False


class Count(NamedTuple):
    """The files of a box."""

    absent: int
    aliased: int  # there under an alias alone
    all: int


def count_files(chunks: StoredChunks, box: Box) -> Count:
    """Count the files of a box, those that are not there and those that have other names.

    Args:
      chunks: of the array.
      box: inside the array.

    Raises:
      VolumeError: a chunk is there under a name that the reader does not know.
    """
    ranges = touched(chunks, box)
    count = math.prod(map(len, ranges))
    there, absent, aliased = _finder(chunks.folder, count), 0, 0
    for index in itertools.product(*ranges):
        if there(chunks.name(index)):
            continue
        if any(there(alias(index)) for alias in chunks.aliases):
            aliased += 1
            continue
        absent += 1
        for other in chunks.others:
            if there(other(index)):
                raise VolumeError(
                    f"chunks: got a file {other(index)}, wanted {chunks.name(index)}"
                    f"{advice(other(index))}"
                )
    return Count(absent, aliased, count)


def advice(name: str) -> str:
    """Say what to do with a file that a tool has compressed; "" for any other name."""
    suffix = Path(name).suffix
    tools = {".gz": "gunzip -r", ".br": "brotli -d", ".bz2": "bunzip2", ".xz": "unxz"}
    if suffix not in SUFFIXES:
        return ""
    return f": decompress all files that end in {suffix} ({tools.get(suffix, 'unzstd')})"


def watch(chunks: StoredChunks) -> Callable[[Box], bool]:
    """Make a function that tells whether a box has chunks that are there under an alias alone.

    It raises VolumeError where a chunk is there under a name that the reader does not know. A chunk
    that has its own name, or none, is looked for once: the first time that a box touches it.
    """
    seen = np.zeros([len(along) for along in touched(chunks, chunks.whole)], bool)

    def aliased(box: Box) -> bool:
        here = seen[tuple(slice(r.start, r.stop) for r in touched(chunks, box))]
        if not here.all():
            here[...] = not count_files(chunks, box).aliased
        return not here.all()

    return aliased


def none_there(chunks: StoredChunks) -> VolumeError:
    """Say that no chunk is there, what was looked for, and what else is there."""
    files = (path for path in chunks.folder.rglob("*") if path.name not in _METADATA)
    names = (path.relative_to(chunks.folder).as_posix() for path in files if path.is_file())
    found = sorted(itertools.islice(names, 3))
    count = math.prod(map(len, touched(chunks, chunks.whole)))
    wanted = chunks.name([0] * len(chunks.shape))
    return VolumeError(
        f"chunks: got none of {count} in {chunks.folder.name}, wanted files such as {wanted}; "
        + (f"there are {', '.join(found)}{advice(found[0])}" if found else "there are no files")
    )
