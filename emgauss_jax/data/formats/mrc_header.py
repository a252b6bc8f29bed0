"""The header of an MRC file: byte order, axes, voxel size and place, and what is odd about them.

`fields` below is a record of mrcfile's HEADER_DTYPE, in the byte order of the file. The axes of the
voxels are sections, rows and columns; `mapc`, `mapr` and `maps` say which of x, y, z each is.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.formats.interface import Place, VolumeError, Voxel
from emgauss_jax.data.formats.units import to_nm

# float16 is newer than the others; bytes are those of mrc_bytes.py
MODES = {0: "int8", 1: "int16", 2: "float32", 6: "uint16", 12: "float16"}
_OTHER_MODES = {
    3: "complex 16 bit", 4: "complex 32 bit", 16: "RGB", 101: "4 bit",
}  # fmt: skip
_ORDERS = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
IMOD_STAMP = 1146047817
SIGNED_BYTES, ORIGIN_IS_POSITION, RMS_IS_UNKNOWN, FOUR_BITS = 1, 4, 8, 16  # flags of IMOD
_IMOD = slice(40, 48)  # of `extra2`: stamp and flags


class Header(NamedTuple):
    """The fields of a header, and what was assumed in reading them."""

    fields: Any  # a record of HEADER_DTYPE
    notes: tuple[str, ...]


def _is_plausible(fields: Any) -> bool:
    modes = MODES.keys() | _OTHER_MODES.keys()
    axes = (int(fields[name]) in range(4) for name in ("mapc", "mapr", "maps"))
    lengths = (0 < fields[name] < 2**24 for name in ("nx", "ny", "nz"))
    return int(fields["mode"]) in modes and all(axes) and all(lengths)


def parse(raw: bytes, dtype: np.dtype) -> Header:
    """Read a header in the byte order of its machine stamp, or in the one that it makes sense in.

    Args:
      raw: the first 1024 bytes of the file.
      dtype: mrcfile's HEADER_DTYPE.

    Raises:
      VolumeError: there are fewer bytes, or they are no header of MRC.
    """
    if len(raw) < dtype.itemsize:
        raise VolumeError(f"got {len(raw)} bytes, wanted an MRC header of {dtype.itemsize}")
    stamp, named = raw[212:216], raw[208:211] == b"MAP"
    stated = _ORDERS.get(stamp[:2])
    orders = (">", "<") if stated == ">" else ("<", ">")
    records = {order: np.frombuffer(raw, dtype.newbyteorder(order))[0] for order in orders}
    order = next((each for each in orders if _is_plausible(records[each])), None)
    if order is None and not named:
        raise VolumeError("got no MRC header: no MAP, and no size, mode and axes of a volume")
    order = order or orders[0]
    notes = []
    if order != stated:
        word = "little" if order == "<" else "big"
        notes.append(
            f"machine stamp {stamp.hex(' ')}: read as {word}-endian, which fits the header"
        )
    if not named:
        notes.append("the header lacks MAP: read as an old one, whose origin is not looked at")
    return Header(records[order], tuple(notes))


def imod_flags(fields: Any) -> int | None:
    """Return the flags of IMOD, or None where the file does not have its stamp."""
    order = fields.dtype["nx"].byteorder
    extra = fields["extra2"].tobytes().ljust(84, b"\0")  # numpy drops zeros at its end
    stamp, flags = np.frombuffer(extra[_IMOD], np.dtype("i4").newbyteorder(order)).tolist()
    return flags if stamp == IMOD_STAMP else None


def with_imod_flags(fields: Any, flags: int) -> np.void:
    """Return the field `extra2` with the stamp of IMOD and some flags."""
    extra = bytearray(fields["extra2"].tobytes().ljust(84, b"\0"))
    order = fields.dtype["nx"].byteorder
    extra[_IMOD] = np.array([IMOD_STAMP, flags], np.dtype("i4").newbyteorder(order)).tobytes()
    return np.void(bytes(extra))


def stored_dtype(fields: Any) -> np.dtype:
    """Return the dtype of the voxels, in the file's byte order.

    Raises:
      VolumeError: voxels are complex, colour or packed, or of no known mode.
    """
    mode, flags = int(fields["mode"]), imod_flags(fields)
    packed = mode == 0 and flags is not None and flags & FOUR_BITS
    if packed or mode not in MODES:
        got = "4 bit" if packed else _OTHER_MODES.get(mode, "unknown")
        wanted = ", ".join(f"{number} ({name})" for number, name in MODES.items())
        raise VolumeError(f"MRC mode: got {mode} ({got}), wanted one of {wanted}")
    return np.dtype(MODES[mode]).newbyteorder(fields.dtype["nx"].byteorder)


def stored_shape(fields: Any) -> tuple[int, ...]:
    """Return the shape of the voxels: sections, rows, columns, and volumes before them if many.

    Raises:
      VolumeError: a length is negative, or the file is a stack of several volumes.
    """
    columns, rows, sections, depth = (int(fields[name]) for name in ("nx", "ny", "nz", "mz"))
    if min(columns, rows, sections) < 0 or fields["nsymbt"] < 0:
        raise VolumeError(f"MRC nx, ny, nz: got {columns}, {rows}, {sections}, wanted none < 0")
    if 401 <= fields["ispg"] <= 630 and depth != sections:
        raise VolumeError(
            f"got a stack of volumes, {sections} sections in volumes of {depth}, wanted one volume"
        )
    return sections, rows, columns


def axis_order(fields: Any) -> tuple[int, int, int]:
    """Return which axes of (sections, rows, columns) are z, y and x.

    Raises:
      VolumeError: the header does not name each of x, y and z once.
    """
    stored = tuple(int(fields[name]) for name in ("maps", "mapr", "mapc"))
    if stored == (0, 0, 0):  # an old file that leaves them out
        return 0, 1, 2
    if sorted(stored) != [1, 2, 3]:
        raise VolumeError(
            f"MRC axes mapc, mapr, maps: got {stored[::-1]}, wanted 1 (x), 2 (y), 3 (z)"
        )
    return tuple(stored.index(axis) for axis in (3, 2, 1))


def voxel_nm(fields: Any) -> Voxel | None:
    """Return the voxel size, or None where the header has none.

    A cell or grid of 0 along any axis means that it is unknown, as does a stack of images (space
    group 0, one section a cell), whose images need not be slices of anything.
    """
    if fields["ispg"] == 0 and fields["mz"] == 1 and fields["nz"] > 1:
        return None
    grid = [int(fields[name]) for name in ("mz", "my", "mx")]
    cell = [float(fields["cella"][axis]) for axis in "zyx"]
    if min(grid) <= 0 or not all(math.isfinite(length) and length > 0 for length in cell):
        return None
    # in the file's float32, so that 52.5 angstrom are 5.25 nm
    sizes = np.array(cell, np.float32) / np.array(grid, np.float32)
    return tuple(to_nm(size, "angstrom") for size in sizes.tolist())


def _origin_nm(fields: Any) -> Voxel:
    """Return `origin`, the first voxel's centre; 0 where the header is too old to have it there.

    Files that IMOD wrote before the standard of 2014 have it with the other sign.
    """
    origin = [float(fields["origin"][axis]) for axis in "zyx"]
    if bytes(fields["map"])[:3] != b"MAP" or not all(map(math.isfinite, origin)):
        return (0.0, 0.0, 0.0)
    flags = imod_flags(fields)
    turned = flags is not None and not flags & ORIGIN_IS_POSITION and fields["nversion"] < 20140
    sign = -1 if turned else 1
    return tuple(to_nm(sign * length, "angstrom") for length in origin)


def has_two_places(fields: Any) -> bool:
    """Tell whether both the origin and the grid's start say where the volume lies."""
    starts = any(int(fields[name]) for name in ("nxstart", "nystart", "nzstart"))
    return starts and any(_origin_nm(fields))


def place(fields: Any, voxel: Voxel) -> Place:
    """Return where the volume lies.

    The origin counts where it is not 0, else the first section, row and column of the grid
    (`nzstart`, `nystart`, `nxstart`), as in ChimeraX: programs that write both mean one shift.

    Args:
      fields: the header.
      voxel: (z, y, x), nm.
    """
    origin = _origin_nm(fields)
    if any(origin):
        return Place(origin)
    starts = [float(fields[name]) for name in ("nzstart", "nystart", "nxstart")]  # s, r, c
    pairs = zip(axis_order(fields), voxel, strict=True)
    return Place(tuple(starts[axis] * size for axis, size in pairs))
