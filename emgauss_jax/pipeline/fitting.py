"""What differs between blocks fitted each for itself and one network for all: two strategies.

`fitting_of` chooses between them, as `block_axis` does for `training`. Only `registry.build_shared`
asks besides these two which kind a method is, to refuse the other.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from emgauss_jax.data.formats.interface import CHUNK
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.methods.base import Method
from emgauss_jax.pipeline import learning_blocks, region_fit, region_store, shared_network
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.region import FitStore
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.trials import TrialFolders
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.metrics_log import Watch

SLAB = CHUNK  # planes drawn at once


class Fitting(NamedTuple):
    """How the fits of a run are planned, made, known to be done, and opened.

    `plan(run, workdir)`: the fits as a phase of a job.
    `check_inputs(run, workdir)`: raise InputError, before a fit is begun, where it cannot be made;
        give the further volumes that it will learn from.
    `check_fitted(run, workdir)`: raise InputError where fits are missing.
    `fits_in(run, workdir)`: the finished fits of a workdir.
    `fit_in_memory(run, watch)`: make the fits and write nothing to disk.
    `unpack(run, arrays, about)`: the fits that `FitStore.pack` has named.
    `fit_trials(run, hypers, folders)`: fit trials of a sweep at once; trial -> failure.
    `fits_of_trials(run, count)`: how many fits so many trials take, in words.
    `planes_at_once`: drawn of a block.
    `blocks_held`: the most blocks held in memory besides a region's slices during a fit.
    """

    plan: Callable[[Run, pathlib.Path], Phase]
    check_inputs: Callable[[Run, pathlib.Path], Sequence[SliceStack]]
    check_fitted: Callable[[Run, pathlib.Path], None]
    fits_in: Callable[[Run, pathlib.Path], FitStore]
    fit_in_memory: Callable[[Run, Callable[[str], Watch]], FitStore]
    unpack: Callable[..., FitStore]
    fit_trials: Callable[[Run, Sequence[Hyper], TrialFolders], dict[int, Failure]]
    fits_of_trials: Callable[[Run, int], str]
    planes_at_once: int
    blocks_held: int


PER_BLOCK = Fitting(
    plan=region_fit.plan_fits,
    check_inputs=region_fit.check_inputs,
    check_fitted=region_fit.check_fitted,
    fits_in=region_store.fits_in,
    fit_in_memory=region_fit.fit_in_memory,
    unpack=region_store.unpack,
    fit_trials=region_fit.fit_trials,
    fits_of_trials=lambda run, n: f"x {run.grid.count} blocks = {n * run.grid.count} fits",
    planes_at_once=SLAB,
    blocks_held=0,  # its blocks are part of what a region's slices take
)
SHARED = Fitting(
    plan=shared_network.plan_fits,
    check_inputs=shared_network.check_inputs,
    check_fitted=shared_network.check_fitted,
    fits_in=shared_network.fits_in,
    fit_in_memory=shared_network.fit_in_memory,
    unpack=shared_network.unpack,
    fit_trials=shared_network.fit_trials,
    fits_of_trials=lambda run, n: f"= {n} networks",
    planes_at_once=4 * SLAB,  # a network looks at all of a block for whatever it is asked
    blocks_held=learning_blocks.MOST_BLOCKS,
)


def fitting_of(method: Method) -> Fitting:
    """Choose how the fits of a method are made."""
    return PER_BLOCK if method.per_block else SHARED
