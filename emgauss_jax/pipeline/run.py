"""A run: what a config names, opened and cut into regions of blocks."""

import pathlib
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax.data.damaged_slices import Damaged, find_damaged
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.opening import open_stack, open_unmeasured, with_chunks_counted
from emgauss_jax.data.slice_depths import written_out
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box, Grid
from emgauss_jax.methods import registry
from emgauss_jax.methods.axial_rows import Missing
from emgauss_jax.methods.base import Block
from emgauss_jax.pipeline.cutting import cut_blocks, cut_grid, cut_regions, part_of
from emgauss_jax.pseudo_labels.template import (
    LabelTemplate,
    label_template,
    why_no_pseudo_labels,
)
from emgauss_jax.storage.run_dir import read_absent, read_grey_range
from emgauss_jax.training.problem import (
    FitSettings,
    FitTemplate,
    make_template,
    shapes_of,
)


class Run(NamedTuple):
    """An opened volume, its regions of blocks, and how each of them is fitted."""

    config: Any
    observed: SliceStack  # of the whole crop; unread
    grid: Grid  # all blocks; in z it counts valid slices, in y and x px of the crop
    regions: tuple[Grid, ...]  # blocks that are held in memory and fitted together
    template: FitTemplate  # of the blocks
    label_template: LabelTemplate | None  # of pseudo-labels; None: the first region makes none

    def first_block(self, index: int) -> int:
        """Count the blocks of all regions before one; what is random in a block depends on it."""
        return sum(region.count for region in self.regions[:index])


def leave_out_damaged(config: Any) -> tuple[Any, list[Damaged]]:
    """List slices that look damaged on stderr, and call them missing in a copy of the config.

    Returns:
      The copy, and the slices.

    Raises:
      InputError: a stack that cannot be used, or too much of which looks damaged.
    """
    found = find_damaged(with_chunks_counted(open_unmeasured(config.data), config.data))
    for index, reason in found:
        print(f"slice {index}: {reason}", file=sys.stderr)
    print(f"{len(found)} slices look damaged and are left out", file=sys.stderr)
    changed = config.copy_and_resolve_references()
    changed.data.missing = tuple(sorted({*config.data.missing, *(each.index for each in found)}))
    return changed, found


def with_depths(config: Any) -> Any:
    """Write the depths of a file that `data.z_nm` names into a copy: the file may change later.

    Raises:
      InputError: there is no such file, or it holds something else.
    """
    if not config.data.z_nm.strip():
        return config
    changed = config.copy_and_resolve_references()
    changed.data.z_nm = written_out(config.data.z_nm)
    return changed


def prepare(
    config: Any,
    workdir: pathlib.Path | None = None,
    grey_range: IntensityRange | None = None,
    volume: Any = None,
    absent: tuple[int, int] = (0, 0),
) -> Run:
    """Open the volume a config names and cut it into regions of blocks.

    Args:
      config: the whole config.
      workdir: where grey levels may have been measured, and absent chunks counted, already.
      grey_range: or these.
      volume: an opened one, to be used in place of the config's `data.path`.
      absent: with `grey_range`, how many chunks were found absent, and of how many.

    Returns:
      The run; nothing has been written, and no slice is held.

    Raises:
      InputError: for every input or setting that cannot be used.
    """
    settings = FitSettings(**config.train)
    if workdir:
        grey_range, absent = read_grey_range(workdir), read_absent(workdir)
    observed = open_stack(config.data, grey_range, volume, absent)
    shape = (int(observed.plan.valid.sum()), *observed.shape[1:])
    grid = cut_grid(shape, config.block.max_size, config.block.overlap)
    regions = cut_regions(grid, config.block.region)
    first = part_of(observed, regions[0])
    makes_labels = not why_no_pseudo_labels(config, first)
    labels = label_template(config, first) if makes_labels else None
    anisotropy = observed.voxel_nm[0] / observed.voxel_nm[1]
    missing = missing_of(observed.plan.valid, grid)
    sampling = registry.AxialSampling(anisotropy, observed.plan.profile, missing)
    template = make_template(
        method=registry.build(config.method, config, sampling),
        block_shapes=_block_shapes(first, grid.size, labels),
        key=jax.random.key(config.seed),
        rates=config.optimizer.rates.to_dict(),
        start=dict(config.optimizer.start),
        settings=settings,
    )
    return Run(config, observed, grid, regions, template, labels)


def missing_of(valid: np.ndarray, grid: Grid) -> Missing:
    """Count the slices that any block may lack around and between its own.

    Args:
      valid: bool[K], of the stack.
      grid: of all blocks; in z it counts valid slices.
    """
    z, size = np.flatnonzero(valid), grid.size[0]
    spans = [z[start + size - 1] - z[start] + 1 for start in grid.starts[0]]
    return Missing(int(z[0]), int(max(spans)) - size, len(valid) - 1 - int(z[-1]))


def _block_shapes(
    observed: SliceStack, size: tuple[int, int, int], labels: LabelTemplate | None
) -> Block:
    """Give the shapes that every block has, from the first one of a region; no slice is read."""
    z = observed.z_valid
    blank = np.broadcast_to(np.float32(0), (len(z), *observed.shape[1:]))
    boxes = (Box((0, 0, 0), size),)
    blocks = cut_blocks(blank, z, boxes, labels.blank(observed) if labels else None)
    return shapes_of(jax.tree.map(lambda leaf: leaf[0], blocks))
