"""Units of work in processes of their own, and what becomes of them where a process dies."""

import functools
import os
import signal
import stat
import time
import traceback

import pytest

from emgauss_jax.data.errors import InputError
from emgauss_jax.execution import workers

pytest.importorskip("distributed", reason="Dask is not installed: pip install -e '.[cluster]'")


def square(unit, folder=None):
    """Square a number; fail for a negative one; leave a line each time."""
    if folder:
        with (folder / "squared.txt").open("a") as file:
            file.write(f"{unit}\n")
    if unit < 0:
        raise ValueError(f"unit: got {unit}, wanted 0 or more")
    return unit**2


def die_once(folder, unit):
    """Kill the process the first time; leave a line each time."""
    with (folder / f"{unit}.txt").open("a") as file:
        file.write("begun\n")
    if unit == 1 and (folder / "1.txt").read_text().count("\n") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return unit, os.environ.get("CUDA_VISIBLE_DEVICES")


def die(unit):
    """Kill the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def hang_or_square(unit):
    """Square a number; never end for 0."""
    while unit == 0:
        time.sleep(0.1)
    return square(unit)


def test_a_worker_that_dies_costs_its_unit_being_done_again(tmp_path):
    task = functools.partial(die_once, tmp_path)
    with workers.open_client("local", workers=2, gpus=2) as client:
        done = dict(workers.run_tasks(client, task, [0, 1, 2]))
        failed = dict(
            workers.run_tasks(client, functools.partial(square, folder=tmp_path), [-3, 3])
        )
    assert {unit: result[0] for unit, result in done.items()} == {0: 0, 1: 1, 2: 2}
    assert {gpu for _, gpu in done.values()} <= {"0", "1"}
    counts = [(tmp_path / f"{unit}.txt").read_text().count("\n") for unit in range(3)]
    assert counts == [1, 2, 1]
    assert failed[3] == 9
    assert isinstance(failed[-3], ValueError) and "got -3" in str(failed[-3])
    assert "in square" in "".join(traceback.format_exception(failed[-3]))  # the worker's lines
    assert sorted((tmp_path / "squared.txt").read_text().split()) == ["-3", "3"]  # once each


@pytest.mark.slow
def test_what_hangs_and_what_kills_every_worker_costs_no_other_task():
    with workers.open_client("local", workers=1) as client:
        # Those that wait behind the one that hangs have not begun, however long they wait.
        late = dict(workers.run_tasks(client, hang_or_square, [0, 2, 3], timeout_s=1.0))
        ((_, error),) = workers.run_tasks(client, die, [0])
    assert late[2] == 4 and late[3] == 9
    assert "task_timeout_s: got no end of the task after 1 s" in str(late[0])
    assert "workers: got 4 that died at the same task" in str(error)  # forgiven three times
    assert isinstance(error, InputError)


@pytest.mark.slow
def test_one_by_one_a_unit_that_is_killed_takes_nothing_with_it():
    units = iter([2, -1, 3])
    assert "terminated abruptly" in str(next(workers.one_by_one(die, [0]))[1])
    done = list(workers.one_by_one(square, units))
    assert [unit for unit, _ in done] == [2, -1, 3]
    assert done[0][1] == 4 and done[2][1] == 9 and "got -1" in str(done[1][1])


@pytest.mark.slow
def test_slurm_queues_a_job_for_every_worker(tmp_path, monkeypatch):
    """With a queue that starts every job at once on this machine."""
    job = tmp_path / "job.sh"  # Dask throws its own away
    scripts = {
        "sbatch": f'cp "$1" {job}\nbash {job} >/dev/null 2>&1 &\necho "batch job $!"',
        "scancel": 'kill "$@"',
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    options = {"cores": 2, "memory": "2GB", "interface": "lo", "local_directory": str(tmp_path)}
    with workers.open_client("slurm", workers=1, gpus=1, **options) as client:
        assert dict(workers.run_tasks(client, square, [2, 3])) == {2: 4, 3: 9}
        assert list(client.nthreads().values()) == [1]
    assert "#SBATCH --gres=gpu:1" in job.read_text()


@pytest.mark.parametrize(
    ("kind", "count", "match"),
    [("cloud", 1, "got 'cloud'"), ("local", 0, "0 workers"), ("slurm", 1, "cores and memory")],
)
def test_what_cannot_be_started_says_what_was_wanted(kind, count, match):
    with pytest.raises(ValueError, match=match), workers.open_client(kind, count):
        pass


def test_a_missing_package_names_its_cure(monkeypatch):
    monkeypatch.setitem(workers.importlib.sys.modules, "dask_jobqueue", None)
    cure = r"dask_jobqueue.*pip install -e '\.\[cluster\]'"
    with pytest.raises(ValueError, match=cure), workers.open_client("slurm", 1):
        pass
