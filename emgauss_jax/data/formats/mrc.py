"""MRC: voxel size in angstrom, bytes signed or unsigned.

MRC mode 0 holds signed bytes. They are read as uint8 with 128 added, so -128 becomes 0 and 127
becomes 255; a uint8 volume is written with 128 subtracted, so a round trip is exact. Files whose
bytes are unsigned are recognised (mrc_bytes.py) and read unchanged.
"""

import bz2
import gzip
import math
from pathlib import Path
from types import ModuleType

import numpy as np

from emgauss_jax.data.formats import mrc_header
from emgauss_jax.data.formats.interface import (
    Format,
    Layout,
    Reader,
    Slices,
    VolumeError,
    Writer,
    array_reader,
    refuse_dataset,
)
from emgauss_jax.data.formats.mrc_bytes import reading_of
from emgauss_jax.data.formats.units_in_memory import decompressed

_MODES = {name: mode for mode, name in mrc_header.MODES.items() if name != "int8"} | {"uint8": 0}
_SIGN_BIT = np.uint8(128)  # flipping it adds 128 to a signed byte, modulo 256
_HEADER = 1024  # bytes
_TAIL = 2**26  # bytes behind the voxels that are looked at, to be told of
_DECOMPRESS = {".gz": gzip.open, ".bz2": bz2.open}
_SUFFIXES = (".mrc", ".rec", ".map", ".st", ".mrcs", ".ali", ".preali", ".ccp4")


def _mrcfile() -> ModuleType:
    try:
        import mrcfile
    except ImportError:
        raise VolumeError("MRC needs mrcfile: pip install 'emgauss_jax[formats]'") from None
    return mrcfile


