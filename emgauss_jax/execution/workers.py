"""Tasks, each in a process of its own: one after another, or as tasks of Dask.

A task is anything that can be pickled, and so is the function that does one. Processes are spawned
and not forked, because JAX does not survive a fork: a script that calls this guards its own start
by `if __name__ == "__main__"`.
"""

import concurrent.futures
import contextlib
import importlib
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from types import ModuleType
from typing import Any, NamedTuple

from emgauss_jax.data.errors import InputError
from emgauss_jax.training.preemption import (
    ENDED,
    EXIT_CODE,
    Preempted,
    end_at_sigterm,
    watched,
)

KINDS = ("local", "slurm")
TASK_TIMEOUT_S = 172_800.0  # two days: longer than a region takes, and a hung task ends some time
LOOK_S = 5.0  # how often it is looked whether one takes too long


class Word(NamedTuple):
    """What is told of a task while tasks are done."""

    key: str  # Dask's, of the task
    worker: str  # that has begun it; "": it has ended


SETTINGS = {
    "distributed.worker.multiprocessing-method": "spawn",
    # A worker holds the task it does and no other, so that its death is counted against no other.
    "distributed.scheduler.worker-saturation": 1.0,
    # It keeps what every thread was at, second by second for an hour: memory of each worker.
    "distributed.worker.profile.enabled": False,
}


