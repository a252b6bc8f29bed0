"""Locks of workdirs and outputs: one process at a time, and none for ever."""

import contextlib
import errno
import os
import pathlib
import sys
from collections.abc import Iterator

import filelock

from emgauss_jax.data.atomic import is_partial_of
from emgauss_jax.data.errors import InputError
from emgauss_jax.storage.lease import PATIENCE_S, leased

NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class _Replaced(Exception):
    """The file that was locked has been removed by the one that held it before."""


def lease_of(path: pathlib.Path) -> pathlib.Path:
    """Name the folder that stands for a lock where the disk has none."""
    return path.with_name(f"{path.name}.lease")


def is_of_lock(there: pathlib.Path, path: pathlib.Path) -> bool:
    """Tell whether a path is what a lock, or one who wants it, has left."""
    return there in (path, lease_of(path)) or is_partial_of(there, lease_of(path))


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Keep others from working on the same thing at the same time.

    The file is locked as the system does it, and removed while it is. Network disks that cannot
    lock are told on stderr; there a `leased` folder stands in.

    Args:
      path: a file that stands for it; the lock goes when the process does.

    Raises:
      InputError: another run holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = _acquired(path)
    except filelock.Timeout:
        raise InputError(
            f"{path}: got it locked by another process at work there, wanted one at a time"
        ) from None
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        _tell(path, error)
        path.unlink(missing_ok=True)  # nobody can hold it
        with leased(lease_of(path)):
            yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # on Windows the release deletes it
            path.unlink(missing_ok=True)  # while it is held: later it may be another's
        lock.release()


def _acquired(path: pathlib.Path) -> filelock.BaseFileLock:
    """Lock the file that is at a path, once: one that is removed meanwhile does not count."""
    if not (filelock.has_fcntl or sys.platform == "win32"):
        raise OSError(errno.ENOSYS, "no fcntl")

    def check(number: int) -> None:
        try:
            same = os.path.samestat(os.fstat(number), os.stat(path))
        except FileNotFoundError:
            same = False
        if not same:
            raise _Replaced

    lock = filelock.FileLock(path, fallback_to_soft=False, on_acquired=check)
    while True:
        with contextlib.suppress(_Replaced):
            lock.acquire(timeout=0)
            return lock


def _tell(path: pathlib.Path, error: OSError) -> None:
    print(
        f"note: {path}: the disk cannot lock a file ({error.strerror}): locked by the folder "
        f"{lease_of(path).name}, with host, process and heartbeat; one without a sign of life for "
        f"{PATIENCE_S:g} s is taken over",
        file=sys.stderr,
    )
