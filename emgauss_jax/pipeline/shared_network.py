"""One network for all blocks: what it learns from, its fit, and regions drawn by it.

It is fitted as one task; `network.safetensors` in the workdir is all that remains.
Letters: B blocks.
"""

import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.pipeline.learning_blocks import draw_blocks, open_volumes
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.region import FitStore, Fitted, open_region
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.trials import TrialFolders
from emgauss_jax.storage import network_file, pytrees
from emgauss_jax.storage.run_dir import claim_workdir
from emgauss_jax.training import chunk_plan, metrics_log
from emgauss_jax.training.block_axis import block_axis
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.fit import fit
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.metrics_log import Watch
from emgauss_jax.training.problem import Problem, check
from emgauss_jax.training.sweep_results import failed, pick


def plan_fits(run: Run, workdir: pathlib.Path) -> Phase:
    """Plan the fit: one task, however many regions there are."""
    return Phase(
        name="fit",
        count=1,
        done=lambda task: is_done(workdir),
        do=lambda task: fit_network(run, workdir),
    )


def is_done(workdir: pathlib.Path) -> bool:
    """Tell whether the network is fitted and its checkpoints are deleted."""
    return network_file.is_there(workdir) and not (workdir / chunk_plan.FOLDER).exists()


def check_inputs(run: Run, workdir: pathlib.Path) -> list[SliceStack]:
    """Make sure, before a fit is begun, that a network can learn from the volumes of a run.

    Returns:
      The further volumes that it will learn from; none where it is fitted.

    Raises:
      InputError: saying why it cannot.
    """
    return [] if network_file.is_there(workdir) else check_can_fit(run)


def check_can_fit(run: Run) -> list[SliceStack]:
    """Give the further volumes of a run; raise where no network can be fitted to them all."""
    _, *others = open_volumes(run)
    check(run.template)
    return others


def check_fitted(run: Run, workdir: pathlib.Path) -> None:
    """Raise where the network is not fitted."""
    network_file.read(workdir, run.template.method.init)


def fit_network(run: Run, workdir: pathlib.Path) -> None:
    """Fit the network, unless that has been done; killed and started again, go on.

    Raises:
      InputError: volumes that cannot be learned from together.
      FitError: the fit failed, with the step.
    """
    if not network_file.is_there(workdir):
        problem, learned = problem_of(run)
        params = fit(problem, workdir)
        network_file.write(workdir, _only(params), learned, run.config)
    shutil.rmtree(workdir / chunk_plan.FOLDER, ignore_errors=True)


def _only(params: Any) -> Any:
    """Take the parameters of the only fit: leaves without the fit axis."""
    return jax.tree.map(lambda leaf: leaf[0], params)


def fits_in(run: Run, workdir: pathlib.Path) -> FitStore:
    """Give the network of a workdir; it is read with every region that it draws."""
    read = functools.partial(network_file.read, workdir, run.template.method.init)
    return drawn_by(run, read, lambda: network_file.read_learned(workdir))


def fit_in_memory(run: Run, watch: Callable[[str], Watch]) -> FitStore:
    """Fit the network; nothing is written to disk.

    Args:
      watch: name of a part of the work -> the watcher of that part.
    """
    check_can_fit(run)
    problem, learned = problem_of(run)
    params = _only(fit(problem, None, watch("fit")))
    return drawn_by(run, lambda: params, lambda: learned)


def drawn_by(
    run: Run, params: Callable[[], Any], learned: Callable[[], network_file.Learned]
) -> FitStore:
    """Let a network draw all regions.

    Args:
      params: gives the network.
      learned: gives what it has learned from.
    """

    def open_one(index: int) -> Fitted:
        region, network = open_region(run, index), params()
        count = len(region.live)  # each block has the same parameters; none is copied
        shared = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *leaf.shape)), network)
        return Fitted(region, None, shared)

    def notes() -> dict[str, str]:
        others = run.config.data.paths
        told = {"learned from": str(learned())}
        return told | ({"learned from, too": ", ".join(others)} if others else {})

    def pack() -> tuple[Any, dict[str, Any]]:
        return {"params": params()}, {"learned": learned()._asdict()}

    return FitStore(open_one, lambda index: None, notes, pack)


def unpack(run: Run, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> FitStore:
    """Take the network out of what `FitStore.pack` has named.

    Raises:
      InputError: it is another method's.
    """
    wanted = network_file.like_started(run.template.method.init)
    params = pytrees.like(pytrees.part(arrays, "params"), wanted, "network")
    learned = network_file.Learned(**about["learned"])
    return drawn_by(run, lambda: params, lambda: learned)


def fit_trials(run: Run, hypers: Sequence[Hyper], folders: TrialFolders) -> dict[int, Failure]:
    """Fit a network for every trial, and leave each in the trial's folder.

    Returns:
      Trial -> why it failed, of those that did.
    """
    problem, learned = problem_of(run)
    problem = dataclasses.replace(problem, sweep=tuple(hypers))
    teachers = fit(problem, folders.fit)
    failures = failed(problem, folders.fit)
    for which, (workdir, config) in enumerate(folders.own):
        claim_workdir(workdir, config)
        if which not in failures:
            params = pick(problem, teachers, which)
            network_file.write(workdir, _only(params), learned, config)
            source = folders.fit / metrics_log.FILE
            metrics_log.copy_metrics(source, workdir / metrics_log.FILE, which)
    return failures


def problem_of(run: Run) -> tuple[Problem, network_file.Learned]:
    """State what the network is to be fitted to, and what it learns from."""
    blocks, learned = draw_blocks(run)
    return Problem(run.template, block_axis(run.template.method).fits_of(blocks)), learned
