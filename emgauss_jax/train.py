"""Fit an anisotropic volume, write the isotropic one, and say how good it is.

python -m emgauss_jax.train --config=emgauss --workdir=DIR [--config.KEY=VALUE ...]
    [--detect_missing] [--cluster=local|slurm --workers=N [--gpus=N] | --hosts=COUNT,INDEX|auto]
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from emgauss_jax.data.damaged_slices import Damaged
from emgauss_jax.data.errors import InputError
from emgauss_jax.evaluation.run_report import report_run
from emgauss_jax.execution import command
from emgauss_jax.execution.config_file import define_config_flag
from emgauss_jax.execution.executors import Executor, alone, define_executor_flags, open_executor
from emgauss_jax.execution.jobs import Job, reconstruction_path, run_job
from emgauss_jax.execution.memory import estimate
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.input_summary import further_lines, place_note, summarise
from emgauss_jax.pipeline.output_grid import isotropic
from emgauss_jax.pipeline.run import Run, leave_out_damaged, prepare, with_depths
from emgauss_jax.pipeline.writing import storage_warnings
from emgauss_jax.storage.locks import locked
from emgauss_jax.storage.run_dir import (
    HOSTS,
    LOCK,
    check_workdir,
    claim_workdir,
    is_begun,
    write_absent,
    write_damaged,
    write_grey_range,
)


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    define_config_flag()
    flags.DEFINE_string("workdir", None, "Folder for everything this run makes.")
    flags.DEFINE_bool("detect_missing", False, "Look for damaged slices, list and leave out.")
    define_executor_flags()


def train_and_evaluate(
    config: Any,
    workdir: pathlib.Path,
    executor: Executor | None = None,
    damaged: Sequence[Damaged] = (),
) -> pathlib.Path:
    """Fit, reconstruct and report; started again, go on where it stopped.

    Args:
      config: a config of configs/.
      workdir: a new folder, or one of the same config; of many processes, one that all see.
      executor: who does the work; None: this process alone.
      damaged: slices that were found so, which the config calls missing; the report lists them.

    Returns:
      The path of the reconstruction.

    Raises:
      InputError: for every input that cannot be used; nothing has been overwritten.
      FitError: the fit failed, with the step.
    """
    executor, config = executor or alone(), with_depths(config)
    if not executor.leads:
        executor.wait("workdir", lambda: () if is_begun(workdir, config) else (0,))
        return finish(prepare(config, workdir), workdir, executor)
    run = prepare(config, workdir)
    path = reconstruction_path(run, workdir)
    unused = storage_warnings(run, path, run.observed.format, own=True)
    summary = summarise(run.observed, isotropic(run.observed))  # or say why it cannot be
    others = fitting_of(run.template.method).check_inputs(run, workdir)
    lines = [*summary.lines, *(line for each in others for line in further_lines(each))]
    check_workdir(workdir)
    with locked(workdir / LOCK):
        claim_workdir(workdir, config)
        print("\n".join([*lines, *unused, estimate(run)]), file=sys.stderr)
        if damaged:
            write_damaged(workdir, damaged)
        if any(run.observed.absent):
            write_absent(workdir, run.observed.absent)
        write_grey_range(workdir, run.observed.grey_range)  # the last: others wait for it
        return finish(run, workdir, executor)


def finish(run: Run, workdir: pathlib.Path, executor: Executor) -> pathlib.Path:
    """Do what is left of a run in a workdir of its own: fits, reconstruction, report.

    Returns:
      The path of the reconstruction.
    """
    path = reconstruction_path(run, workdir)
    run_job(run, Job(str(workdir), True, str(path), None, ""), executor)
    if executor.leads:
        if note := place_note(path, run.observed, isotropic(run.observed)):
            print(note, file=sys.stderr)
        report_run(run, path, workdir)
    return path


def main() -> None:
    """Read the flags and train."""
    values = flags.FLAGS
    if values.config is None or not values.workdir:
        raise InputError("flags: wanted --config=NAME and --workdir=DIR")
    workdir, config, damaged = pathlib.Path(values.workdir), values.config, []
    check_workdir(workdir)
    if values.detect_missing:
        config, damaged = leave_out_damaged(config)
    with open_executor(values, workdir / HOSTS) as executor:
        path = train_and_evaluate(config, workdir, executor, damaged)
        if executor.leads:
            print(f"{path}\n{path.parent / 'report' / 'report.html'}")


if __name__ == "__main__":
    define_flags()
    command.run(main)
