"""Every score of the report: one or many predictions against a reference volume.

Planes of three directions are scored one by one, then averaged. `xy`: the hidden slices. `xz` and
`yz`: every axial plane. There PSNR and SSIM use hidden rows only, because the observed rows of an
interpolation are exact and would raise its score; FSIM and CF-PSNR need whole planes.

Letters: D H W volume, N planes of R rows and C columns.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.metrics import fourier, image
from emgauss_jax.metrics.fsim import fsim_features, fsim_from_features

DIRECTIONS = ("xy", "xz", "yz")
SMALLEST = 2 * image.RADIUS + 1  # px; below it SSIM, FSIM and FSC are nan
FSIM_PLANES = 32  # evenly spaced in each direction: FSIM is slow, and neighbours are alike
BANDS = np.append(np.arange(1, 21) / 20, fourier.FULL_BAND)  # fractions of Nyquist

Volumes = dict[str, np.ndarray]


class Evaluation(NamedTuple):
    """Scores and curves of several predictions."""

    scores: dict[str, dict[str, float]]  # prediction -> metric -> value
    curves: dict[str, object]  # axis -> numbers, and curve -> prediction -> numbers


def evaluate(
    predictions: Volumes, reference: np.ndarray, hidden: np.ndarray, voxel_nm: object
) -> Evaluation:
    """Score several predictions of one reference.

    Args:
      predictions: name -> f32[D, H, W], intensity, data range 1.
      reference: f32[D, H, W].
      hidden: bool[D], the planes that were not observed and are scored.
      voxel_nm: nm, one number or (z, y, x).

    Returns:
      Scores: `psnr` (dB, pooled over the hidden voxels), `psnr_*`, `ssim_*`, `fsim_*`,
      `cf_psnr_*` for xy, xz, yz, `fsc_z`, `fsc_res_nm_*` (all directions, in which a voxel counts
      as its geometric mean) and `fsc_z_res_nm_*` (along z), each at the thresholds 0.143 and 0.5.
      A metric is nan if the volume is too small for it; the PSNR of identical data is inf.
      Curves: PSNR over z, both FSC curves, CF-PSNR of the hidden slices over the cut-off.

    Raises:
      InputError: the shapes differ, no plane is hidden, or a voxel is NaN or infinite.
    """
    reference, hidden = np.asarray(reference, np.float32), np.asarray(hidden, bool)
    predictions = {name: np.asarray(volume, np.float32) for name, volume in predictions.items()}
    _check(predictions, reference, hidden)
    scores: dict[str, dict[str, float]] = {}
    for name, volume in predictions.items():
        scores[name] = {"psnr": decibel(np.square(volume[hidden] - reference[hidden]))}
    for direction in DIRECTIONS:
        _score_planes(scores, predictions, reference, hidden, direction)
    curves: dict[str, object] = {
        "z": list(range(len(reference))),
        "hidden": hidden.tolist(),
        "psnr_z": {name: _psnr_z(volume, reference) for name, volume in predictions.items()},
        "band": BANDS.tolist(),
        "cf_psnr_xy": {
            name: fourier.cf_psnr_curve(volume[hidden], reference[hidden], BANDS).mean(0).tolist()
            for name, volume in predictions.items()
        },
    }
    curves |= _correlate(scores, predictions, reference, np.broadcast_to(voxel_nm, 3))
    return Evaluation(scores, curves)


def _check(predictions: Volumes, reference: np.ndarray, hidden: np.ndarray) -> None:
    if reference.ndim != 3 or 0 in reference.shape:
        raise InputError(f"reference: got shape {reference.shape}, wanted (D, H, W), none empty")
    if hidden.shape != reference.shape[:1] or not hidden.any():
        raise InputError(
            f"hidden: got shape {hidden.shape} with {hidden.sum()} planes to score, "
            f"wanted shape {reference.shape[:1]} with at least one"
        )
    for name, volume in {"reference": reference, **predictions}.items():
        if volume.shape != reference.shape:
            raise InputError(f"{name}: got shape {volume.shape}, wanted {reference.shape}")
        if broken := int(np.size(volume) - np.isfinite(volume).sum()):
            raise InputError(f"{name}: got {broken} voxels that are NaN or inf, wanted none")


def decibel(squares: np.ndarray) -> float:
    """Convert squared errors of any shape into one PSNR, dB, for data range 1."""
    return float(_decibel(squares.mean(dtype=np.float64)))


def _decibel(error: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(error)


def _psnr_z(volume: np.ndarray, reference: np.ndarray) -> list[float]:
    error = np.square(volume - reference).mean(axis=(1, 2), dtype=np.float64)
    return _decibel(error).tolist()


def _planes(volume: np.ndarray, hidden: np.ndarray, direction: str) -> np.ndarray:
    """Cut a volume into planes f32[N, R, C]; axial planes keep z as their rows."""
    if direction == "xy":
        return volume[hidden]
    return np.ascontiguousarray(np.moveaxis(volume, 1 if direction == "xz" else 2, 0))


@jax.jit
def _ssim_xy(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(jax.lax.map(lambda pair: image.ssim(*pair), (a, b)))


@jax.jit
def _ssim_rows(a: jax.Array, b: jax.Array, rows: jax.Array) -> jax.Array:
    def one(pair):
        return jnp.sum(image.ssim_map(*pair).mean(axis=1) * rows) / jnp.sum(rows)

    return jnp.mean(jax.lax.map(one, (a, b)))


def _score_planes(
    scores: dict, predictions: Volumes, reference: np.ndarray, hidden: np.ndarray, direction: str
) -> None:
    """Add the metrics of one direction; the reference's features are computed once for all."""
    target = _planes(reference, hidden, direction)
    rows = np.ones(target.shape[1], bool) if direction == "xy" else hidden
    large = min(target.shape[1:]) >= SMALLEST
    count = min(len(target), FSIM_PLANES)
    chosen = np.linspace(0, len(target) - 1, count).round().astype(int)
    features = fsim_features(target[chosen]) if large else None
    for name, volume in predictions.items():
        planes, ssim, fsim = _planes(volume, hidden, direction), np.nan, np.nan
        error = np.square(planes[:, rows] - target[:, rows]).mean(axis=(1, 2), dtype=np.float64)
        if large:
            pair = planes, target
            ssim = _ssim_xy(*pair) if direction == "xy" else _ssim_rows(*pair, rows)
            fsim = np.mean(fsim_from_features(fsim_features(planes[chosen]), features))
        scores[name] |= {
            f"psnr_{direction}": float(_decibel(error).mean()),
            f"ssim_{direction}": float(ssim),
            f"fsim_{direction}": float(fsim),
            f"cf_psnr_{direction}": float(fourier.cf_psnr(planes, target).mean()),
        }


