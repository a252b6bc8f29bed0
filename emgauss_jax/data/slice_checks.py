"""Tell before a fit which slices are flat, saturated, of another brightness, or striped.

Nothing is left out here: `damaged_slices` does that where it is asked to. Letters: K slices that
were looked at, H W the part of the field that was.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.intensity import cleaned
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box

LOOKED_AT = 2**24  # voxels of the whole stack, at most
READ = 2**22  # voxels at once
NEIGHBOURS = 3  # slices on each side that a slice is compared with
LISTED = 5  # slices that a line names, at most
JUMP = 0.7  # of the usual contrast, by which a slice's mean differs from those of others
OFTEN = 10  # and times the usual difference of means, which small fields make large
ALL_JUMP = 0.5  # of the usual contrast: where means usually differ by so much, all slices jump
STRIPED = 3.0  # times the usual difference of neighbouring rows' means
SMALLEST = 48  # px a side; of less, brightness and stripes are not judged
ADVICE = "leave them out by --detect_missing or data.missing, or even them out first"


class Slices(NamedTuple):
    """What was measured of every valid slice, f[K]."""

    index: np.ndarray  # i[K]
    low: np.ndarray  # the least voxel
    high: np.ndarray  # the greatest
    ended: np.ndarray  # fraction of the voxels that lie at an end of the dtype
    mean: np.ndarray
    contrast: np.ndarray  # standard deviation
    rows: np.ndarray  # standard deviation of the differences of neighbouring rows' means
    columns: np.ndarray


def slice_doubts(observed: SliceStack) -> list[str]:
    """Name the slices that look flat, saturated, too bright, too dark, or striped.

    At most `LOOKED_AT` voxels are read, of the middle of every valid slice.

    Returns:
      A line for every kind that there is.
    """
    size = _size(observed)
    found = _measure(observed, size)
    ok = np.isfinite(found.mean)
    found = Slices(*(values[ok] for values in found))
    flat = found.low == found.high
    if len(ok) < 3 or flat.all():
        return []
    part = "" if size == observed.shape[1:] else f", in the middle {size[0]} x {size[1]} px"
    values = [f"{value:.10g}" for value in found.low[flat]]
    lines = [_list(f"of one value{part}", found.index[flat], values)]
    varied = Slices(*(values[~flat] for values in found))
    lines.append(_saturated(varied, part))
    if min(size) >= SMALLEST:
        lines += [*_brightness(varied), *_stripes(varied)]
    return [line for line in lines if line]


def _size(observed: SliceStack) -> tuple[int, int]:
    """Choose how much of every slice is looked at, px (y, x)."""
    count, height, width = observed.shape
    edge = int((LOOKED_AT / (count * max(1, len(observed.plan.profile.offsets)))) ** 0.5)
    return min(height, max(edge, LOOKED_AT // count // width)), min(width, max(edge, 1))


def _measure(observed: SliceStack, size: tuple[int, int]) -> Slices:
    count, height, width = observed.shape
    start = (height - size[0]) // 2, (width - size[1]) // 2
    step = max(1, READ // (size[0] * size[1] * max(1, observed.plan.factor)))
    rows = []
    for first in range(0, count, step):
        part = observed.part(Box((first, *start), (min(step, count - first), *size)))
        kept = np.flatnonzero(part.plan.valid)
        shown = cleaned(part.slices, observed.grey_range)  # one hot pixel is no stripe
        rows += [(first + int(i), *_describe(shown[i], observed.dtype)) for i in kept]
    return Slices(*np.array(rows, np.float64).T)


def _describe(values: np.ndarray, dtype: np.dtype) -> tuple[float, ...]:
    """Measure a slice, see `Slices`; NaN where a voxel is not finite."""
    low, high, ended = values.min(), values.max(), 0.0
    if np.issubdtype(dtype, np.integer):
        ends = np.iinfo(dtype)
        ended = max(np.mean(values == ends.min), np.mean(values == ends.max))
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        rows, columns = (
            np.diff(values.mean(axis)).std() if n > 1 else 0.0
            for axis, n in zip((1, 0), values.shape, strict=True)
        )
        return low, high, ended, values.mean(), values.std(), rows, columns


def _around(values: np.ndarray) -> np.ndarray:
    """Take the median of the slices around each, without itself, f[K]."""
    k = np.arange(len(values))
    near = (np.abs(k[:, None] - k) <= NEIGHBOURS) & (k[:, None] != k)
    return np.array([np.median(values[others]) for others in near])


def _saturated(found: Slices, part: str) -> str:
    """Name slices of which most voxels lie at an end of the dtype, unlike those around them."""
    if len(found.index) < 3:
        return ""
    bad = (found.ended > 0.5) & (_around(found.ended) < 0.25)
    told = [f"{100 * fraction:.0f} %" for fraction in found.ended[bad]]
    return _list(f"with most voxels at an end of the dtype{part}", found.index[bad], told)


def _brightness(found: Slices) -> list[str]:
    """Name slices whose mean jumps, or say that those of all do."""
    if len(found.index) < 3:
        return []
    contrast = float(np.median(found.contrast))
    jump = found.mean - _around(found.mean)
    usual = float(np.median(np.abs(jump)))
    if usual > ALL_JUMP * contrast:
        return [
            f"brightness jumps from slice to slice by {usual:.3g} grey levels (median; the "
            f"contrast within a slice is {contrast:.3g}): even it out first"
        ]
    bad = np.abs(jump) > max(JUMP * contrast, OFTEN * usual)
    told = [f"{each:+.3g}" for each in jump[bad]]
    what = f"whose brightness jumps (grey levels; the contrast within a slice is {contrast:.3g})"
    return [_list(what, found.index[bad], told)]


def _stripes(found: Slices) -> list[str]:
    """Name slices whose rows or columns differ more than those of the slices around them."""
    if len(found.index) < 3:
        return []
    lines = []
    for axis, each in (("x", found.rows), ("y", found.columns)):
        ratio = each / np.maximum(_around(each), 1e-9 * found.contrast)
        bad = ratio > STRIPED
        told = [f"{times:.1f} times the usual" for times in ratio[bad]]
        lines.append(_list(f"striped along {axis}", found.index[bad], told))
    return lines


def _list(what: str, index: np.ndarray, told: Sequence[str]) -> str:
    """Make a line that names slices with a word on each; "" if there is none."""
    if not len(index):
        return ""
    named = [f"{int(i)} ({word})" for i, word in zip(index, told, strict=True)][:LISTED]
    more = f" and {len(index) - LISTED} more" if len(index) > LISTED else ""
    return f"slices {what}: {', '.join(named)}{more}: {ADVICE}"
