"""Compiled programs that are kept between runs, and no more of them than a bound.

JAX can bound its folder itself (`jax_compilation_cache_max_size`), but then it reads a time for
every program whenever it adds one, and a single program without such a time, as a run that is
killed or an older version leaves it, keeps all others from being added.
"""

import contextlib
import os
import pathlib

import jax

CACHE = "JAX_COMPILATION_CACHE_DIR"
MOST = 2 * 2**30  # bytes in the user's cache folder when a run begins
PROGRAMS = ("*-cache", "*-atime")  # JAX's names: a program, and when it was last used


def keep_compiled() -> None:
    """Keep compiled programs between runs, in the user's cache folder.

    A folder that `JAX_COMPILATION_CACHE_DIR` names is the user's: nothing in it is removed.
    """
    folder = pathlib.Path.home() / ".cache" / "emgauss_jax"
    if CACHE not in os.environ:
        prune(folder, MOST)
    jax.config.update("jax_compilation_cache_dir", os.environ.get(CACHE, str(folder)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # small programs add up


def prune(folder: pathlib.Path, most: int) -> None:
    """Remove the programs that were not used for longest, until the others have so many bytes.

    Several processes may do so at once, and others read meanwhile: a program that is gone is
    compiled again. What is not a program stays.

    Args:
      folder: JAX's; there may be none.
      most: bytes.
    """
    found = []
    for path in (path for pattern in PROGRAMS for path in folder.glob(pattern)):
        with contextlib.suppress(OSError):  # another process has removed it
            about = path.stat()
            # Not every file system keeps the time of reading.
            found.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        total -= size