def _content(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Map a file's bytes, or decompress them into memory, and say so."""
    decompress = _DECOMPRESS.get(path.suffix.lower())
    if decompress is None:
        empty = path.stat().st_size == 0  # which cannot be mapped
        return np.empty(0, np.uint8) if empty else np.memmap(path, np.uint8, mode="r"), ()
    with decompress(path) as file:
        head = file.read(_HEADER)
        content = np.frombuffer(head + decompressed(file, _behind(head)), np.uint8)
    return content, (f"decompressed into memory: {content.size / 2**20:,.1f} MiB",)


def _behind(head: bytes) -> int:
    """Tell how many bytes a header has behind it, and some slices' worth that others append."""
    fields, _ = mrc_header.parse(head, _mrcfile().dtypes.HEADER_DTYPE)
    size = math.prod(mrc_header.stored_shape(fields)) * mrc_header.stored_dtype(fields).itemsize
    return int(fields["nsymbt"]) + size + min(size, _TAIL)


def _voxels(content: np.ndarray, fields: np.void) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cut the voxels out of a file's bytes, behind header and extended header."""
    shape, dtype = mrc_header.stored_shape(fields), mrc_header.stored_dtype(fields)
    start, size = _HEADER + int(fields["nsymbt"]), math.prod(shape) * dtype.itemsize
    extra = content.size - start - size
    if extra < 0:
        raise VolumeError(
            f"got {content.size:,} bytes, wanted {start + size:,} for {shape} voxels of "
            f"{dtype.name}: the file is truncated"
        )
    notes = ()
    if extra:
        slices = extra / (size / shape[0]) if size else 0
        notes = (f"{extra:,} bytes behind the voxels ({slices:.1f} slices' worth) are left out",)
    return content[start : start + size].view(dtype).reshape(shape), notes


def _header_notes(fields: np.void) -> tuple[str, ...]:
    notes = []
    order = mrc_header.axis_order(fields)
    if order != (0, 1, 2):
        stored = "".join("zyx"[order.index(axis)] for axis in range(3))
        notes.append(f"axes are stored as {stored} (mapc, mapr, maps) and turned to zyx")
    if mrc_header.has_two_places(fields):
        notes.append(
            "the header has an origin, which counts, and nxstart, nystart, nzstart, which do not"
        )
    angles = [float(fields["cellb"][name]) for name in ("alpha", "beta", "gamma")]
    if any(angles) and any(angle != 90 for angle in angles):  # 0, 0, 0 are left out
        got = ", ".join(f"{angle:g}" for angle in angles)
        notes.append(f"the cell's angles are {got} degrees: taken as 90, 90, 90")
    return tuple(notes)


def read(path: Path, dataset: str) -> Reader:
    """Open an MRC file, memory-mapped; a compressed one is read into memory.

    Args:
      path: the file.
      dataset: must be "".

    Returns:
      The volume, axes turned to z, y, x; signed bytes as uint8, 128 added. Of a file of bytes some
      voxels are read, to tell whether they are signed.
    """
    refuse_dataset("MRC", dataset)
    dtype = _mrcfile().dtypes.HEADER_DTYPE
    content, notes = _content(path)
    fields, odd = mrc_header.parse(content[:_HEADER].tobytes(), dtype)
    stored, tail = _voxels(content, fields)
    notes += (*odd, *tail, *_header_notes(fields))
    voxels = stored.transpose(mrc_header.axis_order(fields))
    reader = array_reader(voxels, lambda axes: mrc_header.voxel_nm(fields))
    reader = reader._replace(place=lambda voxel: mrc_header.place(fields, voxel), notes=notes)
    if voxels.dtype != np.int8 or not voxels.size:
        return reader
    extremes = float(fields["dmin"]), float(fields["dmax"])
    reading = reading_of(stored.view(np.uint8), mrc_header.imod_flags(fields), *extremes)
    flip = np.uint8(0) if reading.unsigned else _SIGN_BIT

    def read_bytes(box: Slices) -> np.ndarray:
        return reader.read(box).view(np.uint8) ^ flip

    notes += (reading.note,) if reading.note else ()
    return reader._replace(dtype=np.dtype(np.uint8), read=read_bytes, notes=notes)


def create(path: Path, layout: Layout) -> Writer:
    """Create an MRC file: uint8 as mode 0 minus 128, uint16 as mode 6, float32 as mode 2.

    Args:
      path: the file to write.
      layout: the volume to write.

    Returns:
      The writer, memory-mapped. The header gets the least and greatest value written, from which
      viewers choose their contrast; mean and deviation stay marked as unknown. IMOD's flags say
      that bytes are signed, which it would otherwise guess from those values.
    """
    mode = _MODES[layout.dtype.name]
    # a byte that no box covers is 0, which is stored as -128
    fill = -128 if mode == 0 else None
    mrc = _mrcfile().new_mmap(path, layout.shape, mrc_mode=mode, fill=fill, overwrite=True)
    z, y, x = (10 * size for size in layout.voxel_nm)
    mrc.voxel_size = (x, y, z)
    z, y, x = (10 * length for length in layout.place.centre_nm)
    mrc.header.origin = (x, y, z)
    flags = mrc_header.ORIGIN_IS_POSITION | mrc_header.RMS_IS_UNKNOWN
    flags |= mrc_header.SIGNED_BYTES if mode == 0 else 0
    mrc.header.extra2 = mrc_header.with_imod_flags(mrc.header, flags)
    extremes = []

    def write(box: Slices, array: np.ndarray) -> None:
        stored = (array ^ _SIGN_BIT).view(np.int8) if mode == 0 else array
        mrc.data[box] = stored
        if stored.size:
            extremes[:] = [min([*extremes, stored.min()]), max([*extremes, stored.max()])]

    def close() -> None:
        if extremes:
            low, high = (float(value) for value in extremes)
            # a mean below the smallest value marks the mean as unknown
            mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = low, high, low - 1
        mrc.close()

    return Writer(write, close)


FORMAT = Format(
    name="mrc",
    suffixes=_SUFFIXES,
    read=read,
    create=create,
    output_suffix=".mrc",
    dtypes=tuple(_MODES),
    read_suffixes=tuple(f"{each}{zipped}" for each in _SUFFIXES for zipped in _DECOMPRESS),
)
