"""One unit of a sweep: rows that differ in traced numbers alone, fitted in one program."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
from absl import logging
from ml_collections import config_dict

from emgauss_jax.execution.command import BAD_INPUT, keep_compiled
from emgauss_jax.execution.executors import alone
from emgauss_jax.execution.jobs import check_inputs, read_log
from emgauss_jax.pipeline import shared_network
from emgauss_jax.pipeline.region import folder_of, open_region, prior_of, problem_of, write_fitted
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.pseudo_labels.generate import teach
from emgauss_jax.storage import network_file
from emgauss_jax.storage.run_dir import CONFIG, claim_workdir, read_json, write_json
from emgauss_jax.sweeps.results import failed, pick
from emgauss_jax.train import finish
from emgauss_jax.training import metrics_log
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.fit import fit
from emgauss_jax.training.hyperparams import Hyper

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
            outcome = Outcome(**read_json(folder / OUTCOME))
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
    logging.set_verbosity(logging.WARNING)
    outcomes: dict[str, Outcome] = {}
    try:
        run = prepare(unit.rows[0].config)
        check_inputs(run, row_folder(workdir, unit.rows[0].name))
        fit_rows = _fit_rows if run.problem.method.per_block else _fit_networks
        begun = (workdir / "units" / unit.key).exists()
        start = time.monotonic()
        lost = fit_rows(run, workdir, unit)
        seconds = None if begun else (time.monotonic() - start) / len(unit.rows)
    except BAD_INPUT as error:
        return {row.name: Outcome(reason=str(error)) for row in unit.rows}
    for row in unit.rows:
        folder = row_folder(workdir, row.name)
        failure = lost.get(row.name)
        if failure:
            outcomes[row.name] = Outcome(step=failure.step, reason=failure.reason)
        else:
            outcomes[row.name] = _finish_row(run._replace(config=row.config), folder, seconds)
    # Written when all rows are through: until then, this very fit is gone on with.
    for row in unit.rows:
        _record(row_folder(workdir, row.name), outcomes[row.name])
    shutil.rmtree(_folder_of_fit(workdir, unit))
    return outcomes


def _folder_of_fit(workdir: pathlib.Path, unit: Unit) -> pathlib.Path:
    """Name the folder of a fit: it goes on for the very same rows alone."""
    these = json.dumps([(row.name, row.hyper) for row in unit.rows])
    return workdir / "units" / unit.key / f"fit_{hashlib.sha256(these.encode()).hexdigest()[:12]}"


def _fit_rows(run: Run, workdir: pathlib.Path, unit: Unit) -> dict[str, Failure]:
    """Fit all rows region by region, and leave in each row's folder what a fit of it alone would.

    Returns:
      Row -> why it failed, of those that did.
    """
    lost: dict[str, Failure] = {}
    for index in range(len(run.regions)):
        taught = folder_of(run, index, workdir / "units" / unit.key)
        fitted = folder_of(run, index, _folder_of_fit(workdir, unit))
        region = open_region(run, index)
        failures, params = {}, [()] * len(unit.rows)
        if region.live:
            prior = prior_of(run, region)
            labels = teach(prior.of(region.observed), taught) if prior else None
            problem = problem_of(run, index, region, labels)
            problem = dataclasses.replace(problem, sweep=tuple(row.hyper for row in unit.rows))
            teachers = fit(problem, fitted)
            failures = failed(problem, fitted)
            params = [pick(problem, teachers, which) for which in range(len(unit.rows))]
        for which, row in enumerate(unit.rows):
            folder = row_folder(workdir, row.name)
            claim_workdir(folder, row.config)
            if which in failures:
                lost.setdefault(row.name, failures[which])
                continue
            place = folder_of(run, index, folder)
            _share_prior(taught / "prior", place / "prior")
            write_fitted(place, region.constants, params[which])
            if region.live:
                metrics_log.copy_metrics(fitted / metrics_log.FILE, place / metrics_log.FILE, which)
    return lost


def _fit_networks(run: Run, workdir: pathlib.Path, unit: Unit) -> dict[str, Failure]:
    """Fit a network for every row, and leave each in the row's folder.

    Returns:
      Row -> why it failed, of those that did.
    """
    fitted = _folder_of_fit(workdir, unit)
    sweep = tuple(row.hyper for row in unit.rows)
    problem, learned = shared_network.problem_of(run)
    problem = dataclasses.replace(problem, sweep=sweep)
    teachers = fit(problem, fitted)
    failures = failed(problem, fitted)
    for which, row in enumerate(unit.rows):
        folder = row_folder(workdir, row.name)
        claim_workdir(folder, row.config)
        if which not in failures:
            params = pick(problem, teachers, which)
            network_file.write(folder, jax.tree.map(lambda leaf: leaf[0], params), learned)
            metrics_log.copy_metrics(fitted / metrics_log.FILE, folder / metrics_log.FILE, which)
    return {unit.rows[which].name: failure for which, failure in failures.items()}


def _share_prior(prior: pathlib.Path, link: pathlib.Path) -> None:
    """Let a row have the prior of its unit."""
    if prior.exists() and not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(prior, link.parent))


def _finish_row(run: Run, folder: pathlib.Path, fit_s: float | None) -> Outcome:
    """Do what a train does once its regions are fitted, which took so long; None, nobody knows."""
    try:
        finish(run, folder, alone())
        metrics = folder / "report" / "metrics.json"
        if not metrics.exists():
            raise ValueError(f"{folder}: got a reference that cannot be scored with, wanted one")
        scores = read_json(metrics)["scores"]
        drawn = [line["seconds"] for line in read_log(folder) if line["phase"] != "fit"]
        scores[run.config.method] |= {"fit_s": fit_s and round(fit_s, 1), "draw_s": sum(drawn)}
        return Outcome(scores)
    except BAD_INPUT as error:
        return Outcome(reason=str(error))


def _record(folder: pathlib.Path, outcome: Outcome) -> None:
    """Write what came of a row, unless its folder belongs to something else."""
    if (folder / CONFIG).exists():
        write_json(folder / OUTCOME, outcome._asdict())
