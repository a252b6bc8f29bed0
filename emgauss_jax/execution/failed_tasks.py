"""Tasks that failed: listed in a file and in a line, until the same command has done them.

A fit lists them in `failed.json` of its workdir, a reconstruction in `NAME.failed.json` beside its
output, because the workdir may be another's and read alone. Of several processes each has a list,
with its index in the name.
"""

import contextlib
import itertools
import pathlib
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

from emgauss_jax.data.errors import InputError
from emgauss_jax.execution.command import line_of, told_in_a_line
from emgauss_jax.storage.files import write_json

MOST_TOLD = 3  # different errors in the line
MOST_NUMBERS = 9  # tasks of each


def list_of(first: pathlib.Path, index: int) -> pathlib.Path:
    """Name the list of a process: `first` is that of process 0, or of the only one."""
    return first.with_name(f"{first.stem}.{index}{first.suffix}") if index else first


def forget_failed(first: pathlib.Path) -> None:
    """Remove the lists of all processes: every task is done."""
    others = (path for path in first.parent.glob(f"*{first.suffix}") if _is_of(path, first))
    for path in (first, *others):
        path.unlink(missing_ok=True)


def _is_of(path: pathlib.Path, first: pathlib.Path) -> bool:
    """Tell whether a path is the list of another process: the index stands before the suffix."""
    stem, _, index = path.stem.rpartition(".")
    return stem == first.stem and index.isdigit()


def raise_failed(
    path: pathlib.Path, phase: str, count: int, failed: Mapping[int, BaseException]
) -> NoReturn:
    """List tasks that failed and end the job, when all others of their phase are done.

    Args:
      path: of the list.
      phase: its name.
      count: of its tasks; the error of an only one is raised as it is.
      failed: task -> what it ended in.

    Raises:
      InputError: each error can be told in a line.
      RuntimeError: one is a fault of ours; it is the cause.
    """
    content = {"phase": phase, "of": count, "tasks": [_entry(*each) for each in failed.items()]}
    with contextlib.suppress(OSError):  # a full disk must not hide why the tasks failed
        write_json(path, content)
    errors = list(failed.values())
    if count == 1:
        raise errors[0]
    told = f"{phase}: {len(failed)} of {count} tasks failed, see {path}: {summary(failed)}"
    told += "; all others are done, the same command tries these alone again"
    for error in errors:
        if not told_in_a_line(error):
            raise RuntimeError(told) from error
    raise InputError(told) from errors[0]


def _entry(task: int, error: BaseException) -> dict[str, Any]:
    """Describe a failure; of a fault of ours with its traceback."""
    entry = {"task": task, "error": line_of(error)}
    if not told_in_a_line(error):
        entry["traceback"] = "".join(traceback.format_exception(error))
    return entry


def summary(failed: Mapping[int, BaseException]) -> str:
    """Name tasks by their error, each error once."""
    tasks: dict[str, list[int]] = {}
    for task, error in failed.items():
        tasks.setdefault(line_of(error), []).append(task)
    told = [f"{_numbers(own)}: {why}" for why, own in itertools.islice(tasks.items(), MOST_TOLD)]
    more = len(tasks) - MOST_TOLD
    return "; ".join([*told, *([f"and {more} more errors"] if more > 0 else [])])


def _numbers(tasks: list[int]) -> str:
    more = len(tasks) - MOST_NUMBERS
    named = ", ".join(map(str, sorted(tasks)[:MOST_NUMBERS]))
    return f"{named} and {more} more" if more > 0 else named
