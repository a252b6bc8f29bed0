"""Describe all batches of a sweep without running them, or run and tabulate them."""

import functools
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from emgauss_jax.data.opening import open_stack
from emgauss_jax.evaluation.sweep_table import Entry
from emgauss_jax.execution.command import BAD_INPUT
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.input_summary import summarise
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.storage.files import write_text
from emgauss_jax.sweeps.results import Outcome, recall, tabulate
from emgauss_jax.sweeps.trial_batch import run_batch
from emgauss_jax.sweeps.trials import Known, Trial, TrialBatch, batch_folder, trial_folder


def describe(
    batches: Sequence[TrialBatch], workdir: pathlib.Path
) -> tuple[list[str], dict[str, str]]:
    """Check the inputs of batches and describe their fits, without running them.

    Args:
      batches: of the sweep.
      workdir: of the sweep; only read.

    Returns:
      Lines that describe the batches and their trials; trial -> what is wrong with it, for trials
      that cannot run.
    """
    lines, problems = [], {}
    for batch in batches:
        known = {trial.name: recall(workdir, trial) for trial in batch.trials}
        problems |= {name: str(one) for name, one in known.items() if one and not one.scores}
        fits = f"{len(known)} rows"
        try:
            run = prepare(batch.trials[0].config)
            fitting = fitting_of(run.template.method)
            fitting.check_inputs(run, trial_folder(workdir, batch.trials[0].name))
            fits += f" {fitting.fits_of_trials(run, len(known))}"
        except BAD_INPUT as error:
            problems |= dict.fromkeys(known, str(error))
        lines.append(f"unit {batch.key}: {fits}")
        lines += [
            f"  {name}{' (finished)' if one and one.scores else ''}" for name, one in known.items()
        ]
    return lines, problems


def run_sweep(
    trials: Sequence[Trial],
    batches: Sequence[TrialBatch],
    workdir: pathlib.Path,
    work: Callable[..., Iterator[tuple[TrialBatch, Any]]],
) -> list[Entry]:
    """Run the unfinished trials, and write the table after every batch.

    Args:
      trials: all trials of the sweep.
      batches: the trials without a problem, grouped.
      workdir: gets rows/, units/, table.csv and table.html.
      work: work(function, batches) yields each batch with the function's result or exception.

    Returns:
      The rows of the table: first the interpolations, of the first trial with scores.
    """
    outcomes = {
        trial.name: Outcome(reason=trial.problem) if trial.problem else recall(workdir, trial)
        for trial in trials
    }
    known = {name for name, outcome in outcomes.items() if outcome}
    todo = [
        batch._replace(trials=tuple(each for each in batch.trials if each.name not in known))
        for batch in batches
    ]
    todo = _with_known([batch for batch in todo if batch.trials])
    for batch, result in work(functools.partial(run_batch, workdir), todo) if todo else ():
        if isinstance(result, BaseException):
            result = _crashed(workdir, batch, result)
        outcomes |= result
        tabulate(trials, outcomes, workdir)
    return tabulate(trials, outcomes, workdir)


def _with_known(batches: Sequence[TrialBatch]) -> list[TrialBatch]:
    """Look at each volume once, and tell the batches what was found in it."""
    found: dict[str, Known] = {}
    told = []
    for batch in batches:
        data = batch.trials[0].config.data
        name = data.to_json(sort_keys=True)
        if name not in found:
            found[name] = _looked_at(data)
        told.append(batch._replace(known=found[name]))
    return told


def _looked_at(data: Any) -> Known:
    """Say on stderr what a volume is; nothing of one that cannot be used: its batches say why."""
    try:
        observed = open_stack(data)
    except BAD_INPUT:
        return Known()
    print("\n".join(summarise(observed).lines), file=sys.stderr)
    return Known(observed.grey_range, observed.absent)


def _crashed(workdir: pathlib.Path, batch: TrialBatch, error: BaseException) -> dict[str, Outcome]:
    """Keep the traceback of a batch that a bug ended, or that was killed."""
    path = batch_folder(workdir, batch) / "traceback.txt"
    write_text(path, "".join(traceback.format_exception(error)))
    reason = f"{type(error).__name__}, see units/{batch.key}/{path.name}"
    return {trial.name: Outcome(reason=reason) for trial in batch.trials}
