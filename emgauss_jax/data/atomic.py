"""Write a file or folder under a temporary name, then rename it: no reader ever sees half of one.

What is renamed has been flushed to the disk before, and the folder that it is in is afterwards. So
the old one or the new one is there whenever a process is killed or a machine loses its power.
"""

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from emgauss_jax.data.processes import has_ended, new_token, token_in

_END = ".partial"


def partial_of(path: Path) -> Path:
    """Name a hidden sibling to which a file or folder is written first; another one every time."""
    return path.with_name(f".{path.name}.{new_token()}{_END}")


def is_partial_of(there: Path, path: Path) -> bool:
    """Tell whether a path is one of those that `partial_of` gives, now or in older versions."""
    old, named = f".{path.name}{_END}", token_in(there.name, f".{path.name}.", _END)
    return there.parent == path.parent and (there.name == old or named is not None)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content; do nothing if the path does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def forget_stale(path: Path) -> None:
    """Remove what processes of this machine that have ended have left of their writing a path."""
    for there in path.parent.iterdir():
        if is_partial_of(there, path):
            token = token_in(there.name, f".{path.name}.", _END)
            if token is None or has_ended(token):  # older versions name no process
                with contextlib.suppress(OSError):  # another process removes it, too
                    remove(there)


def sync(path: Path) -> None:
    """Flush a file, or a folder with all that is in it, to the disk.

    Raises:
      OSError: the disk could not take it, as network disks may say only now.
    """
    for folder, _, names in os.walk(path):
        for name in names:
            _sync_file(Path(folder) / name)
        sync_folder(Path(folder))
    if not path.is_dir():
        _sync_file(path)


def _sync_file(path: Path) -> None:
    with path.open("rb+" if sys.platform == "win32" else "rb") as file:
        os.fsync(file.fileno())


def reserve(path: Path) -> None:
    """Take all the space of a file on its disk now: who writes a map of it dies for lack of it.

    Raises:
      OSError: there is too little.
    """
    if sys.platform == "linux" and path.is_file() and path.stat().st_size:
        with path.open("rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not all disks can
                    raise


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folder, some file systems flush none
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write a file or folder under a temporary name and rename it when the `with` block ends.

    An existing file is replaced. If the block raises, it is kept and the new one is deleted.

    Args:
      path: the final path; a missing parent folder is created.

    Yields:
      The path to write, a `partial_of(path)`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    forget_stale(path)
    partial = partial_of(path)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    except BaseException:
        remove(partial)
        raise
    sync_folder(path.parent)
