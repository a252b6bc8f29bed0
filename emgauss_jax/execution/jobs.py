"""A job: ordered phases of independent, restartable tasks.

A task fits a region or a network, draws a tile of the output, or makes a box of its pyramid. Each
is done once: what it writes says that it is done, and it can be killed and done again at any time.
"""

import contextlib
import ctypes
import functools
import hashlib
import json
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.execution.compiled import keep_compiled
from emgauss_jax.execution.executors import Executor
from emgauss_jax.execution.failed_tasks import forget_failed, list_of, raise_failed
from emgauss_jax.execution.heartbeats import Undone
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.output_grid import output_grid
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.pipeline.stitching import open_fits
from emgauss_jax.pipeline.unseen_volume import UnseenVolume, open_unseen
from emgauss_jax.pipeline.writing import drawing, drawing_errors, output_phases
from emgauss_jax.storage.files import read_lines
from emgauss_jax.storage.run_dir import read_workdir

LOG = "work.jsonl"


class Job(NamedTuple):
    """What a process must be told to do a task of a run; picklable."""

    workdir: str
    fits: bool  # False: the fits are done
    output: str
    asked: tuple[str, Any] | None  # the planes: a flag's name and value; None: isotropic
    uncertainty: str  # "": none
    unseen: UnseenVolume | None = None  # a volume that is not the run's own


def open_run(job: Job) -> Run:
    """Open what a job is about.

    Raises:
      InputError: for every input that cannot be used.
    """
    workdir = pathlib.Path(job.workdir)
    if job.unseen:
        return open_unseen(workdir, job.unseen)
    return prepare(read_workdir(workdir), workdir)


def phases(run: Run, job: Job) -> tuple[Phase, ...]:
    """Plan a job: fits, then the reconstruction, then its uncertainty, as far as they are asked.

    Raises:
      InputError: an output that cannot be begun.
    """
    workdir, observed = pathlib.Path(job.workdir), run.observed
    grid, fitting = output_grid(observed, job.asked), fitting_of(run.template.method)
    fits = open_fits(run, fitting.fits_in(run, workdir))
    planned = (fitting.plan(run, workdir),) if job.fits else ()
    drawn_from = content_of(run, job)
    for draw, path, dtype, what in (
        (drawing(fits), job.output, observed.dtype, "planes"),
        (drawing_errors(fits), job.uncertainty, np.float32, "errors"),
    ):
        if path:
            form = observed.format if job.fits else None
            output = (grid, pathlib.Path(path), dtype, form, f"{what} of {drawn_from}")
            planned += output_phases(draw, run, *output)
    return planned


def content_of(run: Run, job: Job) -> str:
    """Tell the outputs of one config, workdir and set of depths from those of others."""
    z = output_grid(run.observed, job.asked).z.tolist()
    of = json.dumps([run.config.to_json(sort_keys=True), pathlib.Path(job.workdir).name, z])
    return hashlib.sha256(of.encode()).hexdigest()[:16]


def reconstruction_path(run: Run, workdir: pathlib.Path) -> pathlib.Path:
    """Name the reconstruction of a train."""
    return workdir / f"reconstruction{run.observed.suffix}"


def run_job(run: Run, job: Job, executor: Executor) -> None:
    """Do what is left of a job, phase by phase; a task that fails costs no other of its phase.

    Raises:
      InputError, FitError: tasks failed or are left undone; what was done stays done. Those that
        failed are listed in a file, see `failed_tasks`, until the job is done.
    """
    # The workdir of a fit that is done may be another's.
    listed = pathlib.Path(f"{job.workdir}/failed.json" if job.fits else f"{job.output}.failed.json")
    for phase in phases(run, job):
        here, undone = functools.partial(_perform, phase, job), _undone(phase)
        anywhere = functools.partial(perform, job, phase.name)
        failed = executor.each(here, anywhere, undone(), phase.name)
        if failed:
            raise_failed(list_of(listed, executor.index), phase.name, phase.count, failed)
        executor.wait(phase.name, undone)
    if executor.leads:
        forget_failed(listed)


def _undone(phase: Phase) -> Undone:
    """List the tasks that are not done, whenever asked; what has been seen done stays so."""
    left = list(range(phase.count))

    def undone() -> list[int]:
        left[:] = [task for task in left if not phase.done(task)]
        return list(left)

    return undone


def perform(job: Job, name: str, task: int) -> None:
    """Do a task of a phase in whatever process this is."""
    for phase in _opened(job):
        if phase.name == name:  # an output that is finished has none
            return _perform(phase, job, task)


@functools.cache
def _opened(job: Job) -> tuple[Phase, ...]:
    """Open a run once in a process that does its tasks."""
    keep_compiled()
    return phases(open_run(job), job)


def _perform(phase: Phase, job: Job, task: int) -> None:
    """Do a task, unless it is done; a train logs what it took."""
    if phase.done(task):
        return
    start = time.monotonic()
    phase.do(task)
    _give_back_memory()
    if not job.fits:
        return  # the workdir may be another's
    seconds = round(time.monotonic() - start, 2)
    line = json.dumps({"phase": phase.name, "unit": task, "seconds": seconds})
    with (pathlib.Path(job.workdir) / LOG).open("a") as file:  # short lines are appended whole
        file.write(line + "\n")


def read_log(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Read the tasks that were done in a workdir: phase, unit (the task), seconds."""
    path = workdir / LOG
    kinds = {"phase": str, "unit": int, "seconds": float}
    return read_lines(path, kinds) if path.exists() else []


def _give_back_memory() -> None:
    """Return to the system what glibc keeps of freed arrays: it adds up over thousands of tasks."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries have none
        ctypes.CDLL(None).malloc_trim(0)
