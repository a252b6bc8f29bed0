"""An output as tasks: tiles of a chunked volume and boxes of its pyramid, or one file.

Letters: D H W output, Q planes.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data import concurrent_volume
from emgauss_jax.data.chunk_shape import checked_chunks, unused_chunks
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import CHUNK
from emgauss_jax.data.formats.pyramid import whole_files
from emgauss_jax.data.intensity import from_unit
from emgauss_jax.data.recognition import format_for
from emgauss_jax.data.tiling import Box
from emgauss_jax.data.volume import create_volume, has_shards, is_chunked, plan_volume
from emgauss_jax.pipeline.output_grid import OutputGrid, place_of
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.stitching import Fits, expected_error, render

TILE = (4 * CHUNK, 512, 512)  # planes, px, px of a task, or more: whole files


class Draw(NamedTuple):
    """What an output is drawn by."""

    planes: Callable[[np.ndarray, Box], np.ndarray]  # depths f64[Q] and a part -> [Q, h, w]
    slab: int  # planes at once


def drawing(fits: Fits) -> Draw:
    """Draw the reconstruction itself, in the input's grey levels."""
    run = fits.run

    def draw(z: np.ndarray, part: Box) -> np.ndarray:
        observed = run.observed
        planes = from_unit(render(fits, z, part), observed.grey_range, observed.dtype)
        if observed.grey_range.padding:
            _paste_padding(fits, z, part, planes)
        if run.config.keep_observed:
            _paste_observed(fits, z, part, planes)
        return planes

    return Draw(draw, fits.slab)


def drawing_errors(fits: Fits) -> Draw:
    """Draw the standard error of every voxel in the input's grey levels, float32."""
    span = fits.run.observed.grey_range.span
    return Draw(lambda z, part: span * expected_error(fits, z, part), fits.slab)


def _paste_padding(fits: Fits, z: np.ndarray, part: Box, planes: np.ndarray) -> None:
    """Put padding where the valid slice nearest to a plane has it, in place."""
    observed = fits.run.observed
    near = np.abs(np.asarray(z)[:, None] - observed.z_valid).argmin(axis=1)
    near = np.flatnonzero(observed.plan.valid)[near]
    first, last = near.min(), near.max()
    start, shape = (int(first), *part.start[1:]), (int(last - first) + 1, *part.shape[1:])
    slices = observed.part(Box(start, shape)).slices[near - first]
    for level, _ in observed.grey_range.padding:
        planes[slices == level] = level


def _paste_observed(fits: Fits, z: np.ndarray, part: Box, planes: np.ndarray) -> None:
    """Put the valid observed slices where a plane has exactly their depth, in place."""
    observed = fits.run.observed
    if not observed.plan.profile.is_plane:
        return
    near = np.rint(z).astype(int).clip(0, observed.shape[0] - 1)
    here = (np.abs(z - near) < 1e-6) & observed.plan.valid[near]
    if here.any():
        first, last = near[here][0], near[here][-1]
        start, shape = (int(first), *part.start[1:]), (int(last - first) + 1, *part.shape[1:])
        planes[here] = observed.part(Box(start, shape)).slices[near[here] - first]


def output_phases(
    draw: Draw,
    run: Run,
    grid: OutputGrid,
    path: pathlib.Path,
    dtype: Any,
    format: str | None,
    content: str,
) -> tuple[Phase, ...]:
    """Plan the writing of a volume where the input lies; what is there already is not planned.

    Args:
      draw: what is written.
      run: of whose field it is.
      grid: where its planes lie.
      path: the volume.
      dtype: of the volume.
      format: where the suffix leaves it open, see `create_volume`.
      content: what it is drawn from and what of it, see `concurrent_volume.begin`.

    Raises:
      InputError: the suffix is unknown, or another volume has been begun at the path.
    """
    name = f"{content.split(' of ')[0]} {path.name}"  # of the phases: an output may be called alike
    if path.is_dir():
        concurrent_volume.finish(path)  # what a kill within it has left
    if path.exists():
        return ()
    shape = (len(grid.z), *run.observed.shape[1:])
    form, _ = plan_volume(path, shape, dtype, grid.voxel_nm, format)
    asked = {"chunk": run.config.output.chunk, "shard": run.config.output.shard}
    if format is None and not has_shards(form):
        del asked["shard"]  # the run's own output alone must be as the config says
    asked |= {"format": format, "place": place_of(run.observed, grid)}
    plan_volume(path, shape, dtype, grid.voxel_nm, **asked)
    if not is_chunked(form):
        write = functools.partial(_write_file, draw, grid, path, shape, dtype, asked)
        return (Phase(name, 1, lambda task: path.exists(), lambda task: write()),)
    try:
        volume = concurrent_volume.begin(
            path, shape, dtype, grid.voxel_nm, content=content, **asked
        )
    except InputError:
        if path.exists():  # another process has finished it meanwhile
            return ()
        raise
    finish = Phase(
        f"finish {name}", 1, lambda task: path.exists(), lambda task: concurrent_volume.finish(path)
    )
    coarser = (
        _coarser(f"{name} level {level}", volume, level) for level in range(1, len(volume.levels))
    )
    return (_tiles(name, volume, draw, grid.z), *coarser, finish)


