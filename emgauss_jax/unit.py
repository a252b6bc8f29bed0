"""One unit of a sweep: rows that differ in traced numbers alone, fitted in one program."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import logging
from ml_collections import config_dict

from emgauss_jax.cli import BAD_INPUT, keep_compiled
from emgauss_jax.experiment import CONFIG, Experiment, claim_workdir, prepare
from emgauss_jax.reconstruct import isotropic, reconstruct_volume
from emgauss_jax.train import report
from emgauss_jax.training.fit import fit
from emgauss_jax.training.hyper import Hyper
from emgauss_jax.training.problem import Problem
from emgauss_jax.training.swept import failed, store

OUTCOME = "outcome.json"


class Row(NamedTuple):
    """One row of a sweep."""

    name: str
    changes: Mapping[str, str]  # its own: setting -> value
    config: config_dict.ConfigDict | None  # without references, so that it can be pickled
    hyper: Hyper | None  # its traced numbers
    problem: str = ""  # why there is neither; empty where there are


class Unit(NamedTuple):
    """Rows of one program; can be pickled."""

    key: str  # names its folder
    rows: tuple[Row, ...]


class Outcome(NamedTuple):
    """What came of a row: scores, or why there are none."""

    scores: dict[str, dict[str, float | None]] | None = None  # as in metrics.json, its own last
    step: int | None = None  # at which the fit failed, if it did
    reason: str = ""

    def __str__(self) -> str:
        return self.reason if self.step is None else f"step {self.step}: {self.reason}"


def row_folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Name the folder of a row, a workdir like that of a train."""
    return workdir / "rows" / name.replace(" ", "_")


def recall(workdir: pathlib.Path, row: Row) -> Outcome | None:
    """Read what came of a row.

    Args:
      workdir: of the sweep.
      row: one without a problem.

    Returns:
      Its scores, or why it cannot be done there; None where it is to be done, a failed one again.
    """
    folder = row_folder(workdir, row.name)
    try:
        if (folder / CONFIG).exists():
            claim_workdir(folder, row.config)  # it must be of the same config
        if (folder / OUTCOME).exists():
            outcome = Outcome(**json.loads((folder / OUTCOME).read_text()))
            return outcome if outcome.scores else None
    except BAD_INPUT as error:
        return Outcome(reason=str(error))
    return None


def run_unit(workdir: pathlib.Path, unit: Unit) -> dict[str, Outcome]:
    """Fit the rows of a unit at once and finish each; a killed unit goes on where it stopped.

    Args:
      workdir: of the sweep; gets units/KEY/ (the prior, and the fit while it lasts) and rows/.
      unit: rows to do.

    Returns:
      Row -> what came of it. A row that fails has its reason; the others are not touched by it.
    """
    keep_compiled()
    logging.set_verbosity(logging.WARNING)  # orbax reports every file it writes
    folder = workdir / "units" / unit.key
    hypers = tuple(row.hyper for row in unit.rows)
    these = json.dumps([(row.name, row.hyper) for row in unit.rows])
    workdir_of_fit = folder / f"fit_{hashlib.sha256(these.encode()).hexdigest()[:12]}"
    try:
        experiment = prepare(unit.rows[0].config).taught(folder)
        problem = dataclasses.replace(experiment.problem, sweep=hypers)
        fitted = Fitted(experiment, problem, fit(problem, workdir_of_fit), folder, workdir_of_fit)
    except BAD_INPUT as error:
        return {row.name: Outcome(reason=str(error)) for row in unit.rows}
    lost = failed(problem, workdir_of_fit)
    outcomes = {}
    for which, row in enumerate(unit.rows):
        outcomes[row.name] = _settle(fitted, which, row, row_folder(workdir, row.name), lost)
    # Written when all rows are through: until then, this very fit is gone on with.
    for row in unit.rows:
        _record(row_folder(workdir, row.name), outcomes[row.name])
    shutil.rmtree(workdir_of_fit)
    return outcomes


class Fitted(NamedTuple):
    """What the rows of a unit share once they are fitted."""

    experiment: Experiment
    problem: Problem  # the sweep
    teachers: Any  # what `fit` returned
    folder: pathlib.Path  # of the unit, with its prior
    workdir: pathlib.Path  # of the fit


def _settle(fitted: Fitted, which: int, row: Row, folder: pathlib.Path, lost) -> Outcome:
    """Finish a row, or say why it cannot be."""
    try:
        claim_workdir(folder, row.config)
        if which in lost:
            return Outcome(step=lost[which].step, reason=lost[which].reason)
        return Outcome(finish_row(fitted, which, folder))
    except BAD_INPUT as error:
        return Outcome(reason=str(error))


def finish_row(fitted: Fitted, which: int, folder: pathlib.Path) -> dict[str, Any]:
    """Leave in a row's folder what a train of that row alone leaves in its workdir.

    Args:
      fitted: the unit.
      which: place of the row in it.
      folder: of the row, already claimed; what is there already is not made again.

    Returns:
      The scores of metrics.json.

    Raises:
      ValueError: the reference cannot be scored with.
    """
    experiment = fitted.experiment
    observed, prior = experiment.observed, fitted.folder / "prior"
    if prior.exists() and not (folder / "prior").exists():
        (folder / "prior").symlink_to(os.path.relpath(prior, folder))
    params = store(fitted.problem, fitted.teachers, which, fitted.workdir, folder)
    sampling, path = isotropic(observed), folder / f"reconstruction{observed.suffix}"
    if not path.exists():
        reconstruct_volume(experiment, params, sampling, path, observed.format)
    metrics = folder / "report" / "metrics.json"
    if not metrics.exists():
        report(experiment, sampling.z, path, folder / "report")
    if not metrics.exists():
        raise ValueError(f"{folder}: got a reference that cannot be scored with, wanted one")
    return json.loads(metrics.read_text())["scores"]


def _record(folder: pathlib.Path, outcome: Outcome) -> None:
    """Write what came of a row, unless its folder belongs to something else."""
    if (folder / CONFIG).exists():
        partial = folder / "outcome.partial"
        partial.write_text(json.dumps(outcome._asdict()))
        partial.replace(folder / OUTCOME)
