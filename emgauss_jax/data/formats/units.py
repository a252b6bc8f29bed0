"""Length units, as the formats spell them."""

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


def _plain(unit: str) -> str:
    # ImageJ escapes the micro sign in its ASCII header; NFKC folds the two micro signs into one
    plain = unicodedata.normalize("NFKC", unit.strip().lower().replace("\\u00b5", "µ"))
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
        raise VolumeError(
            f"voxel size: got unit {unit!r}, wanted a length such as nm, or in nm "
            "--config.data.voxel_nm=z,y,x (train), --input_voxel_nm=z,y,x (reconstruct)"
        )
    # divide where division is exact: 45 angstrom are 4.5 nm, not 4.500000000000001
    return float(value) / round(1 / factor) if factor < 1 else float(value) * factor
