"""SIGTERM: what a scheduler sends before it takes the machine away."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

EXIT_CODE = 128 + signal.SIGTERM


class Preempted(Exception):
    """The process was asked to end, and what it was at has been saved."""


@contextlib.contextmanager
def watched() -> Iterator[Callable[[], bool]]:
    """Put SIGTERM off while something is under way that should be saved first.

    Yields:
      A function that tells whether the signal has come. Only a process's main thread gets signals;
      elsewhere (in a worker of a cluster, which starts tasks anew) it never has.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def telling(tell: Callable[[], None]) -> Iterator[None]:
    """Where nothing is put off, let SIGTERM end the process at once, as ever, but tell first.

    Nothing is raised: libraries, and `one_line_errors`, would take it for an error of theirs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        tell()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
