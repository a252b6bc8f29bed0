"""metrics.jsonl, one line a dispatch, and the progress bar."""

import json
import pathlib
from collections.abc import Mapping
from typing import TextIO

import tqdm


def open_metrics(path: pathlib.Path, chunk: int, step: int) -> TextIO:
    """Open the log to go on from (chunk, step): later lines of a run that was killed are dropped.

    Args:
      path: metrics.jsonl.
      chunk: the chunk of blocks about to be fitted.
      step: iterations of that chunk already done.
    """
    kept = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break  # a line cut short by the kill
            if (entry["chunk"], entry["step"]) > (chunk, step):
                break
            kept.append(line)
    file = path.open("w")
    file.writelines(f"{line}\n" for line in kept)
    return file


def write_metrics(file: TextIO, chunk: int, step: int, metrics: Mapping[str, float]) -> None:
    """Append one line and flush it."""
    file.write(json.dumps({"chunk": chunk, "step": step, **metrics}) + "\n")
    file.flush()


def progress(total: int) -> tqdm.tqdm:
    """Show a bar of fitted steps on a terminal and nothing elsewhere."""
    return tqdm.tqdm(total=total, desc="fit", unit="step", disable=None, dynamic_ncols=True)
