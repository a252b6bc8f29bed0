"""Thousands of small tasks: neither memory nor the count of open files grows.

python -m tests.benchmarks.soak --folder=DIR [--tasks=2000] [--workers=0] [--config=emgauss]
    [--config.KEY=VALUE ...]

Makes DIR/volume-N.ome.zarr, cut into N regions of one tiny block, and fits them for two steps in
this process, or on Dask workers. Of each process, memory (resident) and open files after its last
hundred tasks are set beside those after its tasks 100 to 200. Where the memory is more than 5 %
above, or the files grow in number, it ends with exit code 1.
"""

import argparse
import functools
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.volume import create_volume
from emgauss_jax.execution import workers
from emgauss_jax.execution.executors import Executor, see_done
from emgauss_jax.execution.jobs import Job, run_job
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.storage.run_dir import claim_workdir, write_grey_range
from emgauss_jax.sweeps.plan import read_config

ROOT = pathlib.Path(__file__).parents[2]
EDGE, OVERLAP = 16, 4  # of a block, px
SLICES = 5
WINDOW = 100  # tasks of a process that are compared; a third of them where there are few
MOST = 1.05  # of the memory of the early ones
COMING_AND_GOING = 1  # a connection of a Dask worker; a file left by every task would be hundreds
SETTINGS = {
    "train.steps": "2", "train.steps_per_dispatch": "2",
    "block.max_size": f"({SLICES},{EDGE},{EDGE})", "block.overlap": f"(1,{OVERLAP},{OVERLAP})",
    "block.region": "(1,1,1)",
}  # fmt: skip
NO_PRIOR = {"prior.steps": "0", "prior.flow": "False"}


class Reading(NamedTuple):
    """What a process held after a task."""

    process: int
    mib: float  # resident
    files: int  # open
    at: float  # s, of this machine's clock


class Row(NamedTuple):
    """What a process held early and late: mean memory, most open files."""

    process: int
    tasks: int
    seconds: float  # a task
    early_mib: float
    late_mib: float
    early_files: int
    late_files: int

    @property
    def ok(self) -> bool:
        """Whether nothing has grown."""
        files = self.early_files + COMING_AND_GOING
        return self.late_mib <= MOST * self.early_mib and self.late_files <= files


def held() -> Reading:
    """Read what this process holds."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    files = len(os.listdir("/proc/self/fd")) - 1  # the one that lists them
    return Reading(os.getpid(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, time.monotonic())


def measured(do: Callable[[int], Any], task: int) -> Reading:
    """Do a task, and read what the process holds then."""
    do(task)
    return held()


def measuring(client: Any, readings: list[Reading]) -> Executor:
    """Do tasks here, or on the workers of a client, and take a reading after each."""

    def each(here: Any, anywhere: Any, tasks: Sequence[int], name: str) -> dict:
        if client is None:
            readings.extend(measured(here, task) for task in tasks)
            return {}
        for _, result in workers.run_tasks(client, functools.partial(measured, anywhere), tasks):
            if isinstance(result, BaseException):
                raise result
            readings.append(result)
        return {}

    return Executor(True, each, see_done)


def tabulate(readings: Sequence[Reading]) -> list[Row]:
    """Compare early and late readings of every process that did three tasks or more."""
    of: dict[int, list[Reading]] = {}
    for reading in sorted(readings, key=lambda each: each.at):
        of.setdefault(reading.process, []).append(reading)
    return [_row(process, own) for process, own in of.items() if len(own) >= 3]


def _row(process: int, own: Sequence[Reading]) -> Row:
    width = min(WINDOW, len(own) // 3)
    early, late = own[width : 2 * width], own[-width:]
    memory = (float(np.mean([each.mib for each in part])) for part in (early, late))
    files = (max(each.files for each in part) for part in (early, late))
    return Row(process, len(own), (own[-1].at - own[0].at) / (len(own) - 1), *memory, *files)


def make(path: pathlib.Path, tasks: int) -> None:
    """Write slices of noise for so many blocks, in rows of 50 at most."""
    across = next(n for n in range(min(50, tasks), 0, -1) if tasks % n == 0)
    step = EDGE - OVERLAP
    shape = (SLICES, OVERLAP + step * (tasks // across), OVERLAP + step * across)
    with create_volume(path, shape, np.uint8, (40.0, 10.0, 10.0)) as writer:
        writer[:, :, :] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def open_new_run(folder: pathlib.Path, name: str, tasks: int, more: Mapping[str, str]) -> Run:
    """Open the volume for a fit from the beginning; the workdir is folder/run."""
    path = folder / f"volume-{tasks}.ome.zarr"
    if not path.exists():
        make(path, tasks)
    shutil.rmtree(folder / "run", ignore_errors=True)
    settings = {"data.path": str(path), **SETTINGS, **(NO_PRIOR if name == "emgauss" else {})}
    config = read_config(ROOT / "configs" / f"{name}.py", settings | dict(more))
    run = prepare(config)
    claim_workdir(folder / "run", config)
    write_grey_range(folder / "run", run.observed.grey_range)
    return run


def main() -> None:
    """Fit all regions, print what each process held, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=0, help="0: this process")
    parser.add_argument("--config", default="emgauss")
    args, rest = parser.parse_known_args()
    more = dict(flag.removeprefix("--config.").split("=", 1) for flag in rest)
    run, readings = open_new_run(args.folder, args.config, args.tasks, more), []
    job = Job(str(args.folder / "run"), True, "", None, "")
    if args.workers:
        with workers.open_client("local", args.workers) as client:
            run_job(run, job, measuring(client, readings))
    else:
        run_job(run, job, measuring(None, readings))
    print("process  tasks  s/task   early MiB   late MiB  growth  files early  late")
    rows = tabulate(readings)
    for row in rows:
        growth = row.late_mib / row.early_mib - 1
        print(
            f"{row.process:7} {row.tasks:6} {row.seconds:7.3f} {row.early_mib:11.1f} "
            f"{row.late_mib:10.1f} {growth:+7.1%} {row.early_files:12} {row.late_files:5}"
        )
    sys.exit(0 if rows and all(row.ok for row in rows) else 1)


if __name__ == "__main__":
    main()
