"""One batch of a sweep: trials that differ only in traced numbers, fitted in one program."""

import hashlib
import json
import pathlib
import time

from absl import logging

from emgauss_jax.data.atomic import remove
from emgauss_jax.data.errors import InputError
from emgauss_jax.evaluation.run_report import report_run
from emgauss_jax.execution.command import BAD_INPUT
from emgauss_jax.execution.compiled import keep_compiled
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
    """Fit the trials of a batch together and finish each; a killed batch continues its fit.

    Args:
      workdir: of the sweep; gets units/KEY/ (the pseudo-labels, and the fit while it lasts) and
        rows/.
      batch: the trials to run.

    Returns:
      Trial -> its outcome. A failed trial has a reason, and does not affect the other trials.
    """
    keep_compiled()
    logging.set_verbosity(logging.WARNING)
    outcomes: dict[str, Outcome] = {}
    try:
        run = prepare(batch.trials[0].config, **batch.known._asdict())
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
    # Written when all trials are finished: until then a restart continues this fit.
    for trial in batch.trials:
        record(trial_folder(workdir, trial.name), outcomes[trial.name])
    remove(_folder_of_fit(workdir, batch))  # of a volume of one intensity there is none
    return outcomes


def _fit(run: Run, workdir: pathlib.Path, batch: TrialBatch) -> dict[int, Failure]:
    """Fit all trials, and leave in each trial's folder the files of a fit of that trial alone."""
    folders = TrialFolders(
        shared=batch_folder(workdir, batch),
        fit=_folder_of_fit(workdir, batch),
        own=tuple((trial_folder(workdir, each.name), each.config) for each in batch.trials),
    )
    hypers = [trial.hyper for trial in batch.trials]
    return fitting_of(run.template.method).fit_trials(run, hypers, folders)


def _folder_of_fit(workdir: pathlib.Path, batch: TrialBatch) -> pathlib.Path:
    """Return the folder of a fit, which only a batch of exactly the same trials continues."""
    these = json.dumps([(trial.name, trial.hyper) for trial in batch.trials])
    digest = hashlib.sha256(these.encode()).hexdigest()[:12]
    return batch_folder(workdir, batch) / f"fit_{digest}"


def _finish(run: Run, folder: pathlib.Path, fit_s: float | None) -> Outcome:
    """Draw and report a fitted trial; `fit_s`: seconds of its fit, None if unknown."""
    try:
        path = reconstruction_path(run, folder)
        run_job(run, Job(str(folder), True, str(path), None, ""), alone())
        report_run(run, path, folder)
        metrics = folder / "report" / "metrics.json"
        if not metrics.exists():
            raise InputError(f"{folder}: got no scores, wanted a reference that gives some")
        scores = read_json(metrics)["scores"]
        drawn = [line["seconds"] for line in read_log(folder) if line["phase"] != "fit"]
        scores[run.config.method] |= {"fit_s": fit_s and round(fit_s, 1), "draw_s": sum(drawn)}
        return Outcome(scores)
    except BAD_INPUT as error:
        return Outcome(reason=str(error))
