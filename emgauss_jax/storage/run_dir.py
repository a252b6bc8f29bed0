"""The workdir of a run: its config, and what was measured once."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from ml_collections import config_dict

from emgauss_jax.data.atomic import is_partial_of
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.storage.config_check import check_config
from emgauss_jax.storage.files import (
    checked,
    is_of,
    read_json,
    read_record,
    refuse_links_out,
    write_json,
)
from emgauss_jax.storage.locks import is_of_lock

CONFIG = "config.json"
GREY_RANGE = "grey_range.json"
DAMAGED = "damaged.json"
ABSENT = "absent_chunks.json"
OF_0_1 = ("network.npz", "fitted.npz", "regions/000000/fitted.npz")  # what version 0.1 has written
LATER = {  # settings of configs that were not there from the first
    "data": {"series": -1, "require_all_chunks": False, "z_nm": ""},
    "output": {"chunk": (64, 64, 64), "shard": (0, 0, 0)},
}
GREY_KINDS = {
    "low": float, "high": float, "padding": list[tuple[float, float]], "far": int, "has_hot": bool,
}  # fmt: skip
OLDER_GREY_RANGE = {"padding": [], "far": 0, "has_hot": True}  # what the first ones had not
HOSTS = "hosts"  # heartbeats of several processes, see `execution.heartbeats`
LOCK = ".lock"
ROWS = "rows"  # of a sweep: the folder of its workdirs


def with_later_settings(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Add the settings that a config older than them lacks, in place, as they were before them."""
    for section, settings in LATER.items():
        if section not in config:
            config[section] = config_dict.ConfigDict()
        for name, value in settings.items():
            if name not in config[section]:
                config[section][name] = value
    return config


def claim_workdir(workdir: pathlib.Path, config: Any) -> None:
    """Write config.json into a new workdir, or check that the one there is the same.

    Raises:
      InputError: the folder belongs to another config, or to something else; or a setting cannot be
        read again.
    """
    _refuse_older(workdir)
    if not _is_claimed(workdir, config):
        check_workdir(workdir)
        check_config(plain(config), "config")  # what is begun can be read again
        write_json(workdir / CONFIG, plain(config))


def check_workdir(workdir: pathlib.Path) -> None:
    """Raise where a folder is that of something else than a run."""
    path = workdir / CONFIG
    if workdir.is_dir():
        others = not all(_is_begun(there, workdir) for there in workdir.iterdir())
    else:
        others = workdir.exists()
    if others and not path.exists():  # in this order: another process may be claiming it
        raise InputError(f"workdir {workdir}: got a file or folder of something else, wanted none")


def _is_begun(there: pathlib.Path, workdir: pathlib.Path) -> bool:
    """Tell whether a path is what one that was killed has left, or others make at this moment."""
    config = is_partial_of(there, workdir / CONFIG)
    return config or there == workdir / HOSTS or is_of_lock(there, workdir / LOCK)


def is_begun(workdir: pathlib.Path, config: Any) -> bool:
    """Tell whether a workdir has been claimed and grey levels measured, by another process.

    Raises:
      InputError: the folder belongs to another config.
    """
    return _is_claimed(workdir, config) and (workdir / GREY_RANGE).exists()


def _is_claimed(workdir: pathlib.Path, config: Any) -> bool:
    """Tell whether a workdir has the config; raise where it has another."""
    path = workdir / CONFIG
    if not path.exists():
        return False
    there = with_later_settings(config_dict.ConfigDict(read_json(path)))
    different = first_difference(plain(there), plain(config))
    if different:
        raise InputError(f"workdir {workdir}: {different}; choose another --workdir")
    return True


def plain(config: Any) -> Any:
    """Give a config as JSON has it."""
    return json.loads(config.to_json(sort_keys=True))


def read_workdir(workdir: pathlib.Path) -> config_dict.ConfigDict:
    """Read the config of a workdir.

    Raises:
      InputError: there is none, or a setting has a value that it cannot have; or a link leads out
        of the workdir.
    """
    _refuse_older(workdir)
    path = workdir / CONFIG
    if not path.exists():
        raise InputError(f"workdir {workdir}: got no {CONFIG}, wanted one made by train")
    place = workdir.absolute()  # a row of a sweep has its pseudo-labels from a batch
    refuse_links_out(workdir, place.parents[1] if place.parent.name == ROWS else workdir)
    return config_of(read_json(path), path)


