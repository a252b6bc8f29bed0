"""Tell before a fit that the slices of a stack are shifted against each other.

The field is cut into small tiles. Between two neighbouring slices every tile votes for a shift by
phase correlation, and the votes of a part of the field are added up. Structures of tissue move,
too, each in its own way; what two separate halves of the field do together is the slices' own.
Letters: P pairs of neighbouring slices, n m tiles along y and x, T edge of a tile in px.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import fft

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box

FIELD = 512  # px of the field that are looked at along each axis, at most
TRIPLES = 24  # of neighbouring slices that are looked at, at most
TILE = 32  # px; two separate halves of the field need two of them along each axis
REACH = 12  # px, largest shift of one pair along each axis
DRIFT_REACH = 16  # px, largest shift that all pairs share
FEWEST = 5  # triples: of fewer nothing can be told
JITTER = 1.25  # px, root mean square; votes are drawn towards 0, so that 2 px are seen as less
SURE = 2.5  # standard errors by which opposite halves' shifts must correlate
DRIFT = 2.0  # px that all pairs share
AGREED = 2.0  # px that halves of the field may differ where their shift is believed
ADVICE = "register the stack first (SOFIMA, TrakEM2)"


class Shifts(NamedTuple):
    """Lateral shifts from slice to slice, px (y, x): where what one slice shows lies in the next.

    The last axis but one is the part of the field: all of it, upper half, lower, left, right.
    """

    first: np.ndarray  # i[P], the first slice of each pair
    pairs: np.ndarray  # f[P, 5, 2]
    shared: np.ndarray  # f[5, 2], of all pairs together


class Told(NamedTuple):
    """What is to be said of the shifts; "" for nothing."""

    warning: str
    note: str  # of a drift that may as well be oblique tissue


def alignment_doubts(observed: SliceStack) -> Told:
    """Say how far neighbouring slices are shifted against each other.

    At most `TRIPLES` times three neighbouring valid slices are read, of the middle of the field.

    Returns:
      Nothing where they are not, or where field and stack are too small to tell. A shift that is
      the same from slice to slice can be the tissue's own: unless it is steeper than 45 degrees,
      it is noted and not warned of.
    """
    if min(observed.shape[1:]) < 2 * TILE:
        return Told("", "")
    shifts, anisotropy = measure(_read(observed)), observed.voxel_nm[0] / observed.voxel_nm[1]
    jitter, drift = _jitter_line(shifts), _drift_line(shifts, anisotropy)
    if jitter or np.hypot(*shifts.shared[0]) > anisotropy:
        return Told(jitter or drift, "")
    return Told("", drift)


def measure(slices: Iterator[tuple[int, np.ndarray]]) -> Shifts:
    """Measure the shifts of all neighbours among some slices.

    Args:
      slices: indices, rising, and [H, W] of the same shape, at least 2 T a side.
    """
    first, pairs, shared, before = [], [], 0.0, None
    for index, values in slices:
        now = index, _spectra(values)
        if before and before[0] + 1 == index:
            votes = _votes(before[1], now[1])
            first.append(before[0])
            pairs.append(_peaks(votes, REACH))
            shared = shared + votes
        before = now
    if not first:
        return Shifts(np.zeros(0, int), np.zeros((0, 5, 2)), np.zeros((5, 2)))
    return Shifts(np.array(first), np.array(pairs), _peaks(shared, DRIFT_REACH))


def _read(observed: SliceStack) -> Iterator[tuple[int, np.ndarray]]:
    """Read triples of neighbouring valid slices, evenly spaced, in the middle of the field."""
    valid, (height, width) = observed.plan.valid, observed.shape[1:]
    triples = [i for i in range(len(valid) - 2) if valid[i : i + 3].all()]
    chosen = np.linspace(0, len(triples) - 1, min(TRIPLES, len(triples))).astype(int)
    size = min(FIELD, height), min(FIELD, width)
    start = (height - size[0]) // 2, (width - size[1]) // 2
    for index in sorted({triples[k] + step for k in chosen for step in range(3)}):
        values = observed.part(Box((index, *start), (1, *size))).slices[0]
        yield index, np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)


def _starts(length: int) -> np.ndarray:
    """Place tiles that overlap by half or more: an odd number, so that the halves share no px."""
    count = -(-(length - TILE) // (TILE // 2)) + 1
    return np.linspace(0, length - TILE, count + 1 - count % 2).astype(int)


def _window() -> np.ndarray:
    """f64[T], a raised cosine that is nowhere 0."""
    return np.hanning(TILE + 2)[1:-1]


def _spectra(values: np.ndarray) -> np.ndarray:
    """Transform the tiles of a slice, c[n, m, T, T / 2 + 1]; 0 where a tile is flat.

    What is the same along a whole row or column is left out: stripes cross both halves of a field.
    """
    rounding = 1e-5 * np.abs(values).max()
    values = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    ys, xs = (_starts(length) for length in values.shape)
    tiles = np.lib.stride_tricks.sliding_window_view(values, (TILE, TILE))[np.ix_(ys, xs)]
    window = np.outer(_window(), _window()).astype(np.float32)
    mean = (tiles * window).sum((-1, -2), keepdims=True) / window.sum()
    flat = tiles.std((-1, -2), keepdims=True) <= rounding
    return fft.rfft2(np.where(flat, 0, (tiles - mean) * window))


def _votes(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlate tiles at all shifts up to `DRIFT_REACH`: f[n, m, shifts along y, along x].

    Spectra are whitened by half and smoothed by 1 px; every tile that is not flat has one vote.
    """
    cross = one.conj() * other
    low = np.exp(-2 * np.square(np.pi * np.hypot(fft.fftfreq(TILE)[:, None], fft.rfftfreq(TILE))))
    size = np.abs(cross)
    white = np.divide(cross * low, np.sqrt(size), out=np.zeros_like(cross), where=size > 0)
    by = np.arange(-DRIFT_REACH, DRIFT_REACH + 1)
    votes = fft.irfft2(white, s=(TILE, TILE))[..., by[:, None], by]
    spread = votes.std((-1, -2), keepdims=True)
    votes = np.divide(votes, spread, out=np.zeros_like(votes), where=spread > 0)
    return np.square(np.maximum(votes, 0))


