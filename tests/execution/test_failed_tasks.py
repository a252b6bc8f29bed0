"""A task that fails costs no other; it is listed, and the same command tries it alone again."""

import json

import jax
import pytest

from emgauss_jax.data.errors import FitError, InputError
from emgauss_jax.execution import executors, jobs
from emgauss_jax.execution.command import line_of, told_in_a_line
from emgauss_jax.execution.executors import Executor, alone, checked_timeout, see_done
from emgauss_jax.execution.failed_tasks import summary
from emgauss_jax.execution.jobs import Job, run_job
from emgauss_jax.pipeline.phase import Phase


class Work:
    """Two phases of tasks that fail as they are told to, and what was done."""

    def __init__(self, monkeypatch, count=5):
        self.done, self.begun, self.errors = [], [], {}
        planned = tuple(
            Phase(
                name, count, lambda i, n=name: (n, i) in self.done, lambda i, n=name: self.do(n, i)
            )
            for name in ("fit", "planes")
        )
        monkeypatch.setattr(jobs, "phases", lambda run, job: planned)

    def do(self, name, task):
        self.begun.append((name, task))
        if (name, task) in self.errors:
            raise self.errors[name, task]
        self.done.append((name, task))


@pytest.mark.parametrize("fits", [True, False])
def test_the_rest_of_the_phase_is_done_and_the_same_command_does_what_is_left(
    tmp_path, monkeypatch, fits
):
    work = Work(monkeypatch)
    work.errors = {
        ("fit", 1): FitError("step 7: got nonfinite"),
        ("fit", 3): InputError("x: got y"),
    }
    job = Job(str(tmp_path), fits, str(tmp_path / "out.zarr"), None, "")
    path = tmp_path / ("failed.json" if fits else "out.zarr.failed.json")
    told = r"^fit: 2 of 5 tasks failed, see .*: 1: step 7: got nonfinite; 3: x: got y; all others"
    with pytest.raises(InputError, match=told):
        run_job(None, job, alone())
    assert work.begun == [("fit", task) for task in range(5)]  # the phase after is not begun
    assert json.loads(path.read_text()) == {
        "phase": "fit", "of": 5,
        "tasks": [
            {"task": 1, "error": "step 7: got nonfinite"}, {"task": 3, "error": "x: got y"},
        ],
    }  # fmt: skip
    del work.begun[:], work.errors["fit", 3]
    with pytest.raises(InputError, match="fit: 1 of 5 tasks failed"):
        run_job(None, job, alone())
    assert work.begun == [("fit", 1), ("fit", 3)]
    work.errors, work.begun = {}, []
    run_job(None, job, alone())
    assert work.begun == [("fit", 1), *(("planes", task) for task in range(5))]
    assert not path.exists()


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left"), KeyError("bug")])
def test_what_would_stop_the_others_too_ends_a_process_at_once(tmp_path, monkeypatch, error):
    work = Work(monkeypatch)
    work.errors = {("fit", 1): error}
    with pytest.raises(type(error)):
        run_job(None, Job(str(tmp_path), True, "", None, ""), alone())
    assert work.begun == [("fit", 0), ("fit", 1)]


def test_the_error_of_an_only_task_is_raised_as_it_is(tmp_path, monkeypatch):
    work = Work(monkeypatch, count=1)
    work.errors = {("fit", 0): FitError("step 3: got nonfinite")}
    with pytest.raises(FitError, match=r"^step 3"):
        run_job(None, Job(str(tmp_path), True, "", None, ""), alone())
    assert (tmp_path / "failed.json").exists()


def test_a_fault_of_ours_keeps_its_traceback_in_the_list_too(tmp_path, monkeypatch):
    Work(monkeypatch)

    def fail(task):
        raise KeyError("bug")

    def each(here, anywhere, tasks, name):
        failed = {}
        for task in (2, 3):
            try:
                fail(task)
            except KeyError as error:
                failed[task] = error
        return failed

    job = Job(str(tmp_path), True, "", None, "")
    with pytest.raises(RuntimeError, match="2, 3: KeyError: 'bug'") as raised:
        run_job(None, job, Executor(True, each, see_done))
    assert isinstance(raised.value.__cause__, KeyError)
    first, _ = json.loads((tmp_path / "failed.json").read_text())["tasks"]
    assert 'raise KeyError("bug")' in first["traceback"]


def test_each_of_several_processes_has_its_list_and_all_go_in_the_end(tmp_path, monkeypatch):
    work = Work(monkeypatch)
    work.errors = {("fit", 3): FitError("step 1"), ("fit", 0): FitError("step 2")}
    job = Job(str(tmp_path), True, "", None, "")
    for index in (1, 0):
        with (
            pytest.raises(InputError, match="fit: 1 of 5 tasks failed"),
            executors.hosts(tmp_path / "hosts", 2, index) as executor,
        ):
            run_job(None, job, executor)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["failed.1.json", "failed.json"]
    assert set(work.done) == {("fit", 1), ("fit", 2), ("fit", 4)}
    work.errors = {}
    other = tmp_path / "v.failed.1.json"
    other.write_text("{}")
    run_job(None, job, alone())
    assert list(tmp_path.glob("*.json")) == [other]  # of another output


def test_many_failures_make_a_short_line():
    errors = {task: InputError(f"kind {task % 4}") for task in range(48)}
    told = summary(errors)
    assert told.startswith("0, 4, 8, 12, 16, 20, 24, 28, 32 and 3 more: kind 0; 1, 5,")
    assert told.endswith("; and 1 more errors") and "kind 3" not in told


def test_memory_that_ran_out_is_told_in_a_line_wherever_it_did():
    of_device = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating\n 9 bytes")
    assert told_in_a_line(of_device) and told_in_a_line(MemoryError())
    assert line_of(MemoryError()).startswith("memory: got none left, wanted more")
    assert "Out of memory allocating 9 bytes, wanted more" in line_of(of_device)
    assert not told_in_a_line(jax.errors.JaxRuntimeError("INTERNAL: a fault"))


def test_only_a_worker_can_be_ended_in_the_middle_of_a_task():
    assert checked_timeout(None, None) == 172_800 and checked_timeout(60.0, "local") == 60
    for asked, cluster, match in (
        (60.0, None, "got 60 without --cluster"),
        (0.0, "local", "got 0, wanted more than 0"),
        (float("nan"), "local", "got nan"),
    ):
        with pytest.raises(InputError, match=f"^task_timeout_s: {match}"):
            checked_timeout(asked, cluster)
