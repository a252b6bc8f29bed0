"""What differs between blocks fitted each for itself and one network for all: two strategies.

`fitting_of` chooses between them, as `block_axis` does for `training`. Only `registry.build_shared`
asks besides these two which kind a method is, to refuse the other.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from emgauss_jax.data.formats.interface import CHUNK
from emgauss_jax.methods.base import Method
from emgauss_jax.pipeline import region_fit, shared_network
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.region import Fitted
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.trials import TrialFolders
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.hyperparams import Hyper

SLAB = CHUNK  # planes drawn at once


class Fitting(NamedTuple):
    """How the fits of a run are planned, made, known to be done, and opened.

    `plan(run, workdir)`: the fits as a phase of a job.
    `check_inputs(run, workdir)`: raise InputError, before a fit is begun, where it cannot be made.
    `check_fitted(run, workdir)`: raise InputError where fits are missing.
    `open(run, index, workdir)`: a region whose blocks can be drawn.
    `notes(run, workdir)`: what a report's reader should know of the fits.
    `fit_trials(run, hypers, folders)`: fit trials of a sweep at once; trial -> failure.
    `fits_of_trials(run, count)`: how many fits so many trials take, in words.
    `planes_at_once`: drawn of a block.
    `blocks_held`: the most blocks held in memory besides a region's slices during a fit.
    """

    plan: Callable[[Run, pathlib.Path], Phase]
    check_inputs: Callable[[Run, pathlib.Path], None]
    check_fitted: Callable[[Run, pathlib.Path], None]
    open: Callable[[Run, int, pathlib.Path], Fitted]
    notes: Callable[[Run, pathlib.Path], dict[str, str]]
    fit_trials: Callable[[Run, Sequence[Hyper], TrialFolders], dict[int, Failure]]
    fits_of_trials: Callable[[Run, int], str]
    planes_at_once: int
    blocks_held: int


PER_BLOCK = Fitting(
    plan=region_fit.plan_fits,
    check_inputs=region_fit.check_inputs,
    check_fitted=region_fit.check_fitted,
    open=region_fit.read_fitted,
    notes=region_fit.notes,
    fit_trials=region_fit.fit_trials,
    fits_of_trials=lambda run, n: f"x {run.grid.count} blocks = {n * run.grid.count} fits",
    planes_at_once=SLAB,
    blocks_held=0,  # its blocks are part of what a region's slices take
)
SHARED = Fitting(
    plan=shared_network.plan_fits,
    check_inputs=shared_network.check_inputs,
    check_fitted=shared_network.check_fitted,
    open=shared_network.read_drawn,
    notes=shared_network.notes,
    fit_trials=shared_network.fit_trials,
    fits_of_trials=lambda run, n: f"= {n} networks",
    planes_at_once=4 * SLAB,  # a network looks at all of a block for whatever it is asked
    blocks_held=shared_network.MOST_BLOCKS,
)


def fitting_of(method: Method) -> Fitting:
    """Choose how the fits of a method are made."""
    return PER_BLOCK if method.per_block else SHARED
