"""Bytes of MRC (mode 0): whether they are signed, as the standard says, or unsigned.

Many programs write unsigned ones. Read the wrong way, every value is off by 128: what is brighter
than the middle jumps below what is darker, and neighbouring voxels differ by up to 255.
"""

import math
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.formats.mrc_header import SIGNED_BYTES

_SECTIONS, _EDGE = 16, 256  # what is looked at: sections, and px of the middle of each
_LEAST = 16  # pairs of neighbours that are needed for a judgement
# Ends of either range: padding and saturation jump to them in both readings.
_ENDS = np.array([0, 127, 128, 255], np.uint8)


class Reading(NamedTuple):
    """How bytes are read, and a note that says why; "" where the header confirms the standard."""

    unsigned: bool
    note: str


def _sample(voxels: np.ndarray) -> list[np.ndarray]:
    """Cut the middle out of some sections; voxels: [S, R, C], uint8."""
    count = voxels.shape[0]
    picked = sorted(set(np.linspace(0, count - 1, min(count, _SECTIONS)).astype(int).tolist()))
    top, left = (max(0, (length - _EDGE) // 2) for length in voxels.shape[1:])
    return [np.array(voxels[k, top : top + _EDGE, left : left + _EDGE]) for k in picked]


def _mean_jump(sample: list[np.ndarray]) -> float | None:
    """Mean difference between neighbours whose highest bits differ, read as unsigned.

    A pair that differs by d as unsigned differs by 256 - d as signed; pairs whose highest bits are
    equal differ alike. None: too few such pairs.
    """
    jumps = []
    for image in sample:
        for first, second in ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1])):
            at_end = np.isin(first, _ENDS) | np.isin(second, _ENDS)
            across = ((first ^ second) & 128).astype(bool) & ~at_end
            jumps.append(np.abs(first[across].astype(int) - second[across]))
    pairs = np.concatenate(jumps)
    return float(pairs.mean()) if pairs.size >= _LEAST else None


def _by_extremes(sample: list[np.ndarray], low: float, high: float) -> bool | None:
    """Tell by the header's extremes whether bytes are unsigned; None: the header does not tell."""
    signed = [image.view(np.int8) for image in sample]
    if low < 0 and high < 128:
        fits = all(low <= image.min() and image.max() <= high for image in signed)
        return False if fits else None
    if low >= 0 and high >= 128 and math.isfinite(high):
        fits = all(low <= image.min() and image.max() <= high for image in sample)
        return True if fits else None
    return None


def reading_of(voxels: np.ndarray, flags: int | None, low: float, high: float) -> Reading:
    """Tell how bytes are to be read.

    IMOD's flags count, where they are there. Else the header's extremes, if the sampled voxels keep
    them and their picture does not fall apart; else the picture: of the two readings the one in
    which neighbouring voxels differ less, if that is clear; else the standard.

    Args:
      voxels: [S, R, C], uint8, at least one; a bounded sample of them is looked at.
      flags: IMOD's, or None.
      low: least value, of the header.
      high: greatest value, of the header.
    """
    if flags is not None:
        unsigned = not flags & SIGNED_BYTES
        return Reading(unsigned, "bytes are read as unsigned: IMOD's flag says so" * unsigned)
    sample = _sample(voxels)
    stated, jump = _by_extremes(sample, low, high), _mean_jump(sample)
    # a picture of noise has 128; to overrule the header it must be clearer than to decide alone
    margin = 32 if stated is None else 64
    seen = None if jump is None or abs(jump - 128) < margin else jump < 128
    if seen is not None and seen != stated:
        word = "unsigned" if seen else "signed"
        aside = "" if stated is None else f", though the header's extremes are {low:g} to {high:g}"
        jumps = sorted((jump, 256 - jump))
        return Reading(
            seen,
            f"bytes are read as {word}{aside}: neighbouring voxels across the middle grey then "
            f"differ by {jumps[0]:.0f} grey levels, by {jumps[1]:.0f} in the other reading",
        )
    if stated:
        why = f"the header's extremes, {low:g} to {high:g}, are impossible for signed ones"
        return Reading(True, f"bytes are read as unsigned: {why}")
    if stated is None:
        why = "neither the header nor the voxels tell"
        return Reading(False, f"bytes are read as signed, as the standard says: {why}")
    return Reading(False, "")
