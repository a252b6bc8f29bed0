"""A run as phases of units that know nothing of each other, and who does them.

A unit is a region or a network to fit, a tile of the output to draw, or a box of its pyramid to
make. Each is done once: what it writes says that it is done, and it can be killed and done again at
any time.
"""

import ctypes
import functools
import hashlib
import json
import math
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.execution.command import keep_compiled
from emgauss_jax.execution.executors import Crew
from emgauss_jax.pipeline import shared_network
from emgauss_jax.pipeline.output_grid import sampling_of
from emgauss_jax.pipeline.region import fit_region, is_done, is_fitted
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.pipeline.stitching import open_fits, planes_at_once
from emgauss_jax.pipeline.unseen_volume import Other, open_other
from emgauss_jax.pipeline.writing import TILE, Phase, drawing, drawing_errors, output_phases
from emgauss_jax.pseudo_labels.generate import open_network
from emgauss_jax.pseudo_labels.source import whole_factor
from emgauss_jax.storage import network_file
from emgauss_jax.storage.run_dir import read_workdir

LOG = "work.jsonl"
PATIENCE_S = 60.0  # until other hosts' files must be seen
# Measured on a CPU: `python -m tests.benchmarks.scale`.
PROCESS_GIB = 0.8  # JAX, compiled programs, decoded chunks
BYTES_OF_SLICES = 40  # for each voxel of a region's slices
BYTES_OF_PLANES = 55  # for each voxel that a prior fills in
BYTES_OF_TILE = 30  # for each voxel of the output that is drawn at once
BYTES_OF_BLOCKS = 12  # for each voxel that a network learns from: read, put together, on a device


class Job(NamedTuple):
    """What a process must be told to do a unit of a run; picklable."""

    workdir: str
    fits: bool  # False: the fits are done
    output: str
    asked: tuple[str, Any] | None  # the sampling: a flag's name and value; None: isotropic
    uncertainty: str  # "": none
    other: Other | None = None  # a volume that is not the run's own


def open_run(job: Job) -> Run:
    """Open what a job is about.

    Raises:
      ValueError: for every input that cannot be used.
    """
    workdir = pathlib.Path(job.workdir)
    return open_other(workdir, job.other) if job.other else prepare(read_workdir(workdir), workdir)


def phases(run: Run, job: Job) -> tuple[Phase, ...]:
    """Plan a job: fits, then the reconstruction, then its uncertainty, as far as they are asked.

    Raises:
      ValueError: an output that cannot be begun.
    """
    workdir, observed = pathlib.Path(job.workdir), run.observed
    sampling, fits = sampling_of(observed, job.asked), open_fits(run, workdir)
    planned = (_fitting(run, workdir),) if job.fits else ()
    of = json.dumps([run.config.to_json(sort_keys=True), workdir.name, sampling.z.tolist()])
    for draw, path, dtype, what in (
        (drawing(fits), job.output, observed.dtype, "planes"),
        (drawing_errors(fits), job.uncertainty, np.float32, "errors"),
    ):
        if path:
            form = observed.format if job.fits else None
            content = f"{what} of {hashlib.sha256(of.encode()).hexdigest()[:16]}"
            output = (sampling, pathlib.Path(path), dtype, form, content)
            planned += output_phases(draw, run, *output)
    return planned


def _fitting(run: Run, workdir: pathlib.Path) -> Phase:
    """Plan the fits: of every region, or of one network for all."""
    if not run.problem.method.per_block:
        return Phase(
            name="fit",
            count=1,
            done=lambda _: shared_network.is_done(workdir),
            do=lambda _: shared_network.fit_network(run, workdir),
        )
    return Phase(
        name="fit",
        count=len(run.regions),
        done=lambda index: is_done(run, index, workdir),
        do=lambda index: fit_region(run, index, workdir),
    )


