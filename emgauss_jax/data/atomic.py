"""Write a file under a temporary name, then rename it: no reader ever sees half a file."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Return the hidden sibling path to which a file or folder is written first."""
    return path.with_name(f".{path.name}.partial")


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content; do nothing if the path does not exist."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it when the `with` block ends.

    An existing file is replaced. If the block raises, it is kept and the new file is deleted.

    Args:
      path: the final path; a missing parent folder is created.

    Yields:
      The path to write, `partial_of(path)`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    if partial.is_symlink():  # planted: what it leads to would be written
        partial.unlink()
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
