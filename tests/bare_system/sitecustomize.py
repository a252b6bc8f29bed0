"""Python as on Windows: without fcntl, links and the C library; a file in use stays where it is.

A process whose PYTHONPATH names this folder imports it before anything else.
"""

import ctypes
import functools
import os
import pathlib
import sys


class _CDLL(ctypes.CDLL):
    def __init__(self, name, *args, **keywords):
        if name is None:
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, *args, **keywords)


def _no_link(*args, **keywords):
    raise OSError("a required privilege is not held by the client")


def _in_use():
    """Every file that this process has open or mapped; none where /proc does not say."""
    numbers = pathlib.Path("/proc/self/fd")
    for number in numbers.iterdir() if numbers.exists() else ():
        try:
            yield os.readlink(number)
        except FileNotFoundError:  # that of the listing itself
            continue
    maps = pathlib.Path("/proc/self/maps")
    for line in maps.read_text().splitlines() if maps.exists() else ():
        yield line[73:]  # the columns before are of fixed width


def _guarded(change):
    @functools.wraps(change)
    def guarded(path, *args, dir_fd=None, **keywords):
        if dir_fd is not None:
            return change(path, *args, dir_fd=dir_fd, **keywords)
        whole = os.path.abspath(os.fspath(path))
        if any(each == whole or each.startswith(f"{whole}/") for each in _in_use()):
            raise PermissionError(13, "it is being used by a process", str(path))
        return change(path, *args, **keywords)

    return guarded


sys.modules["fcntl"] = None
ctypes.CDLL = _CDLL
os.symlink = _no_link
for _name in ("remove", "rename", "replace", "unlink"):
    setattr(os, _name, _guarded(getattr(os, _name)))
