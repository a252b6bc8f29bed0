"""MRC: voxel size in angstrom, bytes signed.

MRC mode 0 holds signed bytes. They are read as uint8 with 128 added, so -128 becomes 0 and 127
becomes 255; a uint8 volume is written with 128 subtracted, so a round trip is exact. Files in which
IMOD declares its bytes unsigned are read unchanged.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from emgauss_jax.data.formats.interface import (
    Format,
    Layout,
    Reader,
    Slices,
    VolumeError,
    Voxel,
    Writer,
    array_reader,
    refuse_dataset,
)
from emgauss_jax.data.formats.units import to_nm

_MODES = {"uint8": 0, "int16": 1, "uint16": 6, "float16": 12, "float32": 2}
_SIGN_BIT = np.uint8(128)  # flipping it adds 128 to a signed byte, modulo 256
_IMOD_STAMP = 1146047817


def _mrcfile() -> ModuleType:
    try:
        import mrcfile
    except ImportError:
        raise VolumeError("MRC needs mrcfile: pip install 'emgauss_jax[formats]'") from None
    return mrcfile


def _bytes_are_unsigned(header: Any) -> bool:
    """Tell whether IMOD wrote the file with bit 0 (signed) of its flags off."""
    order = header.nx.dtype.byteorder
    stamp, flags = np.frombuffer(header.extra2.tobytes().ljust(84, b"\0")[40:48], f"{order}i4")
    return bool(stamp == _IMOD_STAMP and not flags & 1)


def _voxel_nm(mrc: Any) -> Voxel | None:
    size = mrc.voxel_size
    angstrom = tuple(float(size[axis]) for axis in "zyx")
    # a zero cell means that the voxel size is unknown
    return tuple(to_nm(length, "angstrom") for length in angstrom) if any(angstrom) else None


def read(path: Path, dataset: str) -> Reader:
    """Open an MRC file, memory-mapped.

    Args:
      path: the file.
      dataset: must be "".

    Returns:
      The volume; signed bytes as uint8, 128 added.
    """
    refuse_dataset("MRC", dataset)
    mrc = _mrcfile().mmap(path, mode="r")
    columns = tuple(int(mrc.header[name]) for name in ("mapc", "mapr", "maps"))
    if columns not in ((1, 2, 3), (0, 0, 0)):  # zeros: an old file that leaves them out
        raise VolumeError(f"MRC axis order: got {columns}, wanted (1, 2, 3), that is x, y, z")
    data = mrc.data[np.newaxis] if mrc.data.ndim == 2 else mrc.data
    reader = array_reader(data, lambda axes: _voxel_nm(mrc))
    if data.dtype != np.int8:
        return reader
    flip = np.uint8(0) if _bytes_are_unsigned(mrc.header) else _SIGN_BIT

    def read_bytes(box: Slices) -> np.ndarray:
        return reader.read(box).view(np.uint8) ^ flip

    return reader._replace(dtype=np.dtype(np.uint8), read=read_bytes)


def create(path: Path, layout: Layout) -> Writer:
    """Create an MRC file: uint8 as mode 0 minus 128, uint16 as mode 6, float32 as mode 2.

    Args:
      path: the file to write.
      layout: the volume to write.

    Returns:
      The writer, memory-mapped. The header gets the least and greatest value written, from which
      viewers choose their contrast; mean and deviation stay marked as unknown.
    """
    mode = _MODES[layout.dtype.name]
    mrc = _mrcfile().new_mmap(path, shape=layout.shape, mrc_mode=mode, overwrite=True)
    z, y, x = (10 * size for size in layout.voxel_nm)
    mrc.voxel_size = (x, y, z)
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
    suffixes=(".mrc", ".rec", ".map"),
    read=read,
    create=create,
    output_suffix=".mrc",
    dtypes=tuple(_MODES),
)
