"""Who does the tasks of a job: this process, several that see one disk, Dask workers."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tqdm
from absl import flags

from emgauss_jax.data.errors import FitError, InputError
from emgauss_jax.execution import workers
from emgauss_jax.execution.heartbeats import Undone, Wait
from emgauss_jax.execution.hosts import PATIENCE_S, joined, place_of

flags.disclaim_key_flags()  # --help lists them with the command that has them defined
Do = Callable[[int], Any]
Failed = dict[int, BaseException]  # task -> what it ended in
LATE_S = 60.0  # a network file system may show what a worker has written so much later


class Executor(NamedTuple):
    """Who does the tasks.

    `leads`: this process is the one that begins, finishes and reports.
    `each(here, anywhere, tasks, name)`: do all tasks, or this process's share of them; `here` works
        in this process alone, `anywhere` does the same and is picklable. Returns those that failed;
        one that does costs no other.
    `wait(name, undone)`: return when `undone()` lists no task any more; raise InputError where
        nobody is at work on those that it lists.
    """

    leads: bool
    each: Callable[[Do, Do, Sequence[int], str], Failed]
    wait: Wait
    index: int = 0  # of this process, of several


def alone() -> Executor:
    """Do all tasks in this process, one after the other.

    A region that cannot be read or fitted costs no other one. What would stop the others too ends
    all at once: SIGTERM, a machine out of space or memory, a fault of ours. This process cannot end
    a task of its own that hangs.
    """

    def each(here: Do, anywhere: Do, tasks: Sequence[int], name: str) -> Failed:
        del anywhere
        failed: Failed = {}
        for task in _progress(tasks, len(tasks), name):
            try:
                here(task)
            except (InputError, FitError) as error:
                failed[task] = error
        return failed

    return Executor(True, each, see_done)


def see_done(name: str, undone: Undone, patience_s: float = LATE_S) -> None:
    """Make sure that no task has been left out, before the next phase builds on them.

    Raises:
      InputError: a task has not been done.
    """
    end = time.monotonic() + patience_s
    while tasks := undone():
        if time.monotonic() > end:
            raise InputError(f"{name}: got {len(tasks)} tasks undone, wanted none: {tasks[:9]}")
        time.sleep(1)


@contextlib.contextmanager
def hosts(
    folder: pathlib.Path, count: int, index: int, patience_s: float = PATIENCE_S
) -> Iterator[Executor]:
    """Do every n-th task in each of n processes; see `joined`."""
    one = alone()

    def each(here: Do, anywhere: Do, tasks: Sequence[int], name: str) -> Failed:
        # By number, not by place: processes may not see alike what is done.
        return one.each(here, anywhere, [task for task in tasks if task % count == index], name)

    with joined(folder, count, index, patience_s) as wait:
        yield Executor(index == 0, each, wait, index)


def workers_of(client: Any, timeout_s: float = workers.TASK_TIMEOUT_S) -> Executor:
    """Do tasks on the workers of a Dask client, see `workers.run_tasks`."""

    def each(here: Do, anywhere: Do, tasks: Sequence[int], name: str) -> Failed:
        del here
        results = workers.run_tasks(client, anywhere, tasks, timeout_s)
        shown = _progress(results, len(tasks), name)
        return {task: result for task, result in shown if isinstance(result, BaseException)}

    return Executor(True, each, see_done)


def _progress(items: Any, total: int, name: str) -> Any:
    """Show a bar on a terminal and nothing elsewhere; none where there is but one task."""
    return tqdm.tqdm(
        items, desc=name, total=total, unit="task", disable=None if total > 1 else True
    )


def define_executor_flags() -> None:
    """Define the flags that choose an executor."""
    flags.DEFINE_string(
        "hosts", None, "COUNT,INDEX of this process (2,0 and 2,1), or auto (SLURM, MPI)."
    )
    flags.DEFINE_enum("cluster", None, workers.KINDS, "Dask workers that do the tasks.")
    flags.DEFINE_integer("workers", 1, "How many of them.")
    flags.DEFINE_integer("gpus", 0, "GPUs shared out over them, one each.")
    flags.DEFINE_float(
        "task_timeout_s", None, "How long one of their tasks may take (two days) until it is ended."
    )


def checked_timeout(asked: float | None, cluster: str | None) -> float:
    """Tell how long a task may take, s; None: the default.

    Raises:
      InputError: no time, or no cluster: a process cannot end a task of its own.
    """
    if asked is None:
        return workers.TASK_TIMEOUT_S
    if not cluster or not asked > 0:
        raise InputError(
            f"task_timeout_s: got {asked:g}{'' if cluster else ' without --cluster'}, wanted more "
            "than 0, with --cluster: only a worker can be ended in the middle of a task"
        )
    return asked


@contextlib.contextmanager
def open_executor(values: Any, folder: pathlib.Path) -> Iterator[Executor]:
    """Bring together the executor that flags ask for.

    Args:
      values: the flags.
      folder: where processes of `--hosts` tell each other that they live.

    Raises:
      InputError: flags that cannot be read, or do not go together.
    """
    if values.hosts and values.cluster:
        raise InputError("flags: got --hosts and --cluster, wanted one of them")
    if not values.cluster and (values.workers != 1 or values.gpus):
        raise InputError("flags: got --workers or --gpus, wanted --cluster with them")
    timeout_s = checked_timeout(values.task_timeout_s, values.cluster)
    if values.cluster:
        with workers.open_client(values.cluster, values.workers, values.gpus) as client:
            yield workers_of(client, timeout_s)
    elif values.hosts:
        with hosts(folder, *place_of(values.hosts, os.environ)) as executor:
            yield executor
    else:
        yield alone()
