"""Heartbeats: how processes that see one folder learn which of them live.

Each keeps a file that changes every few seconds, until it ends; then it says why, or removes it. No
clock of one machine is compared with that of another, nor with the times of files: a process lives
if another one sees its heartbeat change.
"""

import contextlib
import itertools
import json
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from emgauss_jax.data.errors import FitError, InputError
from emgauss_jax.storage.files import write_json
from emgauss_jax.training.preemption import Preempted, telling

BEAT_S = 5.0
POLL_S = 0.2

Undone = Callable[[], Sequence[int]]  # lists the tasks that are not done yet
Wait = Callable[[str, Undone], None]


class Beat(NamedTuple):
    """What a heartbeat says."""

    start: str  # random, of this start of the process
    number: int  # counts up
    host: str
    count: int  # of processes, as this one was told
    ended: str  # why it has ended; "": it has not


class Sight(NamedTuple):
    """What has been seen of a process."""

    beat: Beat | None  # the newest; None: none ever
    changed: float | None  # when, by our own clock; None: not since we began, it may be an old one


def _path_of(folder: pathlib.Path, index: int) -> pathlib.Path:
    return folder / f"{index:05d}.json"


@contextlib.contextmanager
def beating(folder: pathlib.Path, count: int, index: int) -> Iterator[None]:
    """Write this process's heartbeat until the block is left; say in it why, if by an error."""
    path, host, start = _path_of(folder, index), socket.gethostname(), uuid.uuid4().hex
    numbers, lock, stop = itertools.count(), threading.RLock(), threading.Event()

    def tell(ended: str = "") -> None:
        with lock:
            if not stop.is_set():
                # A disk that fails must not end a process: at worst it is missed.
                with contextlib.suppress(OSError):
                    write_json(path, Beat(start, next(numbers), host, count, ended)._asdict())
            if ended:
                stop.set()

    def beat() -> None:
        while not stop.is_set():
            tell()
            stop.wait(BEAT_S)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        with telling(lambda: tell("SIGTERM")):
            yield
    except BaseException as error:
        tell(_reason(error))
        raise
    stop.set()
    thread.join()
    path.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """Put an error into a line."""
    plain = isinstance(error, (InputError, FitError, Preempted))
    return " ".join((f"{error}" if plain else f"{type(error).__name__}: {error}").split())[:500]


def read_beat(folder: pathlib.Path, index: int) -> Beat | None:
    """Read the heartbeat of a process; None where there is none, which may be so at any time."""
    try:
        return Beat(**json.loads(_path_of(folder, index).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def look(sight: Sight, beat: Beat | None, now: float) -> Sight:
    """Take note of a heartbeat that has been read just now."""
    return sight if beat in (None, sight.beat) else Sight(beat, now)


def watching(folder: pathlib.Path, count: int, index: int, patience_s: float) -> Wait:
    """Watch the other processes from now on.

    Args:
      folder: of the heartbeats.
      count: of processes; of each it is known which tasks are its own, `task % count`.
      index: of this one.
      patience_s: how long a heartbeat may stay as it is before a process is missed.

    Returns:
      `wait`, see `hosts.joined`.
    """
    sights = {who: Sight(read_beat(folder, who), None) for who in range(count)}

    def wait(name: str, undone: Undone) -> None:
        begun = time.monotonic()
        while tasks := undone():
            now, whose = time.monotonic(), {task % count for task in tasks}
            if whose == {index} and now - begun > patience_s:
                raise InputError(
                    f"hosts: got {len(tasks)} tasks of {name!r} that this process has done and "
                    f"cannot see done after {patience_s:g} s, wanted a disk that shows them"
                )
            whose -= {index}
            for who in whose:
                sights[who] = look(sights[who], read_beat(folder, who), now)
            what = f"with {len(tasks)} tasks of {name!r} undone"
            _check_at_work({who: sights[who] for who in sorted(whose)}, count, what)
            silent = [
                who for who in whose if now - max(begun, sights[who].changed or 0) > patience_s
            ]
            if silent:
                raise InputError(
                    f"hosts: got no sign of life for {patience_s:g} s from "
                    f"{_named({who: sights[who] for who in silent})} {what}, wanted it at work in "
                    f"{folder}: start it again, nobody takes its tasks over"
                )
            # Looking for many tasks takes long: most of the time the disk is left alone.
            time.sleep(min(max(POLL_S, 9 * (time.monotonic() - now)), BEAT_S))

    return wait


def _check_at_work(seen: Mapping[int, Sight], count: int, what: str) -> None:
    """Raise where a process says, since we began, that it has ended or was told another count."""
    for who, (beat, changed) in seen.items():
        if changed is None:
            continue
        if beat.ended:
            raise InputError(
                f"hosts: got {beat.ended!r} from process {who} on {beat.host}, which has ended "
                f"{what}, wanted it at work: start it again, nobody takes its tasks over"
            )
        if beat.count != count:
            raise InputError(
                f"hosts: got a process {who} of {beat.count} on {beat.host}, wanted one of {count}"
            )


def _named(silent: Mapping[int, Sight]) -> str:
    """Name processes that are missed, with what was last known of each."""
    named = []
    for who, (beat, _) in sorted(silent.items()):
        last = f", last word {beat.ended!r}" if beat and beat.ended else ""
        named.append(f"process {who} ({f'on {beat.host}{last}' if beat else 'never seen'})")
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return ", ".join(named[:5]) + more
