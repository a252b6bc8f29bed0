"""From stored numbers to the grey levels that a viewer shows: inverted, palettes, calibrated."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tifffile

from emgauss_jax.data.formats.interface import VolumeError
from emgauss_jax.data.formats.tiff_pages import Kind

_INT16 = (0, -32768.0, 1.0)  # ImageJ's calibration of signed 16 bit: a line, its offset and slope
_NO_CALIBRATION = (20, 21)  # ImageJ's codes of none, and of optical density without a curve


class Grey(NamedTuple):
    """How the voxels of an image are read."""

    dtype: np.dtype
    levels: Callable[[np.ndarray], np.ndarray]  # stored numbers to grey levels, of any shape
    notes: tuple[str, ...] = ()


def unchanged(dtype: np.dtype) -> Grey:
    """Read numbers as they are."""
    return Grey(dtype, lambda stored: stored)


def of_kind(kind: Kind) -> Grey:
    """Tell how pages of TIFF files are read; colours are refused elsewhere.

    Raises:
      VolumeError: floating point whose white is zero, or a palette of colours.
    """
    if kind.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        return inverted(unchanged(kind.dtype), kind.bits)
    if not kind.palette:
        return unchanged(kind.dtype)
    palette = np.frombuffer(kind.palette, np.uint16).reshape(3, -1)
    # 16 bits each, by the standard; some writers fill in 8
    eight = kind.dtype == np.uint8 and palette.max() > 255
    return from_palette(kind.dtype, palette >> 8 if eight else palette)


def inverted(grey: Grey, bits: int) -> Grey:
    """Turn white that is stored as zero into black that is.

    Args:
      grey: of bool or integers; `bits` of them are used.

    Raises:
      VolumeError: floating point, whose white has no number.
    """
    note = "white is stored as 0: the grey levels are inverted"
    if grey.dtype.kind == "f":
        raise VolumeError(
            f"got {grey.dtype} whose white is 0 (WhiteIsZero), wanted BlackIsZero: of floating "
            "point nobody knows which number is black"
        )
    if grey.dtype.kind == "u" and bits < 8 * grey.dtype.itemsize:
        top = grey.dtype.type(2**bits - 1)
        return Grey(grey.dtype, lambda stored: top - grey.levels(stored), (*grey.notes, note))
    return Grey(grey.dtype, lambda stored: ~grey.levels(stored), (*grey.notes, note))


def from_palette(dtype: np.dtype, palette: np.ndarray) -> Grey:
    """Look up grey levels in a palette.

    Args:
      dtype: of the stored indices, uint8 or uint16.
      palette: [3, colours], of the same range as the indices if they are of 8 or 16 bit.

    Raises:
      VolumeError: a colour in it is not grey.
    """
    if (palette != palette[0]).any():
        raise VolumeError("got a palette of colours, wanted grey levels: convert it to grey")
    table = palette[0].astype(dtype)
    if np.array_equal(table, np.arange(len(table))):
        return unchanged(dtype)
    if np.array_equal(table, np.arange(len(table))[::-1]):
        note = "the palette is inverted: the grey levels that it shows are read"
    else:
        note = "the grey levels of the palette are read, not the numbers of its entries"
    return Grey(dtype, lambda stored: table[stored], (note,))


def calibrated(grey: Grey, imagej: Mapping[str, object]) -> Grey:
    """Apply ImageJ's calibration where it stands for signed 16 bit, and say where another stands.

    Args:
      grey: as it is stored.
      imagej: what ImageJ's header says, names in lower case.
    """
    code, *line = (imagej.get(name) for name in ("cf", "c0", "c1"))
    curve = (code, *map(_number, line))
    if code is None or code in _NO_CALIBRATION or curve == (0, 0.0, 1.0):
        return grey
    if grey.dtype == np.uint16 and curve == _INT16:
        note = "ImageJ's signed 16 bit is read as int16"
        sign = np.uint16(1 << 15)
        return Grey(
            np.dtype(np.int16), lambda stored: (grey.levels(stored) ^ sign).view(np.int16),
            (*grey.notes, note),
        )  # fmt: skip
    stated = [name for name in ("cf", "c0", "c1", "c2") if name in imagej]
    terms = ", ".join(f"{name}={imagej[name]}" for name in stated)
    note = f"raw values are read: ImageJ's calibration of them ({terms}) is not applied"
    return grey._replace(notes=(*grey.notes, note))


def _number(value: object) -> float:
    try:
        return float(str(value).replace(",", "."))
    except ValueError:
        return np.nan
