"""SIGTERM: what a scheduler sends before it takes the machine away."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

EXIT_CODE = 128 + signal.SIGTERM
ENDED = "SIGTERM: ended, what is finished is kept, the same command goes on"


class Preempted(Exception):
    """The process was asked to end, and what it was at has been saved."""


@contextlib.contextmanager
def watched(tell: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Put SIGTERM off while something is under way that should be saved first.

    Left without `Preempted`, because the signal came too late for it, the block is followed by
    what it was put off from: it is not lost.

    Args:
      tell: is called when the signal comes.

    Yields:
      A function that tells whether the signal has come. Only a process's main thread gets signals;
      elsewhere (in a worker of a cluster, which starts tasks anew) it never has.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()

    def put_off(*_: object) -> None:
        came.set()
        tell()

    before = signal.signal(signal.SIGTERM, put_off)
    saved = False
    try:
        yield came.is_set
    except Preempted:
        saved = True
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if came.is_set() and not saved:
            signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def telling(tell: Callable[[], None]) -> Iterator[None]:
    """Where nothing is put off, let SIGTERM end the process as it would have, but tell first.

    Nothing is raised: libraries, and `one_line_errors`, would take it for an error of theirs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        tell()
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_at_sigterm(line: str = ENDED) -> None:
    """From now on let SIGTERM end the process at once with EXIT_CODE, where it is not put off.

    Nothing is tidied up, as if it had been killed: all that is written may be cut at any time.

    Args:
      line: is left on stderr.
    """

    def end(*_: object) -> None:
        if line:
            os.write(2, f"{line}\n".encode())  # the print that it comes in may hold the lock
        os._exit(EXIT_CODE)

    signal.signal(signal.SIGTERM, end)
