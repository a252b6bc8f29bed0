"""Compiled programs that are kept: those used last stay, whoever else is at work in the folder."""

import os
import pathlib

import jax
import pytest

from emgauss_jax.execution import compiled

MIB = 2**20


def program(folder, name, used, size=MIB):
    """Leave a program that was last used at a time, as JAX names it."""
    path = folder / f"{name}-cache"
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_not_used_for_longest_goes_and_other_files_stay(tmp_path):
    for index, name in enumerate("dcba"):
        program(tmp_path, name, used=1000 + index)
    old = tmp_path / "notes.txt"
    old.write_bytes(bytes(3 * MIB))
    os.utime(old, (0, 0))
    compiled.prune(tmp_path, 4 * MIB)  # just as many bytes as there are
    assert names(tmp_path) == ["a-cache", "b-cache", "c-cache", "d-cache", "notes.txt"]
    compiled.prune(tmp_path, 3 * MIB - 1)
    assert names(tmp_path) == ["a-cache", "b-cache", "notes.txt"]
    compiled.prune(tmp_path / "none", 0)


def test_one_that_was_read_since_it_was_written_is_kept(tmp_path):
    program(tmp_path, "written last", used=2000)
    read = program(tmp_path, "read last", used=1000)
    os.utime(read, (3000, 1000))
    compiled.prune(tmp_path, MIB)
    assert names(tmp_path) == ["read last-cache"]


def test_programs_that_others_remove_meanwhile_are_passed_over(tmp_path, monkeypatch):
    paths = [program(tmp_path, f"{index}", used=index) for index in range(3)]
    before = pathlib.Path.stat

    def vanishing(path, **given):
        if path == paths[0]:
            path.unlink(missing_ok=True)
        return before(path, **given)

    monkeypatch.setattr(pathlib.Path, "stat", vanishing)
    compiled.prune(tmp_path, MIB)
    assert names(tmp_path) == ["2-cache"]


@pytest.mark.parametrize("own", [False, True])
def test_only_the_default_folder_is_pruned(tmp_path, monkeypatch, own):
    folder = tmp_path / ".cache" / "emgauss_jax"
    folder.mkdir(parents=True)
    program(folder, "a", used=1000)
    monkeypatch.setattr(compiled, "MOST", 0)
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)
    told = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: told.append((name, value)))
    if own:
        monkeypatch.setenv(compiled.CACHE, str(folder))
    else:
        monkeypatch.delenv(compiled.CACHE)
    compiled.keep_compiled()
    assert names(folder) == (["a-cache"] if own else [])
    assert ("jax_compilation_cache_dir", str(folder)) in told
