"""Who does the tasks of a job: this process, several joined by `jax.distributed`, Dask workers."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import tqdm
from absl import flags
from jax.experimental import multihost_utils

from emgauss_jax.data.errors import InputError
from emgauss_jax.execution import workers

flags.disclaim_key_flags()  # --help lists them with the command that has them defined
Do = Callable[[int], Any]


class Executor(NamedTuple):
    """Who does the tasks.

    `leads`: this process is the one that begins, finishes and reports.
    `wait(name)`: returns when all processes of the executor have come here.
    `each(here, anywhere, tasks, name)`: do all tasks; `here` works in this process alone,
        `anywhere` does the same and is picklable.
    """

    leads: bool
    wait: Callable[[str], None]
    each: Callable[[Do, Do, Sequence[int], str], None]


def alone() -> Executor:
    """Do all tasks in this process, one after the other."""

    def each(here: Do, anywhere: Do, tasks: Sequence[int], name: str) -> None:
        del anywhere
        for task in _progress(tasks, len(tasks), name):
            here(task)

    return Executor(True, lambda name: None, each)


def hosts() -> Executor:
    """Do every n-th task in each of the n processes that `jax.distributed` has brought together."""
    index, count, one = jax.process_index(), jax.process_count(), alone()

    def each(here: Do, anywhere: Do, tasks: Sequence[int], name: str) -> None:
        # By number, not by place: hosts may not see alike what is done.
        one.each(here, anywhere, [task for task in tasks if task % count == index], name)

    return Executor(index == 0, _meet, each)


def _meet(name: str) -> None:
    """Wait for all other processes.

    Raises:
      InputError: one of them has ended.
    """
    try:
        multihost_utils.sync_global_devices(name)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"hosts: got no answer at {name!r} ({reason}), wanted all at work: see what the one "
            "that ended first has said"
        ) from error


def workers_of(client: Any) -> Executor:
    """Do tasks on the workers of a Dask client; one that fails does not stop the others."""

    def each(here: Do, anywhere: Do, tasks: Sequence[int], name: str) -> None:
        del here
        failed = {}
        for task, result in _progress(workers.run_tasks(client, anywhere, tasks), len(tasks), name):
            if isinstance(result, BaseException):
                failed[task] = result
        if failed:
            task, error = next(iter(failed.items()))
            raise InputError(f"{name}: {len(failed)} of {len(tasks)} tasks failed, {task}: {error}")

    return Executor(True, lambda name: None, each)


def _progress(items: Any, total: int, name: str) -> Any:
    """Show a bar on a terminal and nothing elsewhere; none where there is but one task."""
    return tqdm.tqdm(
        items, desc=name, total=total, unit="task", disable=None if total > 1 else True
    )


def define_executor_flags() -> None:
    """Define the flags that choose an executor."""
    flags.DEFINE_string(
        "hosts", None, "auto (SLURM, TPU pod), or ADDRESS:PORT,COUNT,INDEX of this process."
    )
    flags.DEFINE_enum("cluster", None, workers.KINDS, "Dask workers that do the tasks.")
    flags.DEFINE_integer("workers", 1, "How many of them.")
    flags.DEFINE_integer("gpus", 0, "GPUs shared out over them, one each.")


@contextlib.contextmanager
def open_executor(values: Any) -> Iterator[Executor]:
    """Bring together the executor that flags ask for.

    Raises:
      InputError: flags that cannot be read, or do not go together.
    """
    if values.hosts and values.cluster:
        raise InputError("flags: got --hosts and --cluster, wanted one of them")
    if not values.cluster and (values.workers != 1 or values.gpus):
        raise InputError("flags: got --workers or --gpus, wanted --cluster with them")
    if values.cluster:
        with workers.open_client(values.cluster, values.workers, values.gpus) as client:
            yield workers_of(client)
    elif values.hosts:
        join_hosts(values.hosts)
        executor = hosts()
        # At once: only the first meeting is given no more than half a minute.
        executor.wait("begin")
        yield executor
        executor.wait("end")  # and not at the shutdown, which is given five minutes
        jax.distributed.shutdown()
    else:
        yield alone()


def join_hosts(asked: str) -> None:
    """Join the other processes, each of which calls this before it uses any device.

    Raises:
      InputError: neither auto nor ADDRESS:PORT,COUNT,INDEX.
    """
    # SIGTERM is ours: `training.preemption`
    jax.config.update("jax_enable_preemption_service", False)
    address, *numbers = asked.split(",")
    if asked != "auto":
        whole = len(numbers) == 2 and all(number.isdigit() for number in numbers)
        if not whole or ":" not in address or not int(numbers[1]) < int(numbers[0]):
            raise InputError(
                f"hosts: got {asked!r}, wanted auto, or ADDRESS:PORT,COUNT,INDEX with INDEX < COUNT"
            )
    try:
        given = (address, *map(int, numbers)) if numbers else ()
        jax.distributed.initialize(*given)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"hosts: got {asked!r} ({reason}), wanted processes to join") from error
