"""Interpolation along z: the baselines that every learned method is compared with.

Letters: K observed slices, V valid ones, Q queried planes, H W lateral size in px.
Every kind is linear in the slices, hence one matrix f64[Q, V]. This is host-side numpy, for blocks
of concrete arrays: call it outside `jax.jit` and `jax.vmap`.
"""

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.slice_profile import SliceProfile, every_second
from emgauss_jax.methods.base import Block

BLUR_CANDIDATES = (0.7, 1.0, 1.5, 2.0)  # px
BLUR_REACH = 8  # px, what the widest of them looks at: SciPy cuts a Gaussian at 4 sigma
SPLINE_REACH = 16  # slices: beyond, a cubic spline weighs less than float32 resolves (0.27^16)
DEFAULT_BLUR = 1.0  # px, if there are too few valid slices to hide one


def weights(kind: str, z_valid: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Compute the weight of every valid slice in every queried plane.

    Args:
      kind: "nearest" (a tie goes to the lower slice), "linear", "cubic" (not-a-knot spline) or
        "cubic_mean" (for averaged slices: the mean of the result over a valid slice's own interval
        [z - 0.5, z + 0.5] is that slice).
      z_valid: f[V], depths of the valid slices, ascending, input-slice units (whole numbers).
      z: f[Q], depths of the planes; clamped to the end slices, with "cubic_mean" to the ends of
        their intervals.

    Returns:
      f64[Q, V], rows summing to 1. With few slices the spline has the highest order they allow.

    Source: data protocol of the averaging task: the derivative of a cubic spline through the
      cumulative sum along z. A missing slice in the sum is filled linearly.
    """
    z_valid, z = np.asarray(z_valid, np.float64), np.asarray(z, np.float64)
    one_hot = np.eye(len(z_valid))
    if len(z_valid) == 1:
        return np.ones((len(z), 1))
    if kind == "cubic_mean":
        return _mean_preserving(z_valid, z)
    z = np.clip(z, z_valid[0], z_valid[-1])
    if kind == "nearest":
        return one_hot[np.abs(z[:, None] - z_valid).argmin(axis=1)]
    if kind == "linear":
        return np.stack([np.interp(z, z_valid, column) for column in one_hot], axis=1)
    if kind == "cubic":
        return CubicSpline(z_valid, one_hot)(z)
    raise InputError(f"interpolation: got {kind!r}, wanted nearest, linear, cubic or cubic_mean")


def _mean_preserving(z_valid: np.ndarray, z: np.ndarray) -> np.ndarray:
    every = np.arange(z_valid[0], z_valid[-1] + 1)
    filled = weights("linear", z_valid, every)
    edges = np.append(every - 0.5, every[-1] + 0.5)
    total = np.concatenate([np.zeros((1, len(z_valid))), filled.cumsum(axis=0)])
    # Natural ends let the intensity level out; a not-a-knot spline overshoots, 0.3 dB worse.
    spline = CubicSpline(edges, total, bc_type="natural")
    return spline(np.clip(z, edges[0], edges[-1]), 1)


def _valid(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Take the valid slices, f32[V, H, W], and their depths, f64[V]."""
    keep = np.asarray(block.valid, bool)
    return np.asarray(block.slices, np.float32)[keep], np.asarray(block.z, np.float64)[keep]


def _combine(kind: str, slices: np.ndarray, z_valid: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.tensordot(weights(kind, z_valid, z).astype(np.float32), slices, axes=1)


def _blur_depth(z_valid: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute sqrt(d / (gap / 2)), 0 on a valid slice, at most 1; and the gap. Both f64[Q]."""
    gaps = np.diff(z_valid)
    gap = gaps[np.clip(np.searchsorted(z_valid, z) - 1, 0, len(gaps) - 1)]
    distance = np.abs(np.asarray(z)[:, None] - z_valid).min(axis=1)
    return np.sqrt(np.minimum(distance / (gap / 2), 1.0)), gap


def _blur_planes(planes: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Blur each plane laterally by its own sigma, px; sigma 0 leaves a plane unchanged."""
    blurred = [gaussian_filter(p, s) if s > 0 else p for p, s in zip(planes, sigmas, strict=True)]
    return np.stack(blurred) if blurred else planes


def between_slices(
    slices: np.ndarray, z_valid: np.ndarray, z: np.ndarray, profile: SliceProfile
) -> np.ndarray:
    """Compute the standard deviation of a voxel that randomly equals either neighbouring slice.

    The probability of a slice is its interpolation weight; for averaged slices, whose planes are
    all unknown, 1/2. Beyond the end slices the deviation grows as it does near a slice.

    Args:
      slices: f32[V, H, W], two or more.
      z_valid: f32[V], depths of the slices, input-slice units.
      z: f64[Q], depths of the planes, input-slice units.
      profile: of the slices.

    Returns:
      f32[Q, H, W], intensity.
    """
    lower = np.clip(np.searchsorted(z_valid, z, side="right") - 1, 0, len(z_valid) - 2)
    share = (z - z_valid[lower]) / (z_valid[lower + 1] - z_valid[lower])
    doubt = profile.doubt(share).astype(np.float32)
    return doubt[:, None, None] * np.abs(slices[lower + 1] - slices[lower])


def choose_blur(block: Block) -> float:
    """Choose the blur of `linear_blur` from the observed slices alone.

    Every second valid slice is hidden and interpolated from the others, across a gap about twice
    the real one. Structures run obliquely, so the uncertainty of their place grows with the gap: a
    doubled gap needs twice the blur. Each candidate s is therefore tried with its sigma times
    (hidden gap / median gap), and the best s is used unchanged on real gaps.

    Args:
      block: the observed slices.

    Returns:
      s in px, one of `BLUR_CANDIDATES`; `DEFAULT_BLUR` with fewer than 3 valid slices.
    """
    slices, z_valid = _valid(block)
    if len(z_valid) < 3:
        return DEFAULT_BLUR
    hidden = every_second(len(z_valid))
    kept = np.setdiff1d(np.arange(len(z_valid)), hidden)
    z = z_valid[hidden]
    planes = _combine("linear", slices[kept], z_valid[kept], z)
    depth, gap = _blur_depth(z_valid[kept], z)
    unit = depth * gap / np.median(np.diff(z_valid))

    def error(s: float) -> float:
        return float(np.mean((_blur_planes(planes, s * unit) - slices[hidden]) ** 2))

    return min(BLUR_CANDIDATES, key=error)


def linear_blur(block: Block, z: np.ndarray, s: float) -> np.ndarray:
    """Interpolate linearly, then blur by sigma = s sqrt(d / (gap / 2)), d to the nearest slice.

    Args:
      block: the observed slices.
      z: f[Q], depths, input-slice units.
      s: px, the blur in the middle of a gap.

    Returns:
      f32[Q, H, W].
    """
    slices, z_valid = _valid(block)
    z = np.asarray(z, np.float64)
    planes = _combine("linear", slices, z_valid, z)
    return _blur_planes(planes, s * _blur_depth(z_valid, z)[0]) if len(z_valid) > 1 else planes


TABLE = ("nearest", "linear", "linear_blur", "cubic")


def rivals(profile: SliceProfile) -> tuple[str, ...]:
    """Name the interpolations that a report scores beside the method."""
    return tuple(dict.fromkeys((*TABLE, profile.interpolation)))


def best_free(profile: SliceProfile) -> str:
    """Name the best interpolation that needs no learning, for slices of a profile."""
    return "linear_blur" if profile.interpolation == "linear" else profile.interpolation


def baselines(block: Block, z: np.ndarray, names: Sequence[str] = TABLE) -> dict[str, np.ndarray]:
    """Predict the same planes with several interpolations.

    Args:
      block: the observed slices.
      z: f[Q], depths, input-slice units.
      names: kinds of `weights`, and "linear_blur".

    Returns:
      name -> f32[Q, H, W].
    """
    return {name: interpolated(name, block, z) for name in names}


def interpolated(name: str, block: Block, z: np.ndarray, blur: float | None = None) -> np.ndarray:
    """Predict planes with one interpolation.

    Args:
      name: a kind of `weights`, or "linear_blur".
      block: the observed slices.
      z: f[Q], depths, input-slice units.
      blur: px, of "linear_blur"; None: chosen from the block.

    Returns:
      f32[Q, H, W].
    """
    if name == "linear_blur":
        return linear_blur(block, z, choose_blur(block) if blur is None else blur)
    return _combine(name, *_valid(block), z)
