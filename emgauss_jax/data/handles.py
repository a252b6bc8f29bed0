"""Open volumes: a Volume is read, a VolumeWriter is written, a SharedLevel is both."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from emgauss_jax.data.atomic import (
    forget_stale,
    partial_of,
    remove,
    reserve,
    sync,
    sync_folder,
)
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import (
    AT_ORIGIN,
    Format,
    Layout,
    Place,
    Slices,
    VolumeError,
    Voxel,
    Writer,
)


@contextmanager
def one_line_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn any exception of a library into a one-line InputError that names the path."""
    try:
        yield
    except VolumeError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:
        # tensorstore appends its whole spec
        text = str(error).split(" [tensorstore_spec", 1)[0].strip() or type(error).__name__
        raise InputError(f"{path}: cannot be {doing}: {text.splitlines()[0]}") from error


def check_absent(path: Path) -> None:
    """Raise InputError if the path exists, even as a broken link."""
    if os.path.lexists(path):
        raise InputError(f"{path}: exists already, wanted a new path")


def resolve_box(key: Any, shape: tuple[int, int, int]) -> Slices:
    """Resolve numpy slices to starts and stops inside the volume."""
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > 3 or not all(isinstance(p, slice) and p.step in (None, 1) for p in parts):
        raise InputError(f"box: got {key}, wanted [z0:z1, y0:y1, x0:x1] of step 1")
    parts += (slice(None),) * (3 - len(parts))
    bounds = [part.indices(length) for part, length in zip(parts, shape, strict=True)]
    return tuple(slice(start, max(start, stop)) for start, stop, _ in bounds)


def check_fit(path: Path, box: Slices, array: np.ndarray, dtype: np.dtype) -> None:
    """Raise InputError unless an array has the box's shape and the volume's dtype."""
    shape = tuple(part.stop - part.start for part in box)
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"{path}: got {array.dtype} of shape {array.shape}, wanted {dtype} of shape {shape}"
        )


def box_text(box: Slices) -> str:
    """Format a box as an index: "[z0:z1, y0:y1, x0:x1]"."""
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in box) + "]"


@dataclass(frozen=True)
class Volume:
    """A volume on disk; `volume[z0:z1, y0:y1, x0:x1]` reads a box into a new array."""

    path: Path
    shape: tuple[int, int, int]  # (D, H, W)
    dtype: np.dtype  # one of DTYPES, native byte order
    voxel_nm: Voxel  # (z, y, x)
    format: str  # its name in the registry: "tiff", "zarr2", "zarr3", "n5", ...
    _read: Callable[[Slices], np.ndarray] = field(repr=False)
    place: Place = field(default=AT_ORIGIN, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)  # what was assumed in reading it
    voxel_given: bool = field(default=False, kw_only=True)  # by the user, over what the file says
    _absent: Callable[[Slices], tuple[int, int]] | None = field(
        default=None, kw_only=True, repr=False
    )

    def absent_chunks(self, key: Any) -> tuple[int, int]:
        """Count the stored chunks that a box touches: (those that are absent, all of them)."""
        box = resolve_box(key, self.shape)
        return self._absent(box) if self._absent else (0, 0)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a box, given as numpy slices of step 1."""
        box = resolve_box(key, self.shape)
        with one_line_errors(self.path, f"read as {self.format} in {box_text(box)}"):
            return np.array(self._read(box), self.dtype, order="C", subok=False)


@dataclass(frozen=True)
class SharedLevel(Volume):
    """One level of a shared volume: a Volume that is also written, in boxes of whole chunks."""

    chunk: tuple[int, int, int]  # (z, y, x); a shard, where there are shards
    factors: tuple[int, int, int]  # voxels of level 0 per voxel of this level, (z, y, x)
    _write: Callable[[Slices, np.ndarray], None] = field(repr=False)

    def __setitem__(self, key: Any, array: np.ndarray) -> None:
        """Write a box. It is on disk on return; writing it again changes nothing.

        Raises:
          InputError: the box cuts a chunk, which two processes might then write at once; the array
            lacks the box's shape or the volume's dtype; or writing failed.
        """
        box, array = resolve_box(key, self.shape), np.asarray(array)
        check_fit(self.path, box, array, self.dtype)
        for part, edge, length in zip(box, self.chunk, self.shape, strict=True):
            if part.start % edge or (part.stop % edge and part.stop != length):
                raise InputError(
                    f"{self.path}: box: got {box_text(box)} in a level of {self.shape}, "
                    f"wanted whole chunks of {self.chunk}"
                )
        with one_line_errors(self.path, f"written as {self.format} in {box_text(box)}"):
            self._write(box, array)


class VolumeWriter:
    """A volume being written: a context manager that takes `writer[z0:z1, y0:y1, x0:x1] = array`.

    Boxes are written to a hidden sibling. It is flushed to the disk, with all files that it has,
    and renamed to `path` when the context ends without an exception, and deleted otherwise.
    """

    def __init__(self, path: Path, form: Format, layout: Layout) -> None:
        """Store the arguments, which `create_volume` has checked; nothing is written yet."""
        self.path = path
        self.shape = layout.shape
        self.dtype = layout.dtype
        self._form = form
        self._layout = layout
        self._partial = partial_of(path)
        self._writer: Writer | None = None  # only while the context is open

    def __enter__(self) -> "VolumeWriter":
        """Create the partial volume, and remove those of processes that were killed."""
        with self._errors():
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            forget_stale(self.path)
            try:
                self._writer = self._form.create(self._partial, self._layout)
                reserve(self._partial)
            except BaseException:
                remove(self._partial)
                raise
        return self

    def __setitem__(self, key: Any, array: np.ndarray) -> None:
        """Write a box; the array must have the box's shape and the volume's dtype."""
        if self._writer is None:
            raise InputError(f"{self.path}: got a write to a closed file, wanted a `with` block")
        box, array = resolve_box(key, self.shape), np.asarray(array)
        check_fit(self.path, box, array, self.dtype)
        with self._errors():
            self._writer.write(box, array)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Rename the volume to its path, or delete it after an exception."""
        writer, self._writer = self._writer, None
        try:
            with self._errors():
                writer.close()
            del writer  # it may map the file, which Windows then does not rename
            if kind is None:
                check_absent(self.path)
                with self._errors():
                    sync(self._partial)
                    self._partial.rename(self.path)
                    sync_folder(self.path.parent)
        finally:
            remove(self._partial)

    def _errors(self) -> AbstractContextManager[None]:
        return one_line_errors(self.path, f"written as {self._form.name}")
