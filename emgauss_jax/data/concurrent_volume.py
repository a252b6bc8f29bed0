"""A volume larger than memory and its pyramid, written by many processes that may be killed.

    volume = begin(path, shape, dtype, voxel_nm)  # in every process
    if not volume.done("slab 3"):
        volume.levels[0][192:256] = array  # the box must consist of whole chunks
        volume.mark("slab 3")
    for task in volume.tasks(1):  # when all of level 0 is done; then level 2, ...
        if not volume.done(task.name):
            volume.coarsen(task)
            volume.mark(task.name)
    finish(path)  # when all is done and no process writes any more

Until then the volume, the journal of finished tasks and a record of the volume's metadata are in
`.NAME.shared` beside the path. They are made and removed together, so a journal fits its volume.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emgauss_jax.data.atomic import forget_stale, partial_of, sync, sync_folder
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.chunked import chunked_reader, chunked_writer
from emgauss_jax.data.formats.interface import (
    AT_ORIGIN,
    CHUNK,
    Format,
    Layout,
    Place,
    Slices,
    VolumeError,
    read_json,
    write_json,
)
from emgauss_jax.data.formats.pyramid import PyramidTask, level_factors, level_tasks, mean_over
from emgauss_jax.data.formats.registry import BY_NAME, FORMATS
from emgauss_jax.data.handles import SharedLevel, one_line_errors
from emgauss_jax.data.volume import plan_volume

# inside the hidden folder
_VOLUME, _JOURNAL, _BEGUN = "volume", "done", "begun.json"


@dataclass(frozen=True)
class SharedVolume:
    """An unfinished volume, as opened by one of the processes that write it."""

    path: Path  # final path, once finished
    levels: tuple[SharedLevel, ...]  # the volume itself, then coarser and coarser levels

    def done(self, name: str) -> bool:
        """Tell whether any process has marked a task as done."""
        return self._marker(name).exists()

    def mark(self, name: str) -> None:
        """Mark a task as done; its name has letters, digits, spaces and any of `._-`."""
        marker = self._marker(name)
        with one_line_errors(self.path, f"noted as done: {name}"):
            marker.touch()

    def tasks(self, level: int) -> tuple[PyramidTask, ...]:
        """List the tasks that write a level of the pyramid."""
        return level_tasks(level, self.levels[level].shape, self.levels[level].chunk)

    def coarsen(self, task: PyramidTask) -> None:
        """Write the box of a task from the next finer level, which must be written there.

        Memory is bounded for any volume size. A repeated task writes the same voxels.
        """
        if task.level == 0:
            raise InputError(f"{self.path}: task: got {task.name}, wanted one of level 1 or more")
        level = self.levels[task.level]
        for z in _cut(task.box[0], level.chunk[0]):
            layers = [self._mean(task.level, (part, *task.box[1:])) for part in _cut(z, CHUNK)]
            level[(z, *task.box[1:])] = np.concatenate(layers)

    def _mean(self, level: int, box: Slices) -> np.ndarray:
        """Average what the next finer level has in a box of a level."""
        before, after = self.levels[level - 1 : level + 1]
        ratio = [new // old for new, old in zip(after.factors, before.factors, strict=True)]
        wider = (slice(p.start * f, p.stop * f) for p, f in zip(box, ratio, strict=True))
        return mean_over(before[tuple(wider)], ratio)

    def _marker(self, name: str) -> Path:
        if not re.fullmatch(r"[\w-][\w .-]*", name):
            raise InputError(f"name: got {name!r}, wanted letters, digits, spaces and any of ._-")
        return _hidden(self.path) / _JOURNAL / name


def _cut(part: slice, step: int) -> Iterator[slice]:
    """Cut a range of voxels into pieces of at most so many."""
    for start in range(part.start, part.stop, step):
        yield slice(start, min(start + step, part.stop))


def _hidden(path: Path) -> Path:
    # differs from the partial file of VolumeWriter, which deletes any that it finds
    return path.with_name(f".{path.name}.shared")


def _make(hidden: Path, form: Format, layout: Layout, record: dict[str, Any]) -> None:
    """Make the hidden folder in one rename, or keep the one another process has just made."""
    forget_stale(hidden)
    private = partial_of(hidden)
    try:
        form.create(private / _VOLUME, layout)
        (private / _JOURNAL).mkdir()
        write_json(private / _BEGUN, record)
        sync(private)
        try:
            private.rename(hidden)
        except OSError:  # rename never replaces a folder that is not empty
            if not hidden.is_dir():
                raise
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _record(form: Format, layout: Layout, content: str) -> dict[str, Any]:
    return {
        "content": content,
        "format": form.name,
        "shape": list(layout.shape),
        "dtype": layout.dtype.name,
        "voxel_nm": list(layout.voxel_nm),
        "levels": [list(factors) for factors in layout.factors],
        "centre_nm": list(layout.place.centre_nm),
        "chunk": list(layout.chunk),
        "shard": layout.shard and list(layout.shard),
    }


def _check_begun(hidden: Path, record: dict[str, Any]) -> None:
    begun = read_json(hidden / _BEGUN)
    for name, wanted in record.items():
        if begun.get(name) != wanted:
            raise VolumeError(
                f"{name}: got {begun.get(name)} in the unfinished {hidden.name}, wanted {wanted}; "
                "to start again, remove that folder"
            )


def _opened(path: Path, form: Format, layout: Layout) -> Iterator[SharedLevel]:
    stores = form.levels(_hidden(path) / _VOLUME, layout, create=False)
    for level, store in zip(layout.levels, stores, strict=True):
        yield SharedLevel(
            path=path,
            shape=level.shape,
            dtype=layout.dtype,
            voxel_nm=level.voxel_nm,
            place=level.place,
            format=form.name,
            _read=chunked_reader(store, (0, 1, 2), lambda: None).read,
            chunk=level.file,
            factors=level.factors,
            _write=chunked_writer(store).write,
        )


def begin(
    path: str | Path,
    shape: Sequence[int],
    dtype: Any,
    voxel_nm: Sequence[float],
    *,
    format: str | None = None,
    place: Place = AT_ORIGIN,
    chunk: Sequence[int] = (CHUNK,) * 3,
    shard: Sequence[int] = (0, 0, 0),
    content: str = "",
) -> SharedVolume:
    """Begin a volume and its pyramid, or continue an unfinished one with the same arguments.

    Any number of processes may call this at the same time.

    Args:
      path: final path; must not exist. A missing parent folder is created.
      shape: (D, H, W), voxels.
      dtype: one that the format can store.
      voxel_nm: (z, y, x), nm.
      format: name of a format that `is_chunked`; by default the suffix decides.
      place: where the volume lies.
      chunk: edge lengths of a stored chunk (z, y, x).
      shard: those of a file of several chunks, zarr 3 alone; (0, 0, 0): none.
      content: free text that says what the voxels are; it must equal that of an unfinished volume.

    Returns:
      The volume; voxels that are not written yet are 0.

    Raises:
      InputError: the path exists, so the volume is finished; an unfinished volume there has other
        arguments; the format is not chunked; or shape, dtype, voxel size, chunk or shard cannot be
        stored.
    """
    path = Path(path)
    begun = _hidden(path).is_dir()  # before plan_volume: if `finish` removed it, the path exists
    name, layout = plan_volume(path, shape, dtype, voxel_nm, format, place, chunk, shard)
    form = BY_NAME[name]
    if not form.is_chunked:
        wanted = ", ".join(known.name for known in FORMATS if known.is_chunked)
        raise InputError(f"{path}: format: got {name}, wanted one of {wanted}")
    layout = replace(layout, factors=level_factors(layout.shape, layout.voxel_nm))
    hidden, record = _hidden(path), _record(form, layout, content)
    with one_line_errors(path, f"begun as {name}"):
        if not begun:
            hidden.parent.mkdir(parents=True, exist_ok=True)
            _make(hidden, form, layout, record)
        _check_begun(hidden, record)
        return SharedVolume(path, tuple(_opened(path, form, layout)))


def finish(path: str | Path) -> None:
    """Rename a completely written volume to its path and remove its journal.

    A call after a kill does the remaining steps; a call after success changes nothing.

    Args:
      path: as for `begin`.

    Raises:
      InputError: another file is at the path, or no volume was begun for it.
    """
    path = Path(path)
    hidden = _hidden(path)
    with one_line_errors(path, "finished"):
        if not os.path.lexists(path):
            with suppress(FileNotFoundError):  # another process renamed it, or none was begun
                (hidden / _VOLUME).rename(path)  # tensorstore has flushed its chunks
                sync_folder(path.parent)
        if (hidden / _VOLUME).exists():
            raise VolumeError(f"exists already, wanted a new path for the volume in {hidden.name}")
        if not path.exists():
            raise VolumeError(f"got nothing in {hidden.name}, wanted a volume begun there")
        shutil.rmtree(hidden, ignore_errors=True)  # another process may be removing it too
