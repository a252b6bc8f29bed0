"""Processes that share a disk: what each is called in names of files, and which has ended."""

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import socket
import sys
import uuid

# One for every use: the machine, the process, and what tells two uses of a process apart.
TOKEN = r"[0-9a-f]{8}\.[0-9]+\.[0-9a-f]{8}"
TELLING = (  # machines of one name apart, and containers that number their processes anew
    ("/proc/sys/kernel/random/boot_id", pathlib.Path.read_text),
    ("/proc/self/ns/pid", os.readlink),
)


def new_token() -> str:
    """Name this process and this use of the name; matches `TOKEN`."""
    return f"{_machine()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"


def has_ended(token: str) -> bool:
    """Tell whether the process of a token is known to have ended: one of this machine, now gone.

    Nothing is known of processes of another machine, or of this one before it was last started, nor
    on Windows, where asking a process may end it.
    """
    machine, number, _ = token.split(".")
    if machine != _machine() or sys.platform == "win32":
        return False
    try:
        with contextlib.suppress(PermissionError, OverflowError):  # another user's; no number
            os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    return False


def token_in(name: str, before: str, after: str = "") -> str | None:
    """Read the token of a name `before` + token + `after`; None where it is another name."""
    found = re.fullmatch(f"{re.escape(before)}({TOKEN}){re.escape(after)}", name)
    return found and found[1]


@functools.cache
def _machine() -> str:
    """Eight hexadecimal digits for this machine, as processes are numbered on it."""
    parts = [socket.gethostname()]
    for path, read in TELLING:
        try:
            parts.append(read(pathlib.Path(path)).strip())
        except OSError:
            continue
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