def config_of(content: Any, source: Any) -> config_dict.ConfigDict:
    """Make a config of what a file holds.

    Args:
      content: as JSON has it.
      source: the file, for the message.

    Raises:
      InputError: a setting is not known, or lacks, or has a value that it cannot have.
    """
    sections = (content.get(name, {}) for name in LATER) if isinstance(content, dict) else (0,)
    if not all(isinstance(section, dict) for section in sections):
        check_config(content, source)
    try:
        config = with_later_settings(config_dict.ConfigDict(content))
        check_config(config.to_dict(), source)
    except (ValueError, RecursionError) as error:  # a dot in a key, sections without end
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: got {error}, wanted a config as train writes it") from error
    return config


def read_grey_range(workdir: pathlib.Path) -> IntensityRange | None:
    """Read the grey levels that were measured when the workdir was made."""
    path = workdir / GREY_RANGE
    return _grey_range(path) if path.exists() else None


def _grey_range(path: pathlib.Path) -> IntensityRange:
    record = dict(OLDER_GREY_RANGE, **_object(read_json(path), path))
    found = IntensityRange.from_json(checked(record, GREY_KINDS, path))
    if not found.low < found.high:
        raise InputError(f"{path}: got low {found.low:g}, high {found.high:g}, wanted low < high")
    return found


def _object(content: Any, path: pathlib.Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{path}: got a JSON {type(content).__name__}, wanted an object")
    return content


def write_grey_range(workdir: pathlib.Path, grey_range: IntensityRange) -> None:
    """Keep the grey levels, so that no other process has to read the whole volume for them."""
    write_json(workdir / GREY_RANGE, dataclasses.asdict(grey_range))


def read_absent(workdir: pathlib.Path) -> tuple[int, int]:
    """Read how many chunks were found absent, and of how many; (0, 0) if none was."""
    path = workdir / ABSENT
    if not path.exists():
        return 0, 0
    found = read_record(path, {"absent": int, "all": int})
    return found["absent"], found["all"]


def write_absent(workdir: pathlib.Path, absent: tuple[int, int]) -> None:
    """Keep how many chunks are absent, so that nobody has to list all of a volume's again."""
    write_json(workdir / ABSENT, {"absent": absent[0], "all": absent[1]})


def read_damaged(workdir: pathlib.Path) -> dict[str, str]:
    """Read which slices were found damaged, index -> reason."""
    path = workdir / DAMAGED
    found = read_json(path) if path.exists() else {}
    if not is_of(found, dict[str, str]) or not all(index.isdecimal() for index in found):
        raise InputError(f"{path}: got {str(found)[:60]}, wanted reasons by numbers of slices")
    return found


def write_damaged(workdir: pathlib.Path, found: Iterable[tuple[int, str]]) -> None:
    """Keep indices and reasons of slices that were found damaged, for the report."""
    write_json(workdir / DAMAGED, {str(index): reason for index, reason in found})


def _refuse_older(workdir: pathlib.Path) -> None:
    """Raise where a workdir holds the fit of an older version, which nothing reads any more."""
    found = [name for name in OF_0_1 if (workdir / name).exists()]
    if found:
        raise InputError(
            f"workdir {workdir}: got a fit of version 0.1 ({found[0]}), wanted one of this "
            "version: fit again in a new workdir"
        )


def first_difference(there: Any, wanted: Any, name: str = "config") -> str:
    """Name the first value in which two nested dicts differ; empty if none does."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in sorted(there.keys() | wanted.keys()):
            found = first_difference(there.get(key), wanted.get(key), f"{name}.{key}")
            if found:
                return found
        return ""
    if there == wanted or (there is None and not wanted):  # a setting younger than the workdir
        return ""
    return f"was made with {name}={there!r}, got {name}={wanted!r}"
