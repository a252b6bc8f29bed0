"""Score a volume against a reference, beside every interpolation of the observed slices."""

import numbers
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from emgauss_jax.data.doubts import count_absent, doubt_of_chunks
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.handles import Volume, check_absent
from emgauss_jax.data.intensity import IntensityRange, find_range, images_to_unit, to_unit
from emgauss_jax.data.simulate import degrade_plan, read_observed
from emgauss_jax.data.tiling import Box
from emgauss_jax.evaluation.rivals import missing_note, report_beside_rivals
from emgauss_jax.methods.base import Block

METHOD = "prediction"


def evaluate_volumes(
    prediction: Volume,
    reference: Volume,
    observed_every: int,
    folder: pathlib.Path | None = None,
    degradation: str = "subsample",
    missing: Sequence[int] = (),
    uncertainty: Volume | None = None,
) -> dict:
    """Score a prediction made of every k-th plane, or of the means of k planes.

    Args:
      prediction: [n k + 1, H, W], or [n k, H, W] if made of means; further planes are not scored.
      reference: [D, H, W], isotropic; planes that only one of the two volumes has are not scored.
      observed_every: k.
      folder: for metrics.json and report.html; must not exist. None: no file is written.
      degradation: "subsample" or "average".
      missing: indices of observed slices, from 0, that the prediction was made without.
      uncertainty: of the prediction's shape, its standard errors, in grey levels.

    Returns:
      What metrics.json holds.

    Raises:
      InputError: the folder exists, k is less than 2, the volumes differ in lateral shape, voxel
        size or dtype, one has none of its chunks, or the uncertainty is not an array of standard
        errors.
    """
    if folder is not None:
        check_absent(folder)
    if not isinstance(observed_every, numbers.Integral) or observed_every < 2:
        raise InputError(f"observed_every: got {observed_every!r}, wanted a whole number >= 2")
    _check_alike(prediction, reference, uncertainty)
    planes = min(prediction.shape[0], reference.shape[0])
    plan = degrade_plan(planes, observed_every, degradation, missing)
    depth = len(plan.z_reference)
    named = {"prediction": prediction, "reference": reference, "uncertainty": uncertainty}
    read = _read_notes({name: each for name, each in named.items() if each is not None}, depth)
    slices = read_observed(reference, plan, Box((0, 0, 0), (planes, *reference.shape[1:])))
    grey_range = find_range(slices[plan.valid], reference.dtype)
    truth = images_to_unit(reference[:depth, :, :], grey_range)
    ours = to_unit(prediction[:depth, :, :], grey_range)
    block = Block(
        images_to_unit(slices, grey_range), np.arange(len(slices), dtype=np.float32), plan.valid
    )
    notes = {
        "prediction": str(prediction.path),
        "reference": str(reference.path),
        "observed every": f"{observed_every} ({degradation})",
        "planes looked at": f"{depth} of {prediction.shape[0]} in the prediction",
        "grey range": grey_range.describe(),
        **read,
    }
    return report_beside_rivals(
        folder, block, plan, ours, truth, METHOD,
        voxel_nm=reference.voxel_nm,
        title=" against ".join(pathlib.Path(v.path).name for v in (prediction, reference)),
        notes=notes | missing_note(sorted(missing)),
        grey_range=grey_range,
        expected=None if uncertainty is None else _read_errors(uncertainty, depth, grey_range),
    )  # fmt: skip


def _read_notes(volumes: Mapping[str, Volume], depth: int) -> dict[str, str]:
    """Say how volumes are read and what speaks against them; nothing where all is well."""
    read, warnings = [], []
    for name, volume in volumes.items():
        read += [f"{name}: {note}" for note in volume.notes]
        absent = count_absent(volume, (slice(0, depth), slice(None), slice(None)))
        warnings += [f"{name}: {doubt}" for doubt in doubt_of_chunks(absent)]
    warnings += _doubt_of_places(volumes["prediction"], volumes["reference"])
    notes = {"read": "; ".join(read), "warnings": "; ".join(warnings)}
    return {name: text for name, text in notes.items() if text}


def _doubt_of_places(prediction: Volume, reference: Volume) -> list[str]:
    """Say where two volumes lie, if apart: not all formats store it, so that may be or not."""
    ours, theirs = prediction.place.centre_nm, reference.place.centre_nm
    if (np.abs(np.subtract(ours, theirs)) < np.divide(reference.voxel_nm, 2)).all():
        return []
    at = [", ".join(f"{nm:.6g}" for nm in centre) for centre in (ours, theirs)]
    return [
        f"the prediction starts at {at[0]} nm (z, y, x) and the reference at {at[1]}: the first "
        "voxel of the one is scored against the first of the other"
    ]


def _check_alike(prediction: Volume, reference: Volume, uncertainty: Volume | None) -> None:
    if prediction.shape[1:] != reference.shape[1:]:
        raise InputError(
            f"prediction: got {prediction.shape[1:]} px (y, x), wanted {reference.shape[1:]}, "
            "those of the reference"
        )
    if not np.allclose(prediction.voxel_nm, reference.voxel_nm, rtol=1e-3):
        raise InputError(
            f"prediction: got voxels of {prediction.voxel_nm} nm (z, y, x), wanted "
            f"{reference.voxel_nm}, those of the reference"
        )
    if prediction.dtype != reference.dtype:
        raise InputError(f"prediction: got {prediction.dtype}, wanted {reference.dtype}")
    if uncertainty is not None and not np.issubdtype(uncertainty.dtype, np.floating):
        raise InputError(f"uncertainty: got {uncertainty.dtype}, wanted float32 standard errors")
    if uncertainty is not None and uncertainty.shape != prediction.shape:
        raise InputError(
            f"uncertainty: got shape {uncertainty.shape}, wanted {prediction.shape}, that of the "
            "prediction"
        )


def _read_errors(uncertainty: Volume, depth: int, grey_range: IntensityRange) -> np.ndarray:
    """Read the standard errors of the first `depth` planes, f32[depth, H, W], intensity."""
    errors = uncertainty[:depth, :, :].astype(np.float32) / np.float32(
        grey_range.high - grey_range.low
    )
    bad = int((~((errors >= 0) & np.isfinite(errors))).sum())
    if bad:
        raise InputError(
            f"uncertainty: got {bad} voxels that are NaN, infinite or negative, wanted standard "
            "errors"
        )
    return errors
