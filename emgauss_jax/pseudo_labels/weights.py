"""How far to believe what fills in planes, measured where the truth along z has been observed.

At half the resolution in all directions every second slice is hidden: what lies there is known, the
gaps are as many px wide as the real ones, and tissue moves by as many px across them.
Letters: V valid slices, P planes, H W field in px.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from emgauss_jax.methods.lateral_pairs import halve

FEWEST = 5  # valid slices: three of five thin ones are left where every second one is hidden
BASE = "interpolation"  # what is believed where nothing else is
NETWORK = "network"  # of the stack itself; it fills in plain gaps alone
OTHERS = "trained network"  # of other stacks; likewise


class Filled(NamedTuple):
    """Planes, and how uncertain their maker is of them."""

    mean: np.ndarray  # f32[P, H, W], intensity
    spread: np.ndarray  # f32[P, H, W], a standard deviation: how far its views differ


class Trust(NamedTuple):
    """What observed slices say of all that fill in planes."""

    weights: dict[str, float]  # of each in a plain gap; their sum is 1
    scale: float  # error of that mixture by its spread, both root mean squares
    wide_weights: dict[str, float]  # without the network, where a slice is missing
    wide_scale: float
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
    """Weigh by least squares, no weight below 0 and their sum 1; all of it across plain gaps.

    Args:
      filled: hidden slices as each fills them in, `BASE` among them.
      truth: f32[P, H, W], those slices.
    """
    rest = {name: one for name, one in filled.items() if name not in (NETWORK, OTHERS)}
    weights, wide_weights = least_squares(filled, truth), least_squares(rest, truth)
    mixed = mix(filled, weights)
    means = {name: one.mean for name, one in filled.items()} | {"all": mixed.mean}
    return Trust(
        weights=weights,
        scale=_scale(mixed, truth),
        wide_weights=wide_weights,
        wide_scale=_scale(mix(rest, wide_weights), truth),
        decibel={name: -10 * float(np.log10(_square(v - truth))) for name, v in means.items()},
    )


def least_squares(filled: Mapping[str, Filled], truth: np.ndarray) -> dict[str, float]:
    """Find the weights, none below 0 and their sum 1, of the mixture nearest to the truth."""
    errors = np.stack([(one.mean - truth).ravel() for one in filled.values()], axis=1, dtype=float)
    triangle = np.linalg.qr(errors, mode="r")  # as long as the errors, in as few rows as columns
    # That the sum be 1 is one more row, so heavy that nothing else can argue with it.
    heavy = 1e4 * (np.abs(triangle).max() + 1e-12)
    rows = np.vstack([triangle, np.full(len(filled), heavy)])
    share = nnls(rows, np.append(np.zeros(len(triangle)), heavy))[0]
    return dict(zip(filled, (share / share.sum()).tolist(), strict=True))


def _square(values: np.ndarray) -> float:
    """Mean square, never quite 0."""
    return max(float(np.square(values).mean()), 1e-12)


def _scale(mixed: Filled, truth: np.ndarray) -> float:
    return float(np.sqrt(_square(mixed.mean - truth) / _square(mixed.spread)))


def describe(trust: Trust) -> str:
    """Say in one line what is believed, and why."""
    parts = ", ".join(f"{name} {weight:.2f}" for name, weight in trust.weights.items())
    scores = ", ".join(f"{name} {value:.2f}" for name, value in trust.decibel.items())
    return f"{parts}; on hidden slices at half the resolution, dB: {scores}"