def storage_warnings(run: Run, path: pathlib.Path, format: str | None, own: bool) -> list[str]:
    """Check how an output is to be stored, and say what of that its format does not use.

    Args:
      run: of whose field it is.
      path: of the output.
      format: where the suffix leaves it open, see `create_volume`.
      own: whether it is the run's own output, which must be as the config says; of another one,
        shards are left out where there can be none.

    Raises:
      InputError: the suffix is unknown, or chunk or shard cannot be stored.
    """
    form, output = format_for(path, format), run.config.output
    checked_chunks(form, output.chunk, output.shard if own or form.has_shards else (0, 0, 0))
    unused = unused_chunks(form, output.chunk, output.shard)
    return [f"warning: {path.name}: {each}" for each in unused]


def _tiles(name: str, volume: concurrent_volume.SharedVolume, draw: Draw, z: np.ndarray) -> Phase:
    """Draw the volume itself, tile by tile."""
    level = volume.levels[0]
    tiles = cut_tiles(level.shape, level.chunk)
    layer = max(draw.slab // level.chunk[0], 1) * level.chunk[0]  # planes written at once

    def do(task: int) -> None:
        box = tiles[task]
        for start in range(box.start[0], box.stop[0], layer):
            stop = min(start + layer, box.stop[0])
            part = Box((start, *box.start[1:]), (stop - start, *box.shape[1:]))
            level[part.slices] = _drawn(draw, z[start:stop], part, level.dtype)
        volume.mark(f"tile {task}")

    return Phase(name, len(tiles), lambda task: _done(volume, f"tile {task}"), do)


def _drawn(draw: Draw, z: np.ndarray, part: Box, dtype: Any) -> np.ndarray:
    """Draw planes f64[D] of a part, slab by slab where it has more of them than a slab."""
    if len(z) <= draw.slab:
        return draw.planes(z, part)
    array = np.empty(part.shape, dtype)
    for start in range(0, len(z), draw.slab):
        planes = z[start : start + draw.slab]
        slab = Box((part.start[0] + start, *part.start[1:]), (len(planes), *part.shape[1:]))
        array[start : start + draw.slab] = draw.planes(planes, slab)
    return array


def _coarser(name: str, volume: concurrent_volume.SharedVolume, level: int) -> Phase:
    """Make a level of the pyramid from the one before."""
    tasks = volume.tasks(level)

    def do(task: int) -> None:
        volume.coarsen(tasks[task])
        volume.mark(tasks[task].name)

    return Phase(name, len(tasks), lambda task: _done(volume, tasks[task].name), do)


def _done(volume: concurrent_volume.SharedVolume, name: str) -> bool:
    """Tell whether a piece of work is done; the journal goes when the volume is in its place."""
    return volume.done(name) or volume.path.exists()  # in this order: the volume comes first


def cut_tiles(
    shape: tuple[int, int, int], file: tuple[int, int, int] = (CHUNK,) * 3
) -> tuple[Box, ...]:
    """Cut an output into tiles of whole files, along z first: they need the same regions.

    Args:
      shape: (D, H, W) of the output, voxels.
      file: edge lengths of a file, (z, y, x), voxels: a chunk, or a shard.
    """
    edges = whole_files(TILE, file)
    starts = [range(0, n, edge) for n, edge in zip(shape, edges, strict=True)]
    boxes = []
    for y, x, z in itertools.product(starts[1], starts[2], starts[0]):
        start = (z, y, x)
        ends = (min(a + t, n) for a, t, n in zip(start, edges, shape, strict=True))
        boxes.append(Box(start, tuple(b - a for a, b in zip(start, ends, strict=True))))
    return tuple(boxes)


def _write_file(
    draw: Draw,
    grid: OutputGrid,
    path: pathlib.Path,
    shape: Any,
    dtype: Any,
    asked: dict[str, Any],
) -> None:
    """Write a volume whose format one process writes from its first plane to its last."""
    with create_volume(path, shape, dtype, grid.voxel_nm, **asked) as writer:
        _fill(writer, draw, grid.z, shape)


def draw_array(draw: Draw, run: Run, z: np.ndarray, dtype: Any) -> np.ndarray:
    """Draw planes f64[Q] of the whole field into an array: [Q, H, W]."""
    array = np.empty((len(z), *run.observed.shape[1:]), dtype)
    _fill(array, draw, z, array.shape)
    return array


def _fill(target: Any, draw: Draw, z: np.ndarray, shape: Any) -> None:
    """Draw planes f64[D] of the whole field, slab by slab, into what takes boxes."""
    for start in range(0, shape[0], draw.slab):
        stop = min(start + draw.slab, shape[0])
        slab = Box((start, 0, 0), (stop - start, *shape[1:]))
        target[slab.slices] = draw.planes(z[start:stop], slab)
