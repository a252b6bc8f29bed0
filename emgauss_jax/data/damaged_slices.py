"""Find the damaged slices of a stack by comparing its slices with each other.

Nothing is replaced here: damaged slices are listed, and the fit leaves them out like slices that
a config lists as missing. Letters: K observed slices, h w size of a subsampled slice in px.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.stack import SliceStack, scanned

THINNED = 128  # px kept of a slice along each axis, at most: 64 KiB a slice
FLAT = 0.2  # a slice is blank below this fraction of the usual contrast
ALIKE = 0.2  # a slice is a repeat below this fraction of the usual difference
UNLIKE = 1.4  # a slice is foreign if it differs from both neighbours by this many times the usual
SCATTER = 4.5  # or by 1 + so many standard deviations, where neighbours' differences scatter more
NEIGHBOURS = 3  # slices on each side that a slice is compared with
AROUND = 8  # slices on each side that say what difference is usual there
MOST = 1 / 3  # largest fraction of a stack that may be damaged

Thinned = dict[int, np.ndarray]  # index -> f32[h, w], grey levels


class Damaged(NamedTuple):
    """A damaged slice and the reason."""

    index: int  # from the start of the stack, after crop and simulation
    reason: str


def find_damaged(observed: SliceStack) -> list[Damaged]:
    """Find slices that are not finite, blank, foreign among their neighbours, or repeats.

    Args:
      observed: the stack; every slice that is not listed as missing is read once.

    Returns:
      The damaged slices, sorted by index.

    Raises:
      InputError: more than a third of the stack looks damaged: too few sound slices to compare.
    """
    thinned = _read(observed)
    found: list[Damaged] = []
    for judge in (_not_finite, _blank, _unlike, _repeated):
        bad = {each.index for each in found}
        left = {index: values for index, values in thinned.items() if index not in bad}
        if len(left) >= 3:
            found += judge(left)
    if len(found) > MOST * len(thinned):
        listed = ", ".join(str(each.index) for each in sorted(found))
        raise InputError(
            f"detect_missing: got {len(found)} of {len(thinned)} slices that look damaged "
            f"({listed}), wanted a third at most, so that the others show what is usual; list the "
            "damaged slices as missing instead"
        )
    return sorted(found)


def _read(observed: SliceStack) -> Thinned:
    """Read all slices and subsample each; a slice with NaN or infinity becomes NaN everywhere."""
    count, height, width = observed.shape
    step = max(1, -(-max(height, width) // THINNED))
    kept = np.zeros((count, -(-height // step), -(-width // step)), np.float32)
    for box, part in scanned(observed):
        (z, y, x), (skip_y, skip_x) = box.start, (-n % step for n in box.start[1:])
        values = part.slices
        bad = ~np.isfinite(values).all(axis=(1, 2))
        some = values[:, skip_y::step, skip_x::step].astype(np.float32)
        rows, columns = (-(-n // step) for n in (y, x))
        kept[z : box.stop[0], rows : rows + some.shape[1], columns : columns + some.shape[2]] = some
        kept[z : box.stop[0]][bad] = np.nan
    return {int(i): kept[i] for i in np.flatnonzero(observed.plan.valid)}


def _not_finite(left: Thinned) -> list[Damaged]:
    return [Damaged(i, "not finite") for i, v in left.items() if not np.isfinite(v).all()]


def _blank(left: Thinned) -> list[Damaged]:
    contrast = {i: values.std() for i, values in left.items()}
    usual = np.median(list(contrast.values()))
    return [
        Damaged(i, f"blank: contrast {each:.3g}, usual {usual:.3g}")
        for i, each in contrast.items()
        if each <= FLAT * usual
    ]


def _unlike(left: Thinned) -> list[Damaged]:
    """Find foreign slices, which differ from both neighbours by more than chance makes them.

    The differences of sound neighbours scatter the more, the fewer independent px a slice has.
    So the threshold is raised to what they scatter without the slices called foreign, until it
    stays.
    """
    ratio, threshold = _ratios(left), 0.0
    wanted, found = UNLIKE, []
    while wanted > threshold:
        threshold = wanted
        found = _foreign(list(left), ratio, threshold)
        bad = {each.index for each in found}
        wanted = 1 + SCATTER * _scatter([i for i in left if i not in bad], ratio)
    return found


def _foreign(
    order: list[int], ratio: Callable[[int, int], float], threshold: float
) -> list[Damaged]:
    """Find slices that differ from both neighbours, one after another.

    A sound slice differs from a foreign neighbour, too. So the slice that differs most from the
    slices around it is removed first, and the remaining ones are compared again.
    """
    found = []
    while len(order) >= 3:
        strange = []
        for k, i in enumerate(order):
            around = order[max(k - NEIGHBOURS, 0) : k] + order[k + 1 : k + 1 + NEIGHBOURS]
            least = min(ratio(i, j) for j in around if j in order[max(k - 1, 0) : k + 2])
            if least >= threshold:
                strange.append((float(np.mean([ratio(i, j) for j in around])), least, i))
        if not strange:
            break
        _, least, worst = max(strange)
        order.remove(worst)
        found.append(Damaged(worst, f"unlike its neighbours: {least:.2f} times the usual"))
    return found


def _scatter(order: list[int], ratio: Callable[[int, int], float]) -> float:
    """Measure how neighbours' differences scatter: standard deviation of their logarithms."""
    between = np.array([ratio(a, b) for a, b in itertools.pairwise(order)])
    return float(np.log(between[between > ALIKE]).std()) if (between > ALIKE).any() else 0.0


def _repeated(left: Thinned) -> list[Damaged]:
    """Find slices that repeat the slice before them; the first of the copies is kept."""
    ratio = _ratios(left)
    return [
        Damaged(b, f"repeats the slice before: {ratio(a, b):.2f} times the usual difference")
        for a, b in itertools.pairwise(left)
        if ratio(a, b) <= ALIKE
    ]


def _ratios(left: Thinned) -> Callable[[int, int], float]:
    """Make a function of two indices: the slices' difference / the usual one at their distance.

    The usual difference is the lower quartile without copies, which sound slices set even if a
    third is foreign. It is that of the whole stack or of the slices around, whichever is larger.
    """
    apart = functools.cache(lambda a, b: _difference(left[a], left[b]))
    ends = min(left), max(left)

    @functools.cache
    def usual(distance: int, low: int, high: int) -> float:
        pairs = [
            (a, a + distance) for a in range(low, high + 1) if a in left and a + distance in left
        ]
        known = [each for each in itertools.starmap(apart, pairs) if each > 0]
        if known:
            return float(np.quantile(known, 0.25, method="lower"))
        return usual(distance - 1, low, high) if distance > 1 else 0.0

    def ratio(one: int, other: int) -> float:
        a, b = sorted((one, other))
        distance = min(b - a, NEIGHBOURS)
        most = max(usual(distance, *ends), usual(distance, a - AROUND, a + AROUND))
        return apart(a, b) / most if most else 0.0

    return ratio


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of two slices, grey levels."""
    return float(np.sqrt(np.square(one - other).mean()))
