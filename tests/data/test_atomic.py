"""Files are whole or not there."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from emgauss_jax.data.atomic import is_partial_of, partial_of, whole
from emgauss_jax.data.processes import has_ended, new_token
from emgauss_jax.data.volume import create_volume, open_volume
from tests.tiny_runs import ROOT, WITHOUT_JAX


def python(code, *args):
    """Start a process that has pathlib, os, sys and `whole`, and its path as `path`."""
    head = WITHOUT_JAX + (
        "import os, pathlib, sys; from emgauss_jax.data.atomic import whole\n"
        "path = pathlib.Path(sys.argv[1])\n"
    )
    asked = [sys.executable, "-c", head + code, *map(str, args)]
    return subprocess.Popen(asked, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_file_is_replaced_once_it_is_written(tmp_path):
    path = tmp_path / "folder" / "file.json"
    with whole(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_cut_short_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("first")
    with pytest.raises(KeyboardInterrupt), whole(path) as partial:
        partial.write_text("sec")
        raise KeyboardInterrupt
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]  # nothing is left of the new one


def test_a_process_that_is_killed_before_the_rename_leaves_the_old_file(tmp_path):
    """What it leaves beside it goes when the file is written again, and not what others write."""
    path = tmp_path / "file.json"
    path.write_text("first")
    ended = python(
        "import signal\n"
        "def killed(*args): os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.replace = os.rename = pathlib.Path.replace = killed\n"
        "with whole(path) as partial: partial.write_text('second')\n", path,
    )  # fmt: skip
    assert ended.wait() == -signal.SIGKILL
    assert path.read_text() == "first"
    (left,) = set(tmp_path.iterdir()) - {path}
    assert is_partial_of(left, path) and left.read_text() == "second"
    others = [partial_of(path), path.with_name(f".file.json.00000000.{ended.pid}.00000000.partial")]
    for other in others:  # of a process that lives, of another machine
        other.write_text("half")
    with whole(path) as partial:
        partial.write_text("third")
    assert path.read_text() == "third"
    assert set(tmp_path.iterdir()) == {path, *others}


def test_a_full_disk_that_is_told_late_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    path.write_text("first")

    def full(number):
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"), whole(path) as partial:
        partial.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["file", "v.ome.tif", "v.ome.zarr"])
def test_all_is_on_the_disk_before_it_has_its_name(name, tmp_path, monkeypatch):
    """Every file of it, then the folder that has the name."""
    flushed, at_rename, fsync = set(), [], os.fsync

    def note(number):
        flushed.add(os.fstat(number).st_ino)
        fsync(number)

    def noting(change):
        return lambda *args: (at_rename.append(set(flushed)), change(*args))[1]

    monkeypatch.setattr(os, "fsync", note)
    for each in ("rename", "replace"):
        monkeypatch.setattr(os, each, noting(getattr(os, each)))
    path = tmp_path / name
    if name == "file":
        with whole(path) as partial:
            partial.write_text("x")
    else:
        with create_volume(path, (3, 4, 5), "uint8", (4.0, 1.0, 1.0)) as writer:
            writer[:, :, 0:1] = ones()
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    assert {each.stat().st_ino for each in files} <= at_rename[-1]
    assert tmp_path.stat().st_ino in flushed - at_rename[-1]


def ones():
    return np.ones((3, 4, 1), np.uint8)


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_two_that_write_one_file_at_once_never_leave_half_of_one(count, tmp_path):
    path, size = tmp_path / "file", 50_000
    code = (
        f"for i in range({count}):\n"
        "    with whole(path) as partial: partial.write_text(sys.argv[2] * int(sys.argv[3]))\n"
    )
    writers = [python(code, path, letter, size) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * size, "b" * size} and path.read_text() in seen | {"a" * size, "b" * size}
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_write_one_volume_at_once_do_not_meet(tmp_path):
    """The second one is refused in the end; it has not written into the first one's."""
    path = tmp_path / "v.ome.zarr"
    first, second = (create_volume(path, (3, 4, 1), "uint8", (4.0, 1.0, 1.0)) for _ in range(2))
    with pytest.raises(ValueError, match="exists already"), second, first:
        first[:, :, :] = ones()
        second[:, :, :] = 2 * ones()
    assert (open_volume(path)[:, :, :] == 1).all()
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_known_of_processes():
    assert not has_ended(new_token())
    machine = new_token().split(".")[0]
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    assert not has_ended(f"{machine}.{ended.pid}.00000000")
    ended.wait()
    assert has_ended(f"{machine}.{ended.pid}.00000000")
    assert not has_ended(f"00000000.{ended.pid}.00000000")  # another machine's
