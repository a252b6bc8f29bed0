"""How far to believe what fills in planes, measured where the truth along z has been observed.

At half the resolution in all directions every second slice is hidden: what lies there is known, the
gaps are as many px wide as the real ones, and tissue moves by as many px across them.
Letters: V valid slices, P planes, H W field in px.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from emgauss_jax.methods.lateral.pairs import halve

FEWEST = 5  # valid slices: three are left where every second one is hidden
BASE = "interpolation"  # what is believed where nothing else is
NETWORK = "network"  # it fills in plain gaps alone


class Filled(NamedTuple):
    """Planes, and how uncertain their maker is of them."""

    mean: np.ndarray  # f32[P, H, W], intensity
    spread: np.ndarray  # f32[P, H, W], a standard deviation; 0 where there is one view alone


class Trust(NamedTuple):
    """What observed slices say of those that have not seen them."""

    weights: dict[str, float]  # of each in a plain gap; their sum is 1
    wide: dict[str, float]  # where a slice is missing
    scale: float  # error of the mixture by its spread, both root mean squares
    decibel: dict[str, float]  # PSNR of each, and of "all" as weighted


def hidden_slices(z: np.ndarray, thick: bool) -> np.ndarray:
    """Choose the slices to judge on, at half the resolution: indices of valid ones.

    Every second one between two others; not beside a missing one, whose gap is no plain one. Of
    thick slices all, because none of them is to be seen in the means of two.

    Args:
      z: f32[V], depths of the valid slices.
      thick: slices are means of planes.
    """
    if len(z) < FEWEST:
        return np.arange(0)
    if thick:
        return np.arange(len(z) // 2 * 2)
    index, gaps = np.arange(1, len(z) - 1, 2), np.diff(z)
    return index[(gaps[index - 1] == 1) & (gaps[index] == 1)]


def coarsen(slices: np.ndarray, thick: bool) -> tuple[np.ndarray, np.ndarray]:
    """Halve the resolution of a stack in all directions.

    Args:
      slices: f32[V, H, W].
      thick: slices are means of planes, and so are those of the coarser stack.

    Returns:
      Every second slice, or the means of two; and all slices as they should come out of them.
    """
    fine = np.asarray(halve(slices))
    if thick:
        fine = fine[: len(fine) // 2 * 2]
        return (fine[::2] + fine[1::2]) / 2, fine
    return fine[::2], fine[: (len(fine) - 1) // 2 * 2 + 1]


def mix(filled: Mapping[str, Filled], weights: Mapping[str, float | np.ndarray]) -> Filled:
    """Mix planes: their weighted mean, and the deviation of everything that enters it.

    Args:
      filled: by name.
      weights: for each, one number or f32[P, 1, 1]; their sum is 1.
    """
    mean = sum(weights[name] * one.mean for name, one in filled.items())
    variance = sum(
        weights[name] * (np.square(one.spread) + np.square(one.mean - mean))
        for name, one in filled.items()
    )
    return Filled(mean, np.sqrt(variance))


def weigh(filled: Mapping[str, Filled], truth: np.ndarray) -> Trust:
    """Weigh by least squares, no weight below 0.

    Args:
      filled: hidden slices as each fills them in, `BASE` among them.
      truth: f32[P, H, W], those slices.
    """
    weights = _least_squares(filled, truth)
    rest = {name: one for name, one in filled.items() if name != NETWORK}
    mixed = mix(filled, weights)
    errors = {name: one.mean - truth for name, one in {**filled, "all": mixed}.items()}
    squares = {name: max(float(np.square(error).mean()), 1e-12) for name, error in errors.items()}
    scale = np.sqrt(squares["all"] / max(float(np.square(mixed.spread).mean()), 1e-12))
    return Trust(
        weights=weights,
        wide=_least_squares(rest, truth),
        scale=float(scale),
        decibel={name: float(-10 * np.log10(square)) for name, square in squares.items()},
    )


def _least_squares(filled: Mapping[str, Filled], truth: np.ndarray) -> dict[str, float]:
    """Weigh what each adds to the interpolation; shrink to a sum of 1 where it is more."""
    base = filled[BASE].mean
    names = [name for name in filled if name != BASE]
    if not names:
        return {BASE: 1.0}
    more = np.stack([(filled[name].mean - base).ravel() for name in names], axis=-1, dtype=float)
    share = nnls(more.T @ more, more.T @ (truth - base).ravel())[0]
    share /= max(share.sum(), 1.0)
    return {BASE: 1 - float(share.sum()), **dict(zip(names, share.tolist(), strict=True))}


def describe(trust: Trust) -> str:
    """Say in one line what is believed, and why."""
    parts = ", ".join(f"{name} {weight:.2f}" for name, weight in trust.weights.items())
    scores = ", ".join(f"{name} {value:.2f}" for name, value in trust.decibel.items())
    return f"{parts}; on hidden slices at half the resolution, dB: {scores}"
