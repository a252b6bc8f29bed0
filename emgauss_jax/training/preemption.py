"""SIGTERM: what a scheduler sends before it takes the machine away."""

import contextlib
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
