"""Depths of unevenly spaced slices: `config.data.z_nm`.

Methods work in input-slice units, where slices lie at 0, 1, 2, ... whatever their distances. Only
where the planes of an output are laid are these units turned into nm and back.
Letters: K slices.
"""

import os
import pathlib
import re
from typing import Any

import numpy as np

from emgauss_jax.data.errors import InputError

WIDE = 3.0  # times the median: a wider gap is told
WANTED = "depths in nm like 0,45,101.5"


def depths_text(given: Any) -> str:
    """Write `config.data.z_nm` as a config holds it.

    Args:
      given: depths in nm, any sequence or array; or text, or the path of a file.

    Raises:
      InputError: it is none of these.
    """
    if isinstance(given, str | os.PathLike):
        return str(given)
    try:
        depths = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        depths = None
    if depths is None or depths.ndim != 1:
        raise InputError(f"data.z_nm: got {given!r}, wanted {WANTED}, or a text file of them")
    return ",".join(map(repr, depths.tolist()))


def written_out(given: str) -> str:
    """Put the numbers of `config.data.z_nm` in place of the file that holds them."""
    return depths_text(_numbers(given)[0])


def read_depths(given: str, count: int) -> np.ndarray:
    """Read the depths of all slices of a volume.

    Args:
      given: numbers, nm, separated by commas or blanks; or the path of a text file of such
        numbers, in which a # begins a comment.
      count: K.

    Returns:
      f64[K], nm from the first slice, rising.

    Raises:
      InputError: text or a file that holds something else.
    """
    numbers, name = _numbers(given)
    depths = np.array(numbers, np.float64)
    if len(depths) != count:
        raise InputError(
            f"{name}: got {len(depths)} depths, wanted {count}, one for every slice of the volume "
            "(of all of it: before data.crop)"
        )
    bad = np.flatnonzero(~np.isfinite(depths))
    if bad.size:
        raise InputError(f"{name}: got {depths[bad[0]]} for slice {bad[0]}, wanted {WANTED}")
    falls = np.flatnonzero(np.diff(depths) <= 0) + 1
    if falls.size:
        i = falls[0]
        hint = " (turn their sign where all fall)" if len(falls) == count - 1 else ""
        raise InputError(
            f"{name}: got {depths[i]:g} nm for slice {i} after {depths[i - 1]:g}, wanted depths "
            f"that rise from slice to slice{hint}"
        )
    return depths - depths[0]


def _numbers(given: str) -> tuple[list[float], str]:
    """Read numbers from text, or from the file it names; and say what they came from."""
    words = _words(given)
    if _is_number(words[0]):
        return _floats(words, "data.z_nm"), "data.z_nm"
    if not os.path.isfile(given):
        raise InputError(f"data.z_nm: got {given[:60]!r}, wanted {WANTED}, or a text file of them")
    try:
        lines = pathlib.Path(given).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{given}: cannot be read as text: {error}") from error
    numbers: list[float] = []
    for i, line in enumerate(lines):
        numbers += _floats(_words(line.split("#")[0]), f"{given}: line {i + 1}")
    return numbers, given


def _words(text: str) -> list[str]:
    return re.split(r"[\s,;]+", text.strip(" \t\r\n,;"))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _floats(words: list[str], where: str) -> list[float]:
    for word in filter(None, words):
        if not _is_number(word):
            raise InputError(f"{where}: got {word!r}, wanted {WANTED}")
    return [float(word) for word in filter(None, words)]


def spacing_notes(depths: np.ndarray, said_nm: float) -> tuple[str, ...]:
    """Say how far slices lie apart, and which gap is much wider than the others.

    Args:
      depths: f64[K], nm.
      said_nm: their distance by the voxel size, which is not used.
    """
    gaps = np.diff(depths)
    mean, widest = gaps.mean(), int(gaps.argmax())
    instead = "" if np.isclose(mean, said_nm, rtol=1e-3) else f", not {said_nm:g} as in voxel_nm"
    spread = f"{gaps.min():.6g} to {gaps.max():.6g} nm apart (mean {mean:.6g}{instead})"
    times = gaps[widest] / np.median(gaps)
    if times <= WIDE:
        return (f"slices lie {spread}: data.z_nm",)
    return (
        f"slices lie {spread}: data.z_nm",
        f"slices {widest} and {widest + 1} lie {gaps[widest]:g} nm apart, {times:.2g} times the "
        "median: what lies between them is drawn as if they were neighbours like the others",
    )


def to_slices(nm: np.ndarray, depths: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Turn nm into input-slice units.

    Args:
      nm: f64[...], as `depths`.
      depths: f64[K], nm, of slices 0, 1, 2, ...
      valid: bool[K]; a plane across missing slices lies between valid ones as it does in nm.

    Returns:
      f64[...], between the first and the last slice.
    """
    index = _believed(valid)
    return np.interp(nm, depths[index], index)


def to_nm(z: np.ndarray, depths: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Turn input-slice units f64[...] into nm, see `to_slices`."""
    index = _believed(valid)
    return np.interp(z, index, depths[index])


def _believed(valid: np.ndarray) -> np.ndarray:
    """Choose the slices whose depths count: the valid ones, the first and the last."""
    ends = np.isin(np.arange(len(valid)), (0, len(valid) - 1))
    return np.flatnonzero(valid | ends)
