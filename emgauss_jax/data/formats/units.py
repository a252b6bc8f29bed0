"""Lengths and their units, as the formats spell them."""

import math
import re
import unicodedata

from emgauss_jax.data.formats.interface import VolumeError

_NM = {
    1e-6: ("fm", "femtometer", "femtometre"),
    1e-3: ("pm", "picometer", "picometre"),
    1e-1: ("å", "a", "ang", "angstrom", "ångström", "ångstrom", "angström", "angstroem"),
    1.0: ("nm", "nanometer", "nanometre"),
    1e3: ("µm", "um", "micron", "micrometer", "micrometre"),
    25.4e3: ("mil", "thou"),
    1e6: ("mm", "millimeter", "millimetre"),
    1e7: ("cm", "centimeter", "centimetre"),
    25.4e6: ("in", "inch", "inches", '"'),
    1e8: ("dm", "decimeter", "decimetre"),
    1e9: ("m", "meter", "metre"),
}
_IN_NM = "in nm --config.data.voxel_nm=z,y,x (train), --input_voxel_nm=z,y,x (reconstruct)"


def _repaired(text: str) -> str:
    """Undo UTF-8 that was read as Windows' western characters: "Âµm" is µm."""
    try:
        plain = text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text
    return plain if plain == text else _repaired(plain)


def _plain(unit: str) -> str:
    # ImageJ escapes the micro sign in its ASCII header; NFKC folds the two micro signs into one
    unescaped = _repaired(unit.strip()).lower().replace("\\u00b5", "µ")
    plain = unicodedata.normalize("NFKC", unescaped)
    return plain[:-1] if len(plain) > 3 and plain.endswith("s") else plain


_FACTOR = {_plain(name): factor for factor, names in _NM.items() for name in names}


def to_nm(value: float, unit: str) -> float:
    """Convert a length to nanometres.

    Args:
      value: length in `unit`.
      unit: its name or symbol; case and a plural s do not matter.

    Returns:
      The length, nm.

    Raises:
      VolumeError: the unit is not a known length.
    """
    factor = _FACTOR.get(_plain(unit))
    if factor is None:
        raise VolumeError(f"voxel size: got unit {unit!r}, wanted a length such as nm, or {_IN_NM}")
    # divide where division is exact: 45 angstrom are 4.5 nm, not 4.500000000000001
    return float(value) / round(1 / factor) if factor < 1 else float(value) * factor


def decimal(text: object) -> float:
    """Read a number whose decimal point may be a comma; NaN if it is none.

    "1,000" is none: it may be a thousand.
    """
    plain = str(text).strip()
    if re.fullmatch(r"[-+]?\d+,\d+(e[-+]?\d+)?", plain, re.IGNORECASE) and not re.fullmatch(
        r"[-+]?[1-9]\d{0,2},\d{3}", plain
    ):
        plain = plain.replace(",", ".")
    try:
        return float(plain)
    except ValueError:
        return math.nan


def voxel_length_nm(name: str, text: object, unit: str) -> float:
    """Convert the voxel size that a file states along an axis.

    Args:
      name: what the file calls it, for the message.
      text: the number, as text or as a number.
      unit: its unit.

    Returns:
      The length, nm.

    Raises:
      VolumeError: it is no positive finite number, or the unit is no length.
    """
    value = decimal(text)
    if not (math.isfinite(value) and value > 0):
        raise VolumeError(
            f"voxel size: got {name} {text} {unit} in the file, wanted a positive length, "
            f"or {_IN_NM}"
        )
    return to_nm(value, unit)
