"""What is read in one piece has to fit into memory: a chunk, a page, a file that is decompressed.

How long a volume is does not matter, because it is read in boxes. What a file says of a piece is
looked at before memory is taken for it.
"""

import functools
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from emgauss_jax.data.formats.interface import VolumeError

COPIES = 4  # of a piece that is decoded: packed, unpacked, in its dtype, and what is cut out of it
UNKNOWN = 2**36  # bytes, where the system does not tell
MOST_CHUNKS = 2**31  # files: more than any file system lists
PACKED = 1.1  # bytes that a compressor may make of one, at most
SLACK = 2**16  # bytes, of headers
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int:
    """Tell how much memory a process may have: the machine's, its container's, or its limit's."""
    return min(_machine(), _limits())


@functools.cache
def _machine() -> int:
    found = [UNKNOWN]
    if hasattr(os, "sysconf"):  # Windows has none
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in CGROUPS:
        text = Path(name).read_text().strip() if Path(name).is_file() else ""
        found += [int(text)] if text.isdecimal() else []
    return min(found)


def _limits() -> int:
    """Give the least limit that was set on this process (`ulimit -v`, `-d`)."""
    try:
        import resource
    except ImportError:  # Windows
        return UNKNOWN
    set_ = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min((limit for limit in set_ if limit != resource.RLIM_INFINITY), default=2**63)


def check_fits(what: str, shape: Sequence[int], itemsize: int, copies: int = COPIES) -> None:
    """Raise if a piece does not fit into memory.

    Args:
      what: it is, such as "chunk".
      shape: its voxels.
      itemsize: bytes of a voxel.
      copies: how often it is held while it is decoded.

    Raises:
      VolumeError: it would take more than there is.
    """
    size, most = math.prod(map(int, shape)) * itemsize, memory() // copies
    if size > most:
        lengths = " x ".join(f"{int(length):,}" for length in shape)
        raise VolumeError(
            f"{what}: got {lengths}, {size / 2**30:,.1f} GiB in one piece, wanted at most "
            f"{most / 2**30:,.1f} GiB, which this machine can hold"
        )


def check_chunks(shape: Sequence[int], chunk: Sequence[int], itemsize: int) -> None:
    """Raise if a chunk does not fit into memory, or there are more than any disk has.

    Args:
      shape: of the array.
      chunk: of what is decoded at once.
      itemsize: bytes of a voxel.
    """
    check_fits("chunk", chunk, itemsize)
    count = math.prod(-(-n // edge) for n, edge in zip(shape, chunk, strict=True))
    if count > MOST_CHUNKS:
        raise VolumeError(
            f"shape: got {tuple(shape)} in {count:,} chunks of {tuple(chunk)}, wanted at most "
            f"{MOST_CHUNKS:,} chunks"
        )


def check_packed(what: str, stored: int, size: int) -> None:
    """Raise if a compressed piece is longer than its voxels: something else will come out of it.

    Args:
      what: it is, such as "page 3".
      stored: bytes in the file.
      size: bytes of its voxels.
    """
    if stored > PACKED * size + SLACK:
        raise VolumeError(
            f"{what}: got {stored:,} compressed bytes for {size:,} bytes of voxels, wanted fewer"
        )


def decompressed(file: IO[bytes], size: int) -> bytes:
    """Decompress so many bytes; what comes behind is left where it is.

    Args:
      file: an opened one that decompresses.
      size: bytes, of header and voxels.
    """
    check_fits("decompressed file", (size,), 1, copies=1)
    return file.read(size)


def limited(decoder: Any, content: bytes, size: int) -> bytes:
    """Decompress bytes of which so many are wanted; one more shows that there are too many.

    Args:
      decoder: `gzip`, `bz2` or `lzma`.
      content: compressed.
      size: bytes of the voxels.
    """
    with decoder.open(io.BytesIO(content)) as file:
        return file.read(size + 1)
