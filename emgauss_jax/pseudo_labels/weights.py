"""Weigh the sources by their errors on held-out slices.

The stack is halved in y, x and z, so that held-out slices lie in gaps as many px wide as the real
gaps, and tissue moves by as many px across a gap.
Letters: V valid slices, P planes, H W field in px.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.pseudo_labels.source import Filled

FEWEST = 5  # valid slices: three of five thin ones are left where every second one is held out


class SourceWeights(NamedTuple):
    """Weights and scores of the sources, measured on held-out slices."""

    weights: dict[str, float]  # of each source in a gap without a missing slice; their sum is 1
    scale: float  # error / spread of the mixture with these weights, both root mean squares
    wide_weights: dict[str, float]  # of each source in a gap with a missing slice
    wide_scale: float  # error / spread of the mixture with `wide_weights`
    decibel: dict[str, float]  # PSNR of each source, and of "all", the mixture


def judging_slices(z: np.ndarray, profile: SliceProfile) -> np.ndarray:
    """Choose the slices that sources are judged on: indices into V, none if V < FEWEST.

    Args:
      z: f32[V], depths of the valid slices.
      profile: of the slices.
    """
    return profile.held_out(z) if len(z) >= FEWEST else np.arange(0)


def mix(filled: Mapping[str, Filled], weights: Mapping[str, float | np.ndarray]) -> Filled:
    """Mix planes: their weighted mean, and the standard deviation among and within sources.

    Args:
      filled: name -> planes of the source.
      weights: name -> one number or f32[P, 1, 1]; their sum is 1.
    """
    mean = sum(weights[name] * one.mean for name, one in filled.items())
    variance = sum(
        weights[name] * (np.square(one.spread) + np.square(one.mean - mean))
        for name, one in filled.items()
    )
    return Filled(mean, np.sqrt(variance))


def weigh(
    filled: Mapping[str, Filled], truth: np.ndarray, plain_gaps_only: Collection[str] = ()
) -> SourceWeights:
    """Weigh sources by least squares, no weight below 0 and their sum 1.

    Args:
      filled: name -> the held-out slices as the source fills them in.
      truth: f32[P, H, W], the held-out slices.
      plain_gaps_only: sources with weight 0 in a gap with a missing slice; not all sources.
    """
    rest = {name: one for name, one in filled.items() if name not in plain_gaps_only}
    weights, wide_weights = least_squares(filled, truth), least_squares(rest, truth)
    mixed = mix(filled, weights)
    means = {name: one.mean for name, one in filled.items()} | {"all": mixed.mean}
    return SourceWeights(
        weights=weights,
        scale=_scale(mixed, truth),
        wide_weights=wide_weights,
        wide_scale=_scale(mix(rest, wide_weights), truth),
        decibel={name: -10 * float(np.log10(_square(v - truth))) for name, v in means.items()},
    )


def least_squares(filled: Mapping[str, Filled], truth: np.ndarray) -> dict[str, float]:
    """Find the weights, none below 0 and their sum 1, of the mixture nearest to the truth."""
    errors = np.stack([(one.mean - truth).ravel() for one in filled.values()], axis=1, dtype=float)
    # QR: a row for each source, with the same norms and products as the errors.
    triangle = np.linalg.qr(errors, mode="r")
    # One more row asks for a sum of 1, weighted so heavily that it holds almost exactly.
    heavy = 1e4 * (np.abs(triangle).max() + 1e-12)
    rows = np.vstack([triangle, np.full(len(filled), heavy)])
    share = nnls(rows, np.append(np.zeros(len(triangle)), heavy))[0]
    return dict(zip(filled, (share / share.sum()).tolist(), strict=True))


def _square(values: np.ndarray) -> float:
    """Compute the mean square, at least 1e-12."""
    return max(float(np.square(values).mean()), 1e-12)


def _scale(mixed: Filled, truth: np.ndarray) -> float:
    return float(np.sqrt(_square(mixed.mean - truth) / _square(mixed.spread)))


def describe(judged: SourceWeights) -> str:
    """Format the weights and scores of the sources in one line."""
    parts = ", ".join(f"{name} {weight:.2f}" for name, weight in judged.weights.items())
    scores = ", ".join(f"{name} {value:.2f}" for name, value in judged.decibel.items())
    return f"{parts}; on held-out slices at half the resolution, dB: {scores}"
