"""A region: neighbouring blocks that are read, given pseudo-labels and fitted together.

Regions share nothing, so they may be fitted in any order, by any process. Blocks of neighbouring
regions overlap like any others, and are blended like any others.
Letters: S blocks of a region, of which L live.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax.data.intensity import images_to_unit, to_unit
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box
from emgauss_jax.methods.base import Block
from emgauss_jax.pipeline.cutting import cut_blocks, part_of
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pseudo_labels.store import Labels
from emgauss_jax.pseudo_labels.template import (
    LabelTemplate,
    label_template,
    why_no_pseudo_labels,
)
from emgauss_jax.pseudo_labels.weights import SourceWeights


class Region(NamedTuple):
    """What is fitted together, opened."""

    observed: SliceStack  # its slices
    boxes: tuple[Box, ...]  # S; in z they count its valid slices, in y and x its px
    constants: np.ndarray  # f32[S], intensity of a block of one value, which is not fitted; NaN of
    # a block that is fitted: it lives

    @property
    def live(self) -> list[int]:
        """The L blocks that hold more than one intensity."""
        return np.flatnonzero(np.isnan(self.constants)).tolist()

    def cut(self, which: Sequence[int], labels: Labels | None) -> Block:
        """Cut blocks out of the slices, and out of the pseudo-labels if there are any."""
        observed, boxes = self.observed, [self.boxes[i] for i in which]
        planes = labels and (labels.planes, labels.z, labels.per_slice)
        blocks = cut_blocks(observed.valid_slices, observed.z_valid, boxes, planes)
        return blocks._replace(slices=images_to_unit(blocks.slices, observed.grey_range))


class Fitted(NamedTuple):
    """A region whose blocks can be drawn."""

    region: Region
    labels: Labels | None  # what is left of them
    params: Any  # of the blocks that live, leaves [L, ...]

    def block(self, index: int) -> tuple[Any, Block]:
        """Pick the parameters and the data of a block that lives."""
        block = jax.tree.map(lambda leaf: leaf[0], self.region.cut([index], self.labels))
        place = self.region.live.index(index)
        return jax.tree.map(lambda leaf: leaf[place], self.params), block


class FitStore(NamedTuple):
    """The finished fits of a run, in a workdir or in memory.

    `open(index)`: a region whose blocks can be drawn.
    `weights(index)`: how far the sources of a region's pseudo-labels were believed; None: it has
        none.
    `notes()`: what a report's reader should know of the fits.
    `pack()`: all of it as a pytree of arrays and JSON, for one file.
    """

    open: Callable[[int], Fitted]
    weights: Callable[[int], SourceWeights | None]
    notes: Callable[[], dict[str, str]]
    pack: Callable[[], tuple[Any, dict[str, Any]]]


def folder_of(run: Run, index: int, workdir: pathlib.Path) -> pathlib.Path:
    """Name the folder of a region: the workdir itself where there is but one."""
    return workdir if len(run.regions) == 1 else workdir / "regions" / f"{index:06d}"


def open_region(run: Run, index: int) -> Region:
    """Read the slices of a region and cut them into blocks."""
    grid = run.regions[index]
    observed = part_of(run.observed, grid)
    start = grid.bounds.start
    boxes = tuple(box.moved([-n for n in start]) for box in grid.boxes)
    constants = [_constant(observed.valid_slices[box.slices]) for box in boxes]
    return Region(observed, boxes, to_unit(np.array(constants), observed.grey_range))


def label_template_of(run: Run, region: Region) -> LabelTemplate | None:
    """Choose how pseudo-labels of a region are made; None: none are, see `why_no_pseudo_labels`."""
    if why_no_pseudo_labels(run.config, region.observed):
        return None
    return run.label_template or label_template(run.config, region.observed)


def _constant(values: np.ndarray) -> float:
    """Tell the only value there is, or NaN where there are more."""
    first = values.flat[0]
    return float(first) if (values == first).all() else np.nan
