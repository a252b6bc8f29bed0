"""Tell before a fit which slices are of one value, and which are brighter or darker than others.

Letters: K slices, of which V are valid.
"""

from typing import NamedTuple

import numpy as np

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box

LOOKED_AT = 2**24  # voxels at most, of the middle of the field
LEAST = 32  # px of the field along each axis, however many slices there are
FIELD = 64  # px along each axis: the mean of a smaller field jumps by chance
AROUND = 2  # slices on each side that a slice is compared with
JUMP = 1.0  # of the usual contrast within a slice
SCATTER = 6.0  # or so many times what slices usually differ from those around
ALL_JUMP = 0.5  # of the contrast: where neighbours usually differ by so much, all slices jump
LISTED = 5  # slices in a line
ADVICE = "planes beside them take it over; even the slices out first"


class Look(NamedTuple):
    """What a quick look at the valid slices has found."""

    index: np.ndarray  # i[V]
    low: np.ndarray  # f64[V], least grey level
    high: np.ndarray  # f64[V]
    mean: np.ndarray  # f64[V]
    contrast: np.ndarray  # f64[V], standard deviation


def slice_doubts(observed: SliceStack) -> list[str]:
    """Say which slices are of one value, and where the brightness jumps; a line each.

    The middle of the field is read, of all valid slices.
    """
    look = _look(observed)
    flat = look.low == look.high
    lines = _of_one_value(look, flat)
    left = Look(*(field[~flat] for field in look))
    if min(observed.shape[1:]) < FIELD or len(left.mean) < 2 * AROUND + 1:
        return lines
    step = np.median(np.abs(np.diff(left.mean)))
    if step > ALL_JUMP * np.median(left.contrast):
        return [*lines, f"brightness jumps by {step:.3g} from slice to slice (median): {ADVICE}"]
    jumps = _jumps(left)
    if len(jumps):
        lines.append(
            f"slices {_listed(jumps)}: brighter or darker than those around them by more than "
            f"the usual contrast: {ADVICE}, or name them in data.missing"
        )
    return lines


def _look(observed: SliceStack) -> Look:
    count, height, width = observed.shape
    edge = max(LEAST, int((LOOKED_AT / count) ** 0.5))
    size = min(edge, height), min(edge, width)
    start = (height - size[0]) // 2, (width - size[1]) // 2
    values = observed.part(Box((0, *start), (count, *size))).valid_slices.astype(np.float64)
    over = (1, 2)
    return Look(
        np.flatnonzero(observed.plan.valid),
        values.min(over), values.max(over), values.mean(over), values.std(over),
    )  # fmt: skip


def _of_one_value(look: Look, flat: np.ndarray) -> list[str]:
    """Name flat slices; where all are, there is nothing to learn from and it is said elsewhere."""
    if flat.all():
        return []
    return [
        f"slices {_listed(look.index[flat & (look.low == level)])}: all px are {level:g}; leave "
        "them out by data.missing or --detect_missing"
        for level in np.unique(look.low[flat])
    ]


def _jumps(look: Look) -> np.ndarray:
    """Find slices whose mean differs from the median of those around by more than usual: i[n]."""
    padded = np.pad(look.mean, AROUND, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    off = np.abs(look.mean - np.median(around, axis=1))
    usual = np.median(off)
    return look.index[off > max(JUMP * np.median(look.contrast), SCATTER * usual)]


def _listed(index: np.ndarray) -> str:
    more = f" and {len(index) - LISTED} more" if len(index) > LISTED else ""
    return ", ".join(map(str, index[:LISTED])) + more
