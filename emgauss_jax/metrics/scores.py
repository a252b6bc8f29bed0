"""Which planes and windows of a volume are scored, and the scores of the windows.

Planes of three directions are scored one by one, then averaged. `xy`: the hidden slices. `xz` and
`yz`: every axial plane. There PSNR and SSIM (`metrics/running.py`, every voxel) use hidden rows
only, because the observed rows of an interpolation are exact and would raise its score; FSIM and
CF-PSNR need whole planes. FSIM is that of evenly spaced planes; CF-PSNR and the Fourier shell
correlations are means over windows, which a small volume has but one of.

Letters: D H W a window, S shells, R cut-offs.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.tiling import Box
from emgauss_jax.metrics import fourier, image

DIRECTIONS = ("xy", "xz", "yz")
SMALLEST = 2 * image.RADIUS + 1  # px; below it SSIM, FSIM and FSC are nan
FSIM_PLANES = 64  # evenly spaced in each direction: FSIM is slow, and neighbours are alike
BANDS = np.append(np.arange(1, 21) / 20, fourier.FULL_BAND)  # fractions of Nyquist
WINDOW = 2**24  # voxels; a volume that has no more is one window
EDGES = (128, 256, 256)  # voxels of the windows of a larger one


def chosen_planes(count: int) -> np.ndarray:
    """Choose the planes whose FSIM is measured: all of `count`, or evenly spaced ones."""
    return np.linspace(0, count - 1, min(count, FSIM_PLANES)).round().astype(int)


def windows(shape: Sequence[int]) -> tuple[Box, ...]:
    """Choose the windows in which spectra are compared: one, or at most two along every axis.

    Args:
      shape: D, H, W of the volume, voxels. With more than `WINDOW` voxels its windows have `EDGES`,
        or all of a shorter axis, and lie around the middles of equal parts of the volume.
    """
    if math.prod(shape) <= WINDOW:
        return (Box((0, 0, 0), tuple(shape)),)
    size = tuple(map(min, shape, EDGES))
    starts = []
    for length, edge in zip(shape, size, strict=True):
        count = min(2, round(length / edge))
        middles = [(2 * i + 1) * length // (2 * count) for i in range(count)]
        starts.append([min(max(0, at - edge // 2), length - edge) for at in middles])
    return tuple(Box(start, size) for start in itertools.product(*starts))


def describe_windows(shape: Sequence[int]) -> str:
    """Say which voxels the spectra are those of."""
    boxes = windows(shape)
    if len(boxes) == 1 and boxes[0].shape == tuple(shape):
        return "all voxels"
    size = " x ".join(map(str, boxes[0].shape))
    at = ", ".join(f"({', '.join(map(str, box.start))})" for box in boxes)
    plural = "s" if len(boxes) > 1 else ""
    return f"mean over {len(boxes)} window{plural} of {size} voxels, at (z, y, x) {at}"


class Spectral(NamedTuple):
    """What spectra of a window tell of a prediction, or the mean of several windows."""

    bands: np.ndarray  # f64[R], CF-PSNR of the hidden slices by cut-off; nan where none is hidden
    cf_psnr: np.ndarray  # f64[3], xy, xz, yz; nan likewise
    curves: np.ndarray  # f64[2, S], Fourier shell correlation: in all directions, and along z


def spectral_reference(reference: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Transform a window f32[D, H, W] of the reference; None if it is too small.

    Returns:
      Its spectrum, and the mean that was subtracted.
    """
    if min(reference.shape) < SMALLEST:
        return None
    mean = float(np.mean(reference, dtype=np.float64))
    return fourier.tapered_spectrum(reference, mean), mean


def spectral(
    prediction: np.ndarray,
    reference: np.ndarray,
    hidden: np.ndarray,
    transformed: tuple[np.ndarray, float] | None,
) -> Spectral:
    """Compare the spectra of a window.

    Args:
      prediction: f32[D, H, W], intensity.
      reference: f32[D, H, W].
      hidden: bool[D].
      transformed: `spectral_reference` of the reference.
    """
    curves = np.full((2, fourier.SHELLS), np.nan)
    if transformed is not None:
        spectrum = fourier.tapered_spectrum(prediction, transformed[1])
        width, cones = reference.shape[2], (None, fourier.CONE)
        curves = fourier.shell_correlations(spectrum, transformed[0], width, cones)
    pair = prediction, reference
    bands, xy = np.full(len(BANDS), np.nan), np.nan
    if hidden.any():
        radii = np.append(BANDS, fourier.CUTOFF)
        by_radius = fourier.cf_psnr_curve(*(each[hidden] for each in pair), radii).mean(axis=0)
        bands, xy = by_radius[:-1], by_radius[-1]
    axial = [
        fourier.cf_psnr(*(np.moveaxis(each, axis, 0) for each in pair)).mean() for axis in (1, 2)
    ]
    return Spectral(bands, np.array([xy, *axial]), curves)


def mean_spectral(found: Sequence[Spectral]) -> Spectral:
    """Average over windows; what some of them cannot tell is the mean of the others."""
    return Spectral(*(_mean(np.stack(each)) for each in zip(*found, strict=True)))


def _mean(values: np.ndarray) -> np.ndarray:
    """Average over the first axis what is not nan; nan where all is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)


def spectral_scores(found: Spectral, voxel_nm: np.ndarray) -> dict[str, float]:
    """Name the scores that spectra give.

    Args:
      found: means over the windows.
      voxel_nm: f64[3], (z, y, x), nm.

    Returns:
      `cf_psnr_*` for xy, xz, yz, `fsc_z`, `fsc_res_nm_*` (all directions, in which a voxel counts
      as its geometric mean) and `fsc_z_res_nm_*` (along z), each at the thresholds 0.143 and 0.5.
    """
    scores = dict(
        zip((f"cf_psnr_{plane}" for plane in DIRECTIONS), found.cf_psnr.tolist(), strict=True)
    )
    sizes = {"fsc": float(np.prod(voxel_nm) ** (1 / 3)), "fsc_z": float(voxel_nm[0])}
    for (kind, size), curve in zip(sizes.items(), found.curves, strict=True):
        for label, threshold in (("0143", 0.143), ("05", 0.5)):
            at = fourier.resolution_nm(frequencies(), curve, threshold, size)
            scores[f"{kind}_res_nm_{label}"] = at
    return scores | {"fsc_z": fourier.mean_of_lower_half(found.curves[1])}


def frequencies() -> np.ndarray:
    """List the frequencies of the shells, f64[S], cycles per voxel."""
    return np.arange(1, fourier.SHELLS + 1) / (2.0 * fourier.SHELLS)
