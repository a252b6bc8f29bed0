"""Units of work in processes of their own, and what becomes of them where a process dies."""

import functools
import os
import signal
import stat

import pytest

from emgauss_jax.execution import workers

pytest.importorskip("distributed", reason="Dask is not installed: pip install -e '.[cluster]'")


def square(unit):
    """Square a number; fail for a negative one."""
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


def test_a_worker_that_dies_costs_its_unit_being_done_again(tmp_path):
    task = functools.partial(die_once, tmp_path)
    with workers.open_client("local", workers=2, gpus=2) as client:
        done = dict(workers.run_tasks(client, task, [0, 1, 2]))
        failed = dict(workers.run_tasks(client, square, [-3, 3], retries=1))
    assert {unit: result[0] for unit, result in done.items()} == {0: 0, 1: 1, 2: 2}
    assert {gpu for _, gpu in done.values()} <= {"0", "1"}
    counts = [(tmp_path / f"{unit}.txt").read_text().count("\n") for unit in range(3)]
    assert counts == [1, 2, 1]
    assert failed[3] == 9
    assert isinstance(failed[-3], ValueError) and "got -3" in str(failed[-3])


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
