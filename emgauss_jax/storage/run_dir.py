"""The workdir of a run: its config, what was measured once, and who is at work there."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import filelock
from ml_collections import config_dict

from emgauss_jax.data.atomic import partial_of
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.storage.files import read_json, write_json

CONFIG = "config.json"
GREY_RANGE = "grey_range.json"
DAMAGED = "damaged.json"


def claim_workdir(workdir: pathlib.Path, config: Any) -> None:
    """Write config.json into a new workdir, or check that the one there is the same.

    Raises:
      InputError: the folder belongs to another config, or to something else.
    """
    path = workdir / CONFIG
    wanted = json.loads(config.to_json(sort_keys=True))
    if path.exists():
        different = _first_difference(read_json(path), wanted)
        if different:
            raise InputError(f"workdir {workdir}: {different}; choose another --workdir")
        return
    begun = {partial_of(path)}  # by a process that was killed within
    if workdir.exists() and (not workdir.is_dir() or set(workdir.iterdir()) - begun):
        raise InputError(f"workdir {workdir}: got a file or folder of something else, wanted none")
    write_json(path, wanted)


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Keep others from working on the same thing at the same time.

    Args:
      path: a file that stands for it; the lock goes when the process does.

    Raises:
      InputError: another run holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(
            f"{path.parent}: got another run at work there, wanted one at a time"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # on Windows the release deletes it
            path.unlink(missing_ok=True)  # while it is held: later it may be another's
        lock.release()


def read_workdir(workdir: pathlib.Path) -> config_dict.ConfigDict:
    """Read the config of a workdir.

    Raises:
      InputError: there is none.
    """
    path = workdir / CONFIG
    if not path.exists():
        raise InputError(f"workdir {workdir}: got no {CONFIG}, wanted one made by train")
    return config_dict.ConfigDict(read_json(path))


def read_grey_range(workdir: pathlib.Path) -> IntensityRange | None:
    """Read the grey levels that were measured when the workdir was made."""
    path = workdir / GREY_RANGE
    return IntensityRange(**read_json(path)) if path.exists() else None


def write_grey_range(workdir: pathlib.Path, grey_range: IntensityRange) -> None:
    """Keep the grey levels, so that no other process has to read the whole volume for them."""
    write_json(workdir / GREY_RANGE, dataclasses.asdict(grey_range))


def read_damaged(workdir: pathlib.Path) -> dict[str, str]:
    """Read which slices were found damaged, index -> reason."""
    path = workdir / DAMAGED
    return read_json(path) if path.exists() else {}


def write_damaged(workdir: pathlib.Path, found: Iterable[tuple[int, str]]) -> None:
    """Keep indices and reasons of slices that were found damaged, for the report."""
    write_json(workdir / DAMAGED, {str(index): reason for index, reason in found})


def _first_difference(there: Any, wanted: Any, name: str = "config") -> str:
    """Name the first value in which two nested dicts differ; empty if none does."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in sorted(there.keys() | wanted.keys()):
            found = _first_difference(there.get(key), wanted.get(key), f"{name}.{key}")
            if found:
                return found
        return ""
    if there == wanted or (there is None and not wanted):  # a setting younger than the workdir
        return ""
    return f"was made with {name}={there!r}, got {name}={wanted!r}"
