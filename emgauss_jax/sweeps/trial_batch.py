"""One batch of a sweep: trials that differ in traced numbers alone, fitted in one program."""

import hashlib
import json
import pathlib
import shutil
import time

from absl import logging

from emgauss_jax.data.errors import InputError
from emgauss_jax.evaluation.run_report import report_run
from emgauss_jax.execution.command import BAD_INPUT, keep_compiled
from emgauss_jax.execution.executors import alone
from emgauss_jax.execution.jobs import Job, read_log, reconstruction_path, run_job
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.pipeline.trials import TrialFolders
from emgauss_jax.storage.files import read_json
from emgauss_jax.sweeps.results import Outcome, record
from emgauss_jax.sweeps.trials import TrialBatch, batch_folder, trial_folder
from emgauss_jax.training.failures import Failure


def run_batch(workdir: pathlib.Path, batch: TrialBatch) -> dict[str, Outcome]:
    """Fit the trials of a batch at once and finish each; a killed one goes on where it stopped.

    Args:
      workdir: of the sweep; gets units/KEY/ (the pseudo-labels, and the fit while it lasts) and
        rows/.
      batch: trials to do.

    Returns:
      Trial -> what came of it. One that fails has its reason; the others are not touched by it.
    """
    keep_compiled()
    logging.set_verbosity(logging.WARNING)
    outcomes: dict[str, Outcome] = {}
    try:
        run = prepare(batch.trials[0].config)
        first = trial_folder(workdir, batch.trials[0].name)
        fitting_of(run.template.method).check_inputs(run, first)
        begun = batch_folder(workdir, batch).exists()
        start = time.monotonic()
        lost = _fit(run, workdir, batch)
        seconds = None if begun else (time.monotonic() - start) / len(batch.trials)
    except BAD_INPUT as error:
        return {trial.name: Outcome(reason=str(error)) for trial in batch.trials}
    for which, trial in enumerate(batch.trials):
        folder, failure = trial_folder(workdir, trial.name), lost.get(which)
        if failure:
            outcomes[trial.name] = Outcome(step=failure.step, reason=failure.reason)
        else:
            outcomes[trial.name] = _finish(run._replace(config=trial.config), folder, seconds)
    # Written when all trials are through: until then, this very fit is gone on with.
    for trial in batch.trials:
        record(trial_folder(workdir, trial.name), outcomes[trial.name])
    shutil.rmtree(_folder_of_fit(workdir, batch))
    return outcomes


def _fit(run: Run, workdir: pathlib.Path, batch: TrialBatch) -> dict[int, Failure]:
    """Fit all trials, and leave in each one's folder what a fit of it alone would."""
    folders = TrialFolders(
        shared=batch_folder(workdir, batch),
        fit=_folder_of_fit(workdir, batch),
        own=tuple((trial_folder(workdir, each.name), each.config) for each in batch.trials),
    )
    hypers = [trial.hyper for trial in batch.trials]
    return fitting_of(run.template.method).fit_trials(run, hypers, folders)


def _folder_of_fit(workdir: pathlib.Path, batch: TrialBatch) -> pathlib.Path:
    """Name the folder of a fit: it goes on for the very same trials alone."""
    these = json.dumps([(trial.name, trial.hyper) for trial in batch.trials])
    digest = hashlib.sha256(these.encode()).hexdigest()[:12]
    return batch_folder(workdir, batch) / f"fit_{digest}"


def _finish(run: Run, folder: pathlib.Path, fit_s: float | None) -> Outcome:
    """Draw and report what has been fitted, which took so long; None, nobody knows."""
    try:
        path = reconstruction_path(run, folder)
        run_job(run, Job(str(folder), True, str(path), None, ""), alone())
        report_run(run, path, folder)
        metrics = folder / "report" / "metrics.json"
        if not metrics.exists():
            raise InputError(f"{folder}: got a reference that cannot be scored with, wanted one")
        scores = read_json(metrics)["scores"]
        drawn = [line["seconds"] for line in read_log(folder) if line["phase"] != "fit"]
        scores[run.config.method] |= {"fit_s": fit_s and round(fit_s, 1), "draw_s": sum(drawn)}
        return Outcome(scores)
    except BAD_INPUT as error:
        return Outcome(reason=str(error))
