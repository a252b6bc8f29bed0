"""A lock for disks that have none: a folder with one file in it, which its holder keeps changing.

The folder comes into its place in one rename, with the file in it, which works only where none is,
or an empty one. The file is named after the process that holds the lock. Whoever takes a lock over
renames the file to a name of its own: of two that do so at once, the second finds it gone. No clock
of one machine is compared with that of another: a holder lives if its file is seen to change.
"""

import contextlib
import errno
import os
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Iterator

from emgauss_jax.data.atomic import forget_stale, partial_of, remove
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.processes import has_ended, new_token, token_in

BEAT_S = 5.0
PATIENCE_S = 120.0  # network disks may show a change a minute late
POLL_S = 0.2
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
GONE = (errno.ENOENT, errno.ESTALE)


@contextlib.contextmanager
def leased(
    folder: pathlib.Path, beat_s: float = BEAT_S, patience_s: float = PATIENCE_S
) -> Iterator[None]:
    """Hold the lock until the block is left.

    A process that loses it ends at once, in one line: it was stopped, or kept from the disk, so
    long that another one may have taken it for dead.

    Args:
      folder: stands for what is locked; its parent is there.
      beat_s: seconds between the changes of the holder's file.
      patience_s: how long one that does not change is waited for; a process of this machine that
        has ended is not waited for. All processes have the same.

    Raises:
      InputError: another process holds it, and lives.
    """
    mine = folder / new_token()
    forget_stale(folder)
    _take(mine, patience_s)
    try:
        with _beating(mine, beat_s, patience_s):
            yield
    finally:
        try:
            mine.unlink()
        except FileNotFoundError as error:
            _end(folder, f"{error.strerror}")
        with contextlib.suppress(OSError):  # another process is there already
            folder.rmdir()


def _take(mine: pathlib.Path, patience_s: float) -> None:
    """Wait until the lock is free, given back or left; raise where its holder lives."""
    sight, since = None, time.monotonic()
    while not _put(mine):
        seen = _holder(mine.parent)
        stale = seen == sight and time.monotonic() - since > patience_s
        if seen is None:
            if stale:
                raise InputError(f"{mine.parent}: got a folder of something else, wanted none")
        elif stale or has_ended(seen[0]):
            if _taken_over(mine.with_name(seen[0]), mine):
                return
        elif sight is None:
            sight, since = seen, time.monotonic()
        elif seen != sight:
            raise InputError(
                f"{mine.parent}: got it locked by another process at work there ({seen[1]}), "
                "wanted one at a time"
            )
        time.sleep(POLL_S)


def _put(mine: pathlib.Path) -> bool:
    """Put the folder in its place with the holder's file in it, unless there is one with a file."""
    private = partial_of(mine.parent)
    try:
        private.mkdir()
        _write(private / mine.name, 0)
        private.rename(mine.parent)
    except OSError as error:
        if error.errno not in (*TAKEN, *GONE):
            raise
    finally:
        remove(private)
    return mine.exists()  # whatever a network disk has said of the rename


def _taken_over(theirs: pathlib.Path, mine: pathlib.Path) -> bool:
    """Take the lock from its holder, unless another process is faster."""
    try:
        theirs.rename(mine)
    except OSError as error:
        if error.errno not in GONE:
            raise
    return mine.exists()


def _holder(folder: pathlib.Path) -> tuple[str, str] | None:
    """Read (name, content) of the holder's file; None where there is none at this moment."""
    try:
        for path in folder.iterdir():
            if token_in(path.name, ""):
                return path.name, path.read_text()
    except OSError as error:
        if error.errno not in GONE:
            raise
    return None


def _write(mine: pathlib.Path, number: int, flags: int = os.O_CREAT) -> None:
    file = os.open(mine, os.O_WRONLY | flags, 0o666)
    try:
        text = f"{socket.gethostname()}, process {os.getpid()}, beat {number:012}"
        os.truncate(file, os.write(file, text.encode()))  # it may have been another's
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _beating(mine: pathlib.Path, beat_s: float, patience_s: float) -> Iterator[None]:
    """Keep changing the holder's file until the block is left."""
    stop = threading.Event()

    def beat() -> None:
        number, good = 1, time.monotonic()
        while not stop.is_set():
            try:
                _write(mine, number, 0)
                number, good = number + 1, time.monotonic()
            except OSError as error:
                # A disk that fails for a moment must not end a process.
                if error.errno in GONE or time.monotonic() - good > patience_s / 2:
                    _end(mine.parent, f"{error.strerror}")
            stop.wait(beat_s)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _end(folder: pathlib.Path, why: str) -> None:
    print(f"error: {folder}: got the lock lost ({why}), wanted it kept: ended", file=sys.stderr)
    sys.stderr.flush()
    os._exit(2)  # before it writes what another process writes, too
