"""Files written beside their place and then renamed into it: nobody ever sees half of one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Name the hidden sibling in which a file or folder is written first."""
    return path.with_name(f".{path.name}.partial")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all it holds; where nothing stands, do nothing."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a file to write beside a path; it takes the path's place once it is written.

    What stood at the path is replaced; where the block raises, it stays and the new file goes.

    Args:
      path: the file; its folder is made where there is none.

    Yields:
      The path to write, `partial_of(path)`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
