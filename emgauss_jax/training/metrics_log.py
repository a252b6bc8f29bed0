"""metrics.jsonl, one line a dispatch, and the progress bar."""

import contextlib
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

import tqdm

from emgauss_jax.storage.files import checked, read_lines, write_text
from emgauss_jax.training.failures import Failure

FILE = "metrics.jsonl"
PLACE = {"chunk": int, "step": int}  # of every line


Watch = Callable[[int, int], None]  # is told (steps done, of how many); what it raises ends a fit


def unwatched(done: int, total: int) -> None:
    """Tell nobody how far a fit is."""


def open_metrics(folder: pathlib.Path | None, chunk: int, step: int) -> TextIO:
    """Open the log to go on from (chunk, step): later lines of a run that was killed are dropped.

    Args:
      folder: of the fit; None, nothing is written to disk.
      chunk: the chunk of blocks about to be fitted.
      step: iterations of that chunk already done.
    """
    if folder is None:
        return io.StringIO()
    path, kept = folder / FILE, []
    if path.exists():
        for entry in read_lines(path, PLACE):
            if (entry["chunk"], entry["step"]) > (chunk, step):
                break
            kept.append(json.dumps(entry))
    write_text(path, "".join(f"{line}\n" for line in kept))
    return path.open("a")


def write_metrics(file: TextIO, chunk: int, step: int, metrics: Mapping[str, float]) -> None:
    """Append one line and flush it."""
    file.write(json.dumps({"chunk": chunk, "step": step, **metrics}) + "\n")
    file.flush()


def sync(file: TextIO) -> None:
    """Flush the log to the disk, before a checkpoint says that its steps are done."""
    if not isinstance(file, io.StringIO):
        os.fsync(file.fileno())


def write_failure(file: TextIO, chunk: int, step: int, fit: int, failure: Failure) -> None:
    """Append a line on a fit of a sweep that failed before `step`, and flush it."""
    write_metrics(
        file,
        chunk,
        step,
        {"failed_fit": fit, "failed_step": failure.step, "reason": failure.reason},
    )


def read_failures(folder: pathlib.Path | None) -> dict[int, Failure]:
    """Read which fits of a sweep have failed: index of the fit -> failure."""
    if folder is None:
        return {}
    failed = [line for line in read_lines(folder / FILE, PLACE) if "failed_fit" in line]
    kinds = {"failed_fit": int, "failed_step": int, "reason": str}
    for line in failed:
        checked({name: line.get(name) for name in kinds}, kinds, folder / FILE)
    return {line["failed_fit"]: Failure(line["failed_step"], line["reason"]) for line in failed}


def copy_metrics(source: pathlib.Path, path: pathlib.Path, which: int) -> None:
    """Write the log of one of a sweep's hyper-parameters as if it had been fitted alone."""
    lines = read_lines(source, PLACE)
    mine = [line for line in lines if line.pop("hyper", None) == which]
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in mine))


@contextlib.contextmanager
def progress(total: int, watch: Watch) -> Iterator[Callable[[int], None]]:
    """Show a bar of fitted steps on a terminal and nothing elsewhere, and tell whoever watches.

    Yields:
      A function that takes how many more steps are done.
    """
    with tqdm.tqdm(total=total, desc="fit", unit="step", disable=None, dynamic_ncols=True) as bar:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bar.update(count)
            watch(done, total)

        yield advance