def check_inputs(run: Run, workdir: pathlib.Path) -> None:
    """Make sure, before a fit is begun, that all it will ask for can be had.

    Raises:
      ValueError: volumes that cannot be learned from, or no such network of other stacks.
    """
    if not run.problem.method.per_block:
        if not network_file.is_there(workdir):
            shared_network.check_learnable(run)
        return
    fitted = all(is_fitted(run, index, workdir) for index in range(len(run.regions)))
    if run.prior and run.prior.network and not fitted:
        open_network(run.prior.network, run.prior.sampled)


def estimate(run: Run) -> str:
    """Say how much work there is, and how much memory a process will take.

    What a process holds is a region: its slices, the blocks cut out of them, and, where there is a
    prior, what fills in the planes between. The sizes of these were measured.
    """
    shape = max((region.bounds.shape for region in run.regions), key=math.prod)
    voxels = math.prod(shape)
    planes = voxels * whole_factor(run.observed) if run.prior else 0
    slab = planes_at_once(run)
    tile = slab * min(run.observed.shape[1], TILE[1]) * min(run.observed.shape[2], TILE[2])
    size = BYTES_OF_SLICES * voxels + BYTES_OF_PLANES * planes + BYTES_OF_TILE * tile
    if not run.problem.method.per_block:
        size += BYTES_OF_BLOCKS * shared_network.MOST_BLOCKS * math.prod(run.grid.size)
    return (
        f"blocks: {run.grid.count}, regions: {len(run.regions)}, of {' x '.join(map(str, shape))} "
        f"(slices, px) at most; a process takes about {PROCESS_GIB + size / 2**30:.1f} GiB"
    )


def run_job(run: Run, job: Job, crew: Crew) -> None:
    """Do what is left of a job, phase by phase.

    Raises:
      ValueError, FloatingPointError: a unit failed; what was done before stays done.
    """
    for phase in phases(run, job):
        units = [unit for unit in range(phase.count) if not phase.done(unit)]
        crew.wait(f"{phase.name}: counted")
        here = functools.partial(_perform, phase, job)
        crew.each(here, functools.partial(perform, job, phase.name), units, phase.name)
        crew.wait(f"{phase.name}: done")
        _check_done(phase)


def _check_done(phase: Phase) -> None:
    """Make sure that no unit has been left out, before the next phase builds on them.

    A network file system may show what another host has written a while later.

    Raises:
      ValueError: a unit has not been done.
    """
    units, end = range(phase.count), time.monotonic() + PATIENCE_S
    while units := [unit for unit in units if not phase.done(unit)]:
        if time.monotonic() > end:
            raise ValueError(
                f"{phase.name}: got {len(units)} units undone, wanted none: {units[:9]}"
            )
        time.sleep(1)


def perform(job: Job, name: str, unit: int) -> None:
    """Do a unit of a phase in whatever process this is."""
    for phase in _opened(job):
        if phase.name == name:  # an output that is finished has none
            return _perform(phase, job, unit)


@functools.cache
def _opened(job: Job) -> tuple[Phase, ...]:
    """Open a run once in a process that does its units."""
    keep_compiled()
    return phases(open_run(job), job)


def _perform(phase: Phase, job: Job, unit: int) -> None:
    """Do a unit, unless it is done; a train logs what it took."""
    if phase.done(unit):
        return
    start = time.monotonic()
    phase.do(unit)
    _give_back_memory()
    if not job.fits:
        return  # the workdir may be another's
    seconds = round(time.monotonic() - start, 2)
    line = json.dumps({"phase": phase.name, "unit": unit, "seconds": seconds})
    with (pathlib.Path(job.workdir) / LOG).open("a") as file:  # short lines are appended whole
        file.write(line + "\n")


def read_log(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Read the units of work that were done in a workdir: phase, unit, seconds."""
    path = workdir / LOG
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _give_back_memory() -> None:
    """Return to the system what glibc keeps of freed arrays: it adds up over thousands of units."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim:
        trim(0)
