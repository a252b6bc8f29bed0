"""A region: neighbouring blocks that are read, taught by a prior, and fitted together.

Regions know nothing of each other, so they may be fitted in any order, by any process. Blocks of
neighbouring regions overlap like any others, and are blended like any others.
Letters: S blocks of a region, of which L live.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax.data.intensity import to_unit
from emgauss_jax.data.stack import Observed
from emgauss_jax.data.tiling import Box
from emgauss_jax.methods.base import Block
from emgauss_jax.pipeline.run import Run, part_of
from emgauss_jax.pseudo_labels.generate import teach
from emgauss_jax.pseudo_labels.source import Prior, build_prior, obstacle
from emgauss_jax.pseudo_labels.store import Labels, forget, read_labels
from emgauss_jax.storage import network_file
from emgauss_jax.training import chunk_plan
from emgauss_jax.training.fit import fit
from emgauss_jax.training.problem import Problem, cut_blocks

FITTED = "fitted.npz"  # the teachers of the blocks that live
CONSTANTS = "constants.npy"  # f32[S], see `Region`


class Region(NamedTuple):
    """What is fitted together, opened."""

    observed: Observed  # its slices
    boxes: tuple[Box, ...]  # S; in z they count its valid slices, in y and x its px
    constants: np.ndarray  # f32[S], intensity of a block that has only one; NaN, it lives

    @property
    def live(self) -> list[int]:
        """The L blocks that hold more than one intensity."""
        return np.flatnonzero(np.isnan(self.constants)).tolist()

    def cut(self, which: Sequence[int], labels: Labels | None) -> Block:
        """Cut blocks out of the slices, and out of the pseudo-labels if there are any."""
        observed, boxes = self.observed, [self.boxes[i] for i in which]
        planes = labels and (labels.planes, labels.z, labels.per_slice)
        blocks = cut_blocks(observed.valid_slices, observed.z_valid, boxes, planes)
        return blocks._replace(slices=to_unit(blocks.slices, observed.levels))


def folder_of(run: Run, index: int, workdir: pathlib.Path) -> pathlib.Path:
    """Name the folder of a region: the workdir itself where there is but one."""
    return workdir if len(run.regions) == 1 else workdir / "regions" / f"{index:06d}"


def is_fitted(run: Run, index: int, workdir: pathlib.Path) -> bool:
    """Tell whether a region is done."""
    return (folder_of(run, index, workdir) / FITTED).exists()


def is_done(run: Run, index: int, workdir: pathlib.Path) -> bool:
    """Tell whether a region is fitted and nothing is left to be taken away."""
    checkpoints = folder_of(run, index, workdir) / chunk_plan.FOLDER
    return is_fitted(run, index, workdir) and not checkpoints.exists()


def check_fitted(run: Run, workdir: pathlib.Path) -> None:
    """Raise where a region is not done."""
    if not run.problem.method.per_block:
        network_file.read(workdir, run.problem.method)
        return
    count = sum(is_fitted(run, index, workdir) for index in range(len(run.regions)))
    if count < len(run.regions):
        raise ValueError(
            f"{workdir}: got a fit of {count} regions of {len(run.regions)}, wanted all: finish it "
            "with the train command"
        )


def open_region(run: Run, index: int) -> Region:
    """Read the slices of a region and cut them into blocks."""
    grid = run.regions[index]
    observed = part_of(run.observed, grid)
    start = grid.bounds.start
    boxes = tuple(box.moved([-n for n in start]) for box in grid.boxes)
    constants = [_constant(observed.valid_slices[box.slices]) for box in boxes]
    return Region(observed, boxes, to_unit(np.array(constants), observed.levels))


def prior_of(run: Run, region: Region) -> Prior | None:
    """Give a region its prior, or None where there is an `obstacle`; no slice is read yet."""
    if obstacle(run.config, region.observed):
        return None
    return run.prior or build_prior(run.config, region.observed)


def problem_of(run: Run, index: int, region: Region, labels: Labels | None) -> Problem:
    """State what is to be fitted in a region in which a block lives."""
    first = run.first_block(index)
    numbers = tuple(first + i for i in region.live)
    blocks = region.cut(region.live, labels)
    return dataclasses.replace(run.problem, blocks=blocks, numbers=numbers)


def _constant(values: np.ndarray) -> float:
    """Tell the only value there is, or NaN where there are more."""
    first = values.flat[0]
    return float(first) if (values == first).all() else np.nan


def fit_region(run: Run, index: int, workdir: pathlib.Path) -> None:
    """Fit a region, unless that has been done; killed and started again, go on.

    Args:
      run: the opened volume.
      index: of the region.
      workdir: of the run.

    Raises:
      FloatingPointError: the fit failed, with the step.
    """
    folder = folder_of(run, index, workdir)
    if not is_fitted(run, index, workdir):
        region, params = open_region(run, index), ()
        if region.live:
            prior = prior_of(run, region)
            labels = teach(prior.of(region.observed), folder) if prior else None
            params = fit(problem_of(run, index, region, labels), folder)
        write_fitted(folder, region.constants, params)
    # What only a fit that goes on needs; the checkpoints last, see `is_done`.
    forget(folder)
    shutil.rmtree(folder / chunk_plan.FOLDER, ignore_errors=True)


def write_fitted(folder: pathlib.Path, constants: np.ndarray, params: Any) -> None:
    """Write what a region's fit came to; it is done once this is.

    Args:
      folder: of the region.
      constants: f32[S].
      params: numpy leaves [L, ...]; () where no block lives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / CONSTANTS, constants)
    chunk_plan.save(folder / FITTED, params)


class Fitted(NamedTuple):
    """A region that is done."""

    region: Region
    labels: Labels | None  # what is left of them
    params: Any  # numpy leaves [L, ...], or those of one network; None where no block lives
    per_block: bool

    def block(self, index: int) -> tuple[Any, Block]:
        """Pick the parameters and the data of a block that lives."""
        params, place = self.params, self.region.live.index(index)
        if self.per_block:
            params = jax.tree.map(lambda leaf: leaf[place], params)
        return params, jax.tree.map(lambda leaf: leaf[0], self.region.cut([index], self.labels))


def read_fitted(run: Run, index: int, workdir: pathlib.Path) -> Fitted:
    """Open a region that is done."""
    folder = folder_of(run, index, workdir)
    region, problem = open_region(run, index), run.problem
    if not region.live:
        return Fitted(region, None, None, True)
    if not problem.method.per_block:
        return Fitted(region, None, network_file.read(workdir, problem.method), False)
    teachers = jax.eval_shape(
        problem.program.start, problem.blocks, jax.random.split(problem.key, 1)
    )
    params = chunk_plan.read(folder / FITTED, teachers)
    prior = prior_of(run, region)
    like = prior and prior.like(region.observed)
    labels = like and read_labels(folder, like.plane_z, like.settings.factor)
    return Fitted(region, labels, params, True)