@contextlib.contextmanager
def open_client(kind: str, workers: int, gpus: int = 0, **options: Any) -> Iterator[Any]:
    """Start workers that do one task at a time each; stop them in the end.

    Args:
      kind: "local", processes of this machine; "slurm", a job for every worker, as the user's
        dask-jobqueue settings say (~/.config/dask/jobqueue.yaml).
      workers: how many.
      gpus: of this machine, one for every worker in turn; for "slurm", more than 0 asks for one a
        job. 0: workers see what they see.
      options: of `dask_jobqueue.SLURMCluster`, over those settings.

    Yields:
      A `dask.distributed.Client`.

    Raises:
      InputError: another kind, no worker, a missing setting, or Dask is not installed.
    """
    if kind not in KINDS or workers < 1 or gpus < 0:
        raise InputError(
            f"cluster: got {kind!r}, {workers} workers and {gpus} gpus, wanted one of {KINDS}, "
            "1 or more and 0 or more"
        )
    dask = _load("dask")
    dask.config.set({"logging.distributed": "warning"})  # read when `distributed` is first loaded
    distributed = _load("distributed")
    start = _local if kind == "local" else _slurm
    with (
        dask.config.set(SETTINGS),
        start(workers, gpus, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"cluster: got no package {name}, wanted it installed: pip install -e '.[cluster]'"
        ) from None


def _local(workers: int, gpus: int) -> Any:
    """Start processes of one thread each, as `LocalCluster` does, each with its own environment."""
    distributed = _load("distributed")
    _quiet_tracker()
    quiet = {"silence_logs": logging.WARNING}
    here = {"host": "127.0.0.1", "dashboard": False}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")

    def worker(i: int) -> dict[str, Any]:
        env = {"CUDA_VISIBLE_DEVICES": visible[:gpus][i % gpus]} if gpus else {}
        # No limit of memory: it is shared, and a task may need most of it.
        options = {"nthreads": 1, "memory_limit": 0, "env": env, **here, **quiet}
        return {"cls": distributed.Nanny, "options": options}

    scheduler = {"cls": distributed.Scheduler, "options": {"port": 0, **here}}
    return distributed.SpecCluster({i: worker(i) for i in range(workers)}, scheduler, **quiet)


def _quiet_tracker() -> None:
    """Let multiprocessing tidy up without a word behind a process that SIGTERM has ended."""
    sys.warnoptions.append("ignore:resource_tracker")  # handed on to the process that does
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()


def _slurm(workers: int, gpus: int, **options: Any) -> Any:
    """Queue a job for every worker; those that come first begin."""
    jobqueue, settings = _load("dask_jobqueue"), _load("dask").config
    if gpus:
        extra = settings.get("jobqueue.slurm.job-extra-directives", [])
        options = {"job_extra_directives": [*extra, "--gres=gpu:1"], **options}
    more = settings.get("jobqueue.slurm.worker-extra-args", [])
    try:  # a job may have several cores, but does one task at a time
        one = {"processes": 1, "worker_extra_args": [*more, "--nthreads", "1"]}
        cluster = jobqueue.SLURMCluster(**one, **options)
    except ValueError as error:
        raise InputError(
            f"jobqueue.slurm: got {error}, wanted it in ~/.config/dask/jobqueue.yaml"
        ) from None
    cluster.scale(jobs=workers)
    return cluster


def run_tasks(
    client: Any,
    function: Callable[[Any], Any],
    tasks: Iterable[Any],
    timeout_s: float = TASK_TIMEOUT_S,
) -> Iterator[tuple[Any, Any]]:
    """Do tasks on the workers of a client, each until it ends or is ended.

    A task that raises is not begun anew: the same input would raise again. One whose worker has
    died or is lost is, as often as Dask's `distributed.scheduler.allowed-failures` says, three
    times. Where a task takes too long, its worker is killed and started anew.

    Args:
      client: from `open_client`.
      function: does one task. It may be begun anew where a worker has died.
      tasks: what to do.
      timeout_s: how long a task may take.

    Yields:
      Each task with what the function returned, or the exception it ended in, as they come.
    """
    told: queue.SimpleQueue[Word] = queue.SimpleQueue()
    topic = f"emgauss_jax-{uuid.uuid4().hex}"
    client.subscribe_topic(topic, lambda event: told.put(Word(*event[1])))
    futures: dict[str, tuple[Any, Any]] = {}
    for task in tasks:
        future = client.submit(_telling, topic, function, task, pure=False)
        futures[future.key] = future, task
        future.add_done_callback(lambda done: told.put(Word(done.key, "")))
    try:
        yield from _as_they_end(client, futures, told, timeout_s)
    finally:
        client.unsubscribe_topic(topic)


def _telling(topic: str, function: Callable[[Any], Any], task: Any) -> Any:
    """Do a task in a worker, and say that it is begun."""
    worker = _load("distributed").get_worker()
    worker.log_event(topic, (worker.get_current_task(), worker.address))
    return function(task)


def _as_they_end(
    client: Any, futures: dict[str, tuple[Any, Any]], told: Any, timeout_s: float
) -> Iterator[tuple[Any, Any]]:
    """Yield tasks with their outcomes as they end, or are ended because they take too long."""
    begun: dict[str, tuple[float, str]] = {}  # key -> when, by our own clock; on which worker
    while futures:
        with contextlib.suppress(queue.Empty):
            key, worker = told.get(timeout=min(LOOK_S, timeout_s / 4))
            if key in futures and worker:
                begun[key] = time.monotonic(), worker
            elif key in futures:
                begun.pop(key, None)
                future, task = futures.pop(key)
                yield task, _outcome(future)
        soonest = min(begun, key=lambda key: begun[key][0], default=None)
        if soonest and begun[soonest][0] < time.monotonic() - timeout_s:
            _, worker = begun.pop(soonest)
            future, task = futures.pop(soonest)
            yield task, _ended_late(client, future, worker, timeout_s)


def _ended_late(client: Any, future: Any, worker: str, timeout_s: float) -> InputError:
    """End a task that takes too long, with its worker, and say so."""
    client.cancel([future], force=True)  # or another worker would begin it anew
    with contextlib.suppress(KeyError):  # it has died meanwhile
        client.restart_workers([worker], raise_for_error=False)
    return InputError(
        f"task_timeout_s: got no end of the task after {timeout_s:g} s, wanted one: its worker was "
        "killed; what is but slow goes on where it was saved, given more time"
    )


def _outcome(future: Any) -> Any:
    """Give what an ended task returned, or the exception it ended in, with the worker's trace."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, _load("distributed").KilledWorker):
        return InputError(
            f"workers: got {error.allowed_failures + 1} that died at the same task, as the system "
            "kills one when memory runs out, wanted them to last: fewer --workers, or smaller "
            "regions (block.region)"
        )
    return error.with_traceback(future.traceback())


def one_by_one(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Do tasks without a cluster, one after another; yields as `run_tasks`.

    Each has a process of its own, so that one that is killed takes nothing with it, and leaves no
    memory behind. SIGTERM, to this process or to a task's, makes the task save what it is at;
    it is waited for, and nothing more is begun.

    Raises:
      Preempted: SIGTERM came; the task that it came in may be unfinished.
    """
    spawn = multiprocessing.get_context("spawn")
    children: list[Any] = []

    def hand_on() -> None:
        for child in children:
            child.terminate()

    with watched(hand_on) as stopped:
        for task in tasks:
            if stopped():
                raise Preempted(ENDED)
            before = multiprocessing.active_children()
            with concurrent.futures.ProcessPoolExecutor(1, spawn, _begin_child) as pool:
                future = pool.submit(function, task)
                children[:] = set(multiprocessing.active_children()) - set(before)
                if stopped():  # before it was there
                    hand_on()
                error = future.exception()
            codes = {child.exitcode for child in children}
            children.clear()
            if isinstance(error, Preempted):
                raise error
            if error is not None and (stopped() or codes & {EXIT_CODE, -signal.SIGTERM}):
                raise Preempted(ENDED) from error
            yield task, future.result() if error is None else error


def _begin_child() -> None:
    """End this process at SIGTERM, and as soon as its parent does: two never do one task at once.

    The parent says what there is to be said.
    """
    end_at_sigterm("")

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