def _correlate(
    scores: dict, predictions: Volumes, reference: np.ndarray, voxel_nm: np.ndarray
) -> dict[str, object]:
    """Add the Fourier shell correlations to the scores and return their curves."""
    large = min(reference.shape) >= SMALLEST
    curves: dict[str, dict] = {"fsc": {}, "fsc_z": {}}
    frequency = np.arange(1, fourier.SHELLS + 1) / (2.0 * fourier.SHELLS)
    sizes = {"fsc": float(np.prod(voxel_nm) ** (1 / 3)), "fsc_z": float(voxel_nm[0])}
    for name, volume in predictions.items():
        for kind, cone in (("fsc", None), ("fsc_z", fourier.CONE)):
            curve = np.full(fourier.SHELLS, np.nan)
            if large:
                _, curve = fourier.fsc(volume, reference, cone=cone)
            curves[kind][name] = curve.tolist()
            for label, threshold in (("0143", 0.143), ("05", 0.5)):
                resolution = fourier.resolution_nm(frequency, curve, threshold, sizes[kind])
                scores[name][f"{kind}_res_nm_{label}"] = resolution
        scores[name]["fsc_z"] = fourier.mean_of_lower_half(np.array(curves["fsc_z"][name]))
    return {"frequency": frequency.tolist(), **curves}
