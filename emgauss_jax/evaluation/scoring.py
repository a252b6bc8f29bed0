"""Every score of a comparison, with a bound on memory: nothing is read but boxes.

PSNR and SSIM are those of every voxel, FSIM that of evenly spaced planes, and spectra those of
windows (`metrics/scores.py`). Letters: D H W reference.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.tiling import Box, even_boxes
from emgauss_jax.evaluation.comparison import (
    Comparison,
    predict,
    read,
    read_prediction,
)
from emgauss_jax.evaluation.fsim_planes import fsim_scores
from emgauss_jax.metrics import calibration, running, scores
from emgauss_jax.metrics.running import Field, Sums
from emgauss_jax.metrics.scores import Spectral

PLANES = 32  # of a box
AREA = 2**17  # px of them; a box and what is made of it take about 0.3 GiB
NARROWEST = 64  # rows of a box of whole rows
MEMORY = "at most about 1 GiB beside the program, for volumes of any size"


class Expected(NamedTuple):
    """Standard errors of the prediction."""

    box: Box  # where they are known
    read: Callable[[Box], np.ndarray]  # f32[d, h, w] of a part of it, intensity


def boxes_of(shape: Sequence[int], planes: int = PLANES, area: int = AREA) -> list[Box]:
    """Cut a volume into boxes: of whole planes, else of whole rows, else of both cut; z fastest.

    Args:
      shape: D, H, W, voxels.
      planes: most planes of a box.
      area: most px of its planes.
    """
    _, height, width = shape
    if height * width <= area:
        size = (planes, height, width)
    elif width * NARROWEST <= area:
        size = (planes, area // width, width)
    else:
        edge = max(1, int(area**0.5))
        size = (planes, edge, edge)
    return sorted(even_boxes(shape, size), key=lambda box: (box.start[1:], box.start[0]))


def score(
    compared: Comparison,
    voxel_nm: np.ndarray,
    border: tuple[np.ndarray, np.ndarray] | None = None,
    expected: Expected | None = None,
    planes: int = PLANES,
    area: int = AREA,
) -> dict:
    """Score a prediction, and every interpolation of the slices it was made from.

    Args:
      compared: what is compared.
      voxel_nm: f64[3], (z, y, x), nm.
      border: bool[H], bool[W], rows and columns near a border between blocks, scored apart.
      expected: standard errors, compared with the true ones.
      planes: most planes of a box; with `area`, it changes no score but by rounding.
      area: most px of its planes.

    Returns:
      `scores`: name -> `psnr` (dB, pooled over the hidden voxels), `psnr_*`, `ssim_*`, `fsim_*`,
      `cf_psnr_*` for xy, xz, yz, `fsc_z`, `fsc_res_nm_*` and `fsc_z_res_nm_*`. A metric is nan if
      the volume is too small for it; the PSNR of identical data is inf. `curves`: PSNR over z, both
      FSC curves, CF-PSNR of the hidden slices over the cut-off. `seams`, `missing` and
      `expected_error` where there are such.
    """
    plan, names = compared.observed.plan, compared.names
    field = Field(compared.shape, plan.hidden, border)
    boxes = boxes_of(compared.shape, planes, area)
    sums = _accumulated(compared, field, boxes)
    found = _spectral(compared)
    fsim = fsim_scores(compared, functools.partial(boxes_of, planes=planes, area=area), area)
    table = {
        name: running.scores_of(sums[name], field)
        | fsim[name]
        | scores.spectral_scores(found[name], voxel_nm)
        for name in names
    }
    result: dict = {"scores": table, "curves": _curves(sums, field, found)}
    if border is not None and (border[0].any() or border[1].any()):
        result["seams"] = {name: running.seam_psnr(sums[name], field) for name in names}
    if plan.lost.any():
        lost = Field(compared.shape, plan.lost)
        result["missing"] = {name: running.pooled_psnr(sums[name], lost) for name in names}
    if expected is not None:
        result["expected_error"] = judge_errors(compared, expected, planes, area)
    return result


def notes_of(shape: Sequence[int]) -> dict[str, str]:
    """Say which voxels the scores are those of."""
    return {
        "psnr, ssim": "all voxels",
        "fsim": f"{scores.FSIM_PLANES} evenly spaced planes of each direction, or all",
        "fsc, cf-psnr": scores.describe_windows(shape),
    }


def _accumulated(compared: Comparison, field: Field, boxes: Sequence[Box]) -> dict[str, Sums]:
    """Add up squared errors and SSIM over all boxes."""
    sums = dict.fromkeys(compared.names, running.nothing(field.shape))
    for core in boxes:
        near = core.grown(running.MARGIN, field.shape)
        seen = read(compared, near)
        for name in compared.names:
            planes = predict(compared, seen, name, near)
            sums[name] = running.accumulate(sums[name], field, planes, seen.reference, core)
    return sums


def _curves(sums: dict[str, Sums], field: Field, found: dict[str, Spectral]) -> dict:
    return {
        "z": list(range(field.shape[0])),
        "hidden": field.hidden.tolist(),
        "psnr_z": {name: running.psnr_z(each, field).tolist() for name, each in sums.items()},
        "band": scores.BANDS.tolist(),
        "cf_psnr_xy": {name: each.bands.tolist() for name, each in found.items()},
        "frequency": scores.frequencies().tolist(),
        "fsc": {name: each.curves[0].tolist() for name, each in found.items()},
        "fsc_z": {name: each.curves[1].tolist() for name, each in found.items()},
    }


def _spectral(compared: Comparison) -> dict[str, Spectral]:
    """Compare spectra in every window, and average."""
    found: dict[str, list[Spectral]] = {name: [] for name in compared.names}
    for box in scores.windows(compared.shape):
        seen = read(compared, box)
        hidden = compared.observed.plan.hidden[box.slices[0]]
        transformed = scores.spectral_reference(seen.reference)
        for name in compared.names:
            planes = predict(compared, seen, name, box)
            found[name].append(scores.spectral(planes, seen.reference, hidden, transformed))
    return {name: scores.mean_spectral(each) for name, each in found.items()}


def judge_errors(
    compared: Comparison, expected: Expected, planes: int = PLANES, area: int = AREA
) -> dict[str, float]:
    """Compare expected with true errors on the hidden planes, wherever they are known.

    Returns:
      As `metrics.calibration.calibration_of`.
    """
    moments, margin = calibration.Moments(), (0, calibration.MARGIN, calibration.MARGIN)
    whole = expected.box
    for box in boxes_of(whole.shape, planes, area):
        near = box.grown(margin, whole.shape)
        inner = box.moved([-n for n in near.start]).slices[1:]
        near = near.moved(whole.start)
        hidden = compared.observed.plan.hidden[near.slices[0]]
        true = read_prediction(compared, near) - compared.observed.reference(near)
        moments = calibration.add_errors(moments, expected.read(near)[hidden], true[hidden], inner)
    return calibration.calibration_of(moments)
