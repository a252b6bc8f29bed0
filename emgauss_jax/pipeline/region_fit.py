"""The fits of blocks that learn each for itself: region by region, each in a folder of its own.

A fitted region holds `fitted.safetensors`, `metrics.jsonl` and `prior/` (what is left of its
pseudo-labels). Letters: S blocks of a region, of which L live.
"""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from emgauss_jax.data.atomic import whole
from emgauss_jax.data.errors import InputError
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.region import (
    FitStore,
    Fitted,
    Region,
    folder_of,
    label_template_of,
    open_region,
)
from emgauss_jax.pipeline.region_store import held, is_fitted, write_fitted
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.trials import TrialFolders
from emgauss_jax.pseudo_labels import store
from emgauss_jax.pseudo_labels.generate import generate
from emgauss_jax.pseudo_labels.store import Labels
from emgauss_jax.storage.run_dir import claim_workdir
from emgauss_jax.training import chunk_plan, metrics_log
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.fit import fit
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.metrics_log import Watch, unwatched
from emgauss_jax.training.problem import Problem, check
from emgauss_jax.training.sweep_results import failed, pick


def plan_fits(run: Run, workdir: pathlib.Path) -> Phase:
    """Plan the fits of all regions."""
    return Phase(
        name="fit",
        count=len(run.regions),
        done=lambda index: is_done(run, index, workdir),
        do=lambda index: fit_region(run, index, workdir),
    )


def is_done(run: Run, index: int, workdir: pathlib.Path) -> bool:
    """Tell whether a region is fitted and its checkpoints are deleted."""
    checkpoints = folder_of(run, index, workdir) / chunk_plan.FOLDER
    return is_fitted(run, index, workdir) and not checkpoints.exists()


def check_inputs(run: Run, workdir: pathlib.Path) -> tuple[()]:
    """Make sure, before a fit is begun, that it can be made and that its sources can be had.

    Returns:
      The further volumes that it learns from: none.

    Raises:
      InputError: naming the setting.
    """
    if all(is_fitted(run, index, workdir) for index in range(len(run.regions))):
        check_fitted(run, workdir)
    else:
        check_can_fit(run)
    return ()


def check_can_fit(run: Run) -> None:
    """Raise where a fit cannot be made, or one of its sources cannot be had."""
    check(run.template)
    for source in run.label_template.sources.values() if run.label_template else ():
        source.check()


def check_fitted(run: Run, workdir: pathlib.Path) -> None:
    """Raise where a region is not fitted, or lacks what is left of its pseudo-labels."""
    indices = range(len(run.regions))
    count = sum(is_fitted(run, index, workdir) for index in indices)
    if count < len(indices):
        raise InputError(
            f"{workdir}: got a fit of {count} regions of {len(indices)}, wanted all: finish it "
            "with the train command"
        )
    for index in indices:
        store.check_kept(folder_of(run, index, workdir))


def fit_region(run: Run, index: int, workdir: pathlib.Path) -> None:
    """Fit a region, unless that has been done; killed and started again, go on.

    Args:
      run: the opened volume.
      index: of the region.
      workdir: of the run.

    Raises:
      FitError: the fit failed, with the step.
    """
    folder = folder_of(run, index, workdir)
    if not is_fitted(run, index, workdir):
        region = open_region(run, index)
        params = _fit_blocks(run, index, region, folder) if region.live else ()
        write_fitted(folder, index, region.constants, params, run.config)
    store.forget(folder)
    # The checkpoints last, see `is_done`.
    shutil.rmtree(folder / chunk_plan.FOLDER, ignore_errors=True)


def _fit_blocks(run: Run, index: int, region: Region, folder: pathlib.Path) -> Any:
    """Fit the blocks of a region; the labels are closed on return, so that they can be deleted."""
    return fit(problem_of(run, index, region, _labels_of(run, region, folder)), folder)


def _labels_of(
    run: Run, region: Region, folder: pathlib.Path | None, watch: Watch = unwatched
) -> Labels | None:
    """Make the pseudo-labels of a region; None where it has none."""
    template = label_template_of(run, region)
    return template and generate(template, region.observed, folder, watch)


def problem_of(run: Run, index: int, region: Region, labels: Labels | None) -> Problem:
    """State what is to be fitted in a region in which a block lives."""
    first = run.first_block(index)
    numbers = tuple(first + i for i in region.live)
    return Problem(run.template, region.cut(region.live, labels), numbers=numbers)


def fit_in_memory(run: Run, watch: Callable[[str], Watch]) -> FitStore:
    """Fit all regions; nothing is written to disk.

    Args:
      watch: name of a part of the work -> the watcher of that part.
    """
    check_can_fit(run)
    fitted = [_fit_region_in_memory(run, index, watch) for index in range(len(run.regions))]
    return held(fitted)


def _fit_region_in_memory(run: Run, index: int, watch: Callable[[str], Watch]) -> Fitted:
    region = open_region(run, index)
    if not region.live:
        return Fitted(region, None, ())
    here = f", region {index + 1} of {len(run.regions)}" if len(run.regions) > 1 else ""
    labels = _labels_of(run, region, None, watch(f"pseudo-labels{here}"))
    params = fit(problem_of(run, index, region, labels), None, watch(f"fit{here}"))
    return Fitted(region, labels and labels.forgotten(), params)


def fit_trials(run: Run, hypers: Sequence[Hyper], folders: TrialFolders) -> dict[int, Failure]:
    """Fit all trials region by region; leave in each one's folder what a fit of it alone would.

    Returns:
      Trial -> why it failed, of those that did.
    """
    lost: dict[int, Failure] = {}
    for index in range(len(run.regions)):
        region = open_region(run, index)
        shared, fitted = (folder_of(run, index, each) for each in (folders.shared, folders.fit))
        failures, params = {}, [()] * len(hypers)
        if region.live:
            labels = _labels_of(run, region, shared)
            problem = problem_of(run, index, region, labels)
            problem = dataclasses.replace(problem, sweep=tuple(hypers))
            teachers = fit(problem, fitted)
            failures = failed(problem, fitted)
            params = [pick(problem, teachers, which) for which in range(len(hypers))]
        for which, (workdir, config) in enumerate(folders.own):
            claim_workdir(workdir, config)
            if which in failures:
                lost.setdefault(which, failures[which])
                continue
            place = folder_of(run, index, workdir)
            _share_labels(shared / store.FOLDER, place / store.FOLDER)
            write_fitted(place, index, region.constants, params[which], config)
            if region.live:
                metrics_log.copy_metrics(fitted / metrics_log.FILE, place / metrics_log.FILE, which)
    return lost


def _share_labels(labels: pathlib.Path, link: pathlib.Path) -> None:
    """Let a trial have the pseudo-labels that all have in common: a link, or a copy of what stays.

    Not every file system has links, and Windows makes none without a right to it.
    """
    if not labels.exists() or link.exists():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(os.path.relpath(labels, link.parent), target_is_directory=True)
    except (OSError, NotImplementedError):
        passing = shutil.ignore_patterns(store.PLANES, store.FITS)
        with whole(link) as partial:
            shutil.copytree(labels, partial, ignore=passing)
