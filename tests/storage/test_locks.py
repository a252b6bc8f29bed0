"""Locks: one holder at a time, on disks that cannot lock too, and none that stays for ever."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from emgauss_jax.storage import locks
from emgauss_jax.storage.lease import leased
from emgauss_jax.storage.locks import locked
from tests.tiny_runs import ROOT, WITHOUT_JAX

HEAD = f"""
import errno, fcntl, os, pathlib, sys, time
{WITHOUT_JAX}
from emgauss_jax.storage.lease import leased
from emgauss_jax.storage.locks import locked
path = pathlib.Path(sys.argv[1])
"""
NO_FLOCK = """
def flock(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
"""
RACE = """
inside, got = path.with_name("inside"), 0
while got < int(sys.argv[2]):
    try:
        with locked(path):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # raises where two hold the lock
            got += 1
            os.unlink(inside)
    except ValueError:
        time.sleep(0)
"""
TAKE = """
with leased(path, 0.05, float(sys.argv[2])):
    os.close(os.open(path.with_name("inside"), os.O_CREAT | os.O_EXCL))
    print("held", flush=True)
    sys.stdin.readline()
    os.unlink(path.with_name("inside"))
"""


def python(code, *args):
    """Start a process that has `locked`, `leased` and its path as `path`."""
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + code, *map(str, args)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def no_flock(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_of_three_that_race_one_holds_the_lock(count, tmp_path):
    racers = [python(RACE, tmp_path / ".lock", count // 3) for _ in range(3)]
    assert [racer.communicate()[1] for racer in racers] == ["", "", ""]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_after_it_was_opened_is_no_lock(tmp_path, monkeypatch):
    """As on network disks, where a file that is in use is not removed but gets another name."""
    path, flock = tmp_path / ".lock", fcntl.flock
    first, third = locked(path), locked(path)
    first.__enter__()
    os.link(path, tmp_path / ".nfs0001")

    def late(number, how):  # between the second one's opening the file and its locking it
        monkeypatch.setattr(fcntl, "flock", flock)
        first.__exit__(None, None, None)
        third.__enter__()
        return flock(number, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ValueError, match="locked by another process"), locked(path):
        pass
    third.__exit__(None, None, None)
    with locked(path):
        pass
    assert [each.name for each in tmp_path.iterdir()] == [".nfs0001"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_disk_that_cannot_lock_has_a_lease_and_is_told(code, tmp_path, monkeypatch, capsys):
    def refuse(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "leased", lambda folder: leased(folder, 0.05, 5.0))
    path = tmp_path / ".lock"
    with locked(path):
        (told,) = capsys.readouterr().err.splitlines()
        assert told.startswith(f"note: {path}: the disk cannot lock a file ({os.strerror(code)})")
        assert [each.name for each in tmp_path.iterdir()] == [".lock.lease"]
        by = r"locked by another process at work .*process [0-9]"
        with pytest.raises(ValueError, match=by), locked(path):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_of_three_that_race_for_a_lease_one_holds_it(count, tmp_path):
    """A holder that lives is seen to: nobody takes the lock from it."""
    code = NO_FLOCK + "from emgauss_jax.storage import lease, locks\nlease.POLL_S = 0.001\n"
    code += "locks.leased = lambda folder: leased(folder, 0.005, 30.0)\n"
    racers = [python(code + RACE, tmp_path / ".lock", count // 3) for _ in range(3)]
    notes = [racer.communicate()[1].splitlines() for racer in racers]
    assert all(line.startswith("note: ") for lines in notes for line in lines), notes
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def killed_holder(folder):
    holder = python(TAKE, folder, 30)
    assert holder.stdout.readline() == "held\n", holder.stderr.read()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    folder.with_name("inside").unlink()
    (file,) = folder.iterdir()
    return file


def test_what_is_killed_leaves_nothing_locked(tmp_path):
    """One of this machine is known to have ended; one of another is waited for, for so long."""
    folder = tmp_path / ".lock.lease"
    killed_holder(folder)
    begun = time.monotonic()
    with leased(folder, 0.05, 30.0):
        assert time.monotonic() - begun < 10
    theirs = killed_holder(folder)
    theirs.rename(folder / f"00000000.{theirs.name.split('.', 1)[1]}")
    begun = time.monotonic()
    with leased(folder, 0.05, 0.7):
        assert time.monotonic() - begun >= 0.7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_of_three_that_take_over_at_once_one_holds_the_lock(tmp_path):
    folder = tmp_path / ".lock.lease"
    theirs = killed_holder(folder)
    theirs.rename(folder / f"00000000.{theirs.name.split('.', 1)[1]}")
    heirs = [python(TAKE, folder, 3) for _ in range(3)]
    lines = [heir.communicate("\n", timeout=60) for heir in heirs]
    winners = [out for out, _ in lines if out]
    refused = [err for out, err in lines if not out]
    assert winners and all("locked by another" in err for err in refused)
    assert not any(err for out, err in lines if out)
    assert not (tmp_path / "inside").exists() and list(tmp_path.iterdir()) == []


def test_who_loses_a_lease_ends_before_it_writes_more(tmp_path):
    """It was stopped for longer than another one waits for it."""
    folder = tmp_path / ".lock.lease"
    holder = python(TAKE, folder, 30)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    with leased(folder, 0.05, 0.5):
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(timeout=60) == 2
        told = holder.stderr.read()
        assert told.count("\n") == 1
        assert told.startswith(f"error: {folder}: got the lock lost (No such file")
    assert [each.name for each in tmp_path.iterdir()] == ["inside"]  # where it was cut short


def test_a_folder_of_something_else_is_not_waited_for_for_ever(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").write_text("precious")
    refused = pytest.raises(ValueError, match="got a folder of something else")
    with refused, leased(tmp_path / "x", 0.05, 0.3):
        pass
    assert (tmp_path / "x" / "mine.txt").exists()


@pytest.mark.slow
def test_a_run_on_a_disk_that_cannot_lock_is_killed_and_started_again(tmp_path):
    """What holds the lock has ended, so that the same command goes on at once, in its own time."""
    code = NO_FLOCK.replace("def flock", "import errno, fcntl, os\ndef flock")
    code += "from emgauss_jax.execution.command import dispatch; dispatch()"
    settings = (
        "data.path=phantom", "data.phantom_shape=(17,32,28)", "data.simulate_factor=4",
        "siren.width=4", "siren.layers=1", "train.steps=100000",
    )  # fmt: skip
    run = tmp_path / "run"
    asked = [sys.executable, "-c", code, "train", "--config=siren", f"--workdir={run}"]
    asked += [f"--config.{each}" for each in settings]
    for _ in range(2):
        process = subprocess.Popen(asked, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        log, begun = run / "metrics.jsonl", time.time_ns()
        while not log.exists() or log.stat().st_mtime_ns < begun:
            assert process.poll() is None, process.stderr.read()[-2000:]
            time.sleep(0.02)
        assert [each.name for each in run.glob(".lock*")] == [".lock.lease"]
        process.send_signal(signal.SIGKILL)
        told = process.communicate()[1]
        assert f"note: {run / '.lock'}: the disk cannot lock a file" in told