def _peaks(votes: np.ndarray, reach: int) -> np.ndarray:
    """Find the shift with the most votes in the field and in its halves, f[5, 2]; 0 without any."""
    middle, (n, m) = votes.shape[-1] // 2, (length // 2 for length in votes.shape[:2])
    near = votes[..., middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    # windows overlap less the larger the shift
    overlap = np.correlate(_window(), _window(), "full")[TILE - 1 - reach :][: 2 * reach + 1]
    fair = np.sqrt(np.outer(overlap, overlap))
    peaks = []
    for part in (near, near[:n], near[-n:], near[:, :m], near[:, -m:]):
        total = part.sum((0, 1)) / fair
        peak = np.unravel_index(total.argmax(), total.shape) if total.any() else (reach, reach)
        peaks.append(np.subtract(peak, reach))
    return np.array(peaks, float)


def _jitter_line(shifts: Shifts) -> str:
    """Describe shifts that differ from pair to pair; a shared drift cancels."""
    follows = np.flatnonzero(np.diff(shifts.first) == 1)
    if len(follows) < FEWEST:
        return ""
    change = (shifts.pairs[follows + 1] - shifts.pairs[follows]) / 2
    one, other = change[:, [1, 3]], change[:, [2, 4]]
    common = (one * other).sum((0, 2))  # px squared, of both ways to halve the field
    size = np.sqrt(np.square(one).sum((0, 2)) * np.square(other).sum((0, 2)))
    correlation = (common / np.maximum(size, 1e-9)).mean()
    if correlation * math.sqrt(2 * len(change)) < SURE:
        return ""
    if common.mean() / len(change) < JITTER**2:
        return ""
    apart = shifts.pairs - shifts.pairs.mean(0)
    agreed = _disagreement(shifts.pairs) <= AGREED
    kept = np.flatnonzero(agreed) if agreed.any() else np.arange(len(apart))
    length = np.hypot(*apart[kept, 0].T)
    k = shifts.first[kept[length.argmax()]]
    return (
        f"neighbouring slices are shifted by {np.median(length):.1f} px (median; most, "
        f"{length.max():.1f} px, between slices {k} and {k + 1}): {ADVICE}; shifted structures "
        "come out smeared"
    )


def _disagreement(parts: np.ndarray) -> np.ndarray:
    """Measure how far the shifts of opposite halves differ at most: f[..., 5, 2] -> f[...]."""
    return np.hypot(*np.moveaxis(parts[..., [1, 3], :] - parts[..., [2, 4], :], -1, 0)).max(-1)


def _drift_line(shifts: Shifts, anisotropy: float) -> str:
    """Describe a shift that all pairs share, which oblique tissue can have, too."""
    length = float(np.hypot(*shifts.shared[0]))
    doubt = _disagreement(shifts.shared)
    if len(shifts.first) <= FEWEST or length < DRIFT or doubt > max(AGREED, length / 2):
        return ""
    y, x = shifts.shared[0]
    return (
        f"from slice to slice all moves by about {length:.1f} px "
        f"in one direction (y {y:+.0f}, x {x:+.0f}): the slices drift, or the tissue runs "
        f"obliquely, {math.degrees(math.atan2(length, anisotropy)):.0f} degrees off their normal; "
        f"if they drift, {ADVICE}"
    )
