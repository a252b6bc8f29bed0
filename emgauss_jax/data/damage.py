"""Which slices of a stack are damaged, as far as its own statistics can tell.

Nothing is replaced here: what is found is listed, and left out of the fit like slices that a config
calls missing. Letters: K observed slices, h w thinned size in px.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.boxes import Box
from emgauss_jax.data.observed import Observed

THINNED = 256  # px of a slice that are looked at, along each axis
FLAT = 0.2  # contrast, of the stack's, under which a slice is blank
ALIKE = 0.2  # difference from slice to slice, of the stack's, under which one is repeated
UNLIKE = 1.5  # times the difference of its neighbours from each other
MOST = 1 / 3  # of a stack that may be damaged


class Damaged(NamedTuple):
    """A slice and what is wrong with it."""

    index: int  # from the start of the stack, after crop and simulation
    reason: str


def find_damaged(observed: Observed) -> list[Damaged]:
    """Look for slices that are not finite, blank, repeated, or unlike both their neighbours.

    Args:
      observed: the stack; each slice that is not called missing already is read once.

    Returns:
      What was found, by index.

    Raises:
      ValueError: more than a third of the stack is damaged: nothing to tell damage by.
    """
    good = np.flatnonzero(observed.plan.valid).tolist()
    thinned = {index: _thin(observed, index) for index in good}
    found: list[Damaged] = []
    for judge in (_not_finite, _blank, _repeated, _unlike):
        left = [index for index in good if index not in {each.index for each in found}]
        if len(left) >= 3:
            found += judge(left, thinned)
    if len(found) > MOST * len(good):
        raise ValueError(
            f"detect_missing: got {len(found)} of {len(good)} slices that look damaged, wanted a "
            "third at most: there is nothing to tell damage by; name them in data.missing"
        )
    return sorted(found)


def _thin(observed: Observed, index: int) -> np.ndarray:
    """Read a slice and keep some of its px, f64[h, w], grey levels."""
    whole = observed.part(Box((index, 0, 0), (1, *observed.shape[1:]))).slices[0]
    step = max(1, -(-max(whole.shape) // THINNED))
    return whole[::step, ::step].astype(np.float64)


def _not_finite(left: list[int], thinned: dict[int, np.ndarray]) -> list[Damaged]:
    return [Damaged(i, "not finite") for i in left if not np.isfinite(thinned[i]).all()]


def _blank(left: list[int], thinned: dict[int, np.ndarray]) -> list[Damaged]:
    contrast = {i: thinned[i].std() for i in left}
    usual = np.median(list(contrast.values()))
    return [
        Damaged(i, f"blank: contrast {contrast[i]:.3g}, usual {usual:.3g}")
        for i in left
        if contrast[i] <= FLAT * usual
    ]


def _repeated(left: list[int], thinned: dict[int, np.ndarray]) -> list[Damaged]:
    """Find copies of the slice before; the first of them is kept."""
    apart = {b: _difference(thinned, a, b) for a, b in itertools.pairwise(left)}
    usual = np.median(list(apart.values()))
    return [
        Damaged(i, f"repeats the slice before: difference {d:.3g}, usual {usual:.3g}")
        for i, d in apart.items()
        if d <= ALIKE * usual
    ]


def _unlike(left: list[int], thinned: dict[int, np.ndarray]) -> list[Damaged]:
    """Find slices farther from both neighbours than these are from each other, the worst first."""
    left, found = list(left), []
    apart = functools.cache(functools.partial(_difference, thinned))
    while len(left) >= 3:
        worst, share = max(
            ((k, _strangeness(left, k, apart)) for k in range(len(left))),
            key=lambda each: each[1],
        )
        if share < UNLIKE:
            return found
        reason = f"unlike its neighbours: {share:.2f} times their difference from each other"
        found.append(Damaged(left.pop(worst), reason))
    return found


def _strangeness(left: list[int], k: int, apart: Callable[[int, int], float]) -> float:
    """Compare a slice's difference from its neighbours with their own from each other.

    At an end these are the nearest one and another that is at least as far away from it.
    """
    if 0 < k < len(left) - 1:
        around = [left[k - 1], left[k + 1]]
    else:
        own, nearest, *others = left if k == 0 else left[::-1]
        far = [i for i in others if abs(i - nearest) >= abs(nearest - own)]
        around = [nearest, *far[:1]]
    if len(around) < 2:
        return 0.0
    nearest = min(apart(*sorted((left[k], i))) for i in around)
    return nearest / max(apart(*sorted(around)), 1e-12)


def _difference(thinned: dict[int, np.ndarray], one: int, other: int) -> float:
    """Root mean square difference of two slices, grey levels."""
    return float(np.sqrt(np.square(thinned[one] - thinned[other]).mean()))
