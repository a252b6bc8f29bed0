"""Score a volume against a reference, beside every interpolation of the observed slices."""

import dataclasses
import numbers
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from emgauss_jax.data.doubts import count_absent, doubt_of_chunks
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.handles import Volume, check_absent
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.simulate import Plan, degrade_plan
from emgauss_jax.data.stack import SliceStack, find_grey_range
from emgauss_jax.data.tiling import Box
from emgauss_jax.evaluation.beside_rivals import (
    choose_sample,
    missing_note,
    report_beside_rivals,
    sample_note,
    score_beside_rivals,
)
from emgauss_jax.evaluation.comparison import compare
from emgauss_jax.evaluation.scoring import MEMORY, Expected, boxes_of

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
    shape = (len(plan.z_reference), *reference.shape[1:])
    named = {"prediction": prediction, "reference": reference, "uncertainty": uncertainty}
    volumes = {name: each for name, each in named.items() if each is not None}
    read = _read_notes(volumes, shape[0])
    _check_values(volumes, shape)
    observed = _observed(reference, plan)
    compared = compare(observed, prediction, METHOD)
    notes = {
        "prediction": str(prediction.path),
        "reference": str(reference.path),
        "observed every": f"{observed_every} ({degradation})",
        "planes looked at": f"{shape[0]} of {prediction.shape[0]} in the prediction",
        "grey range": observed.grey_range.describe(),
        **read,
        **missing_note(sorted(missing)),
        "memory": MEMORY,
    }
    voxel_nm = np.array(reference.voxel_nm)
    expected = None if uncertainty is None else _expected(uncertainty, shape, observed)
    result = score_beside_rivals(compared, voxel_nm, notes, expected=expected)
    if folder is not None:
        title = " against ".join(pathlib.Path(v.path).name for v in (prediction, reference))
        result["notes"] |= sample_note(choose_sample(observed, plan.z_reference)[0], shape)
        report_beside_rivals(folder, compared, result, voxel_nm, title, expected)
    return result


def _observed(reference: Volume, plan: Plan) -> SliceStack:
    """Open the slices that a plan takes from the reference, and find their range of grey levels."""
    z_nm, *lateral = reference.voxel_nm
    observed = SliceStack(
        volume=reference,
        box=Box((0, 0, 0), (plan.depth, *reference.shape[1:])),
        plan=plan,
        first=0,
        grey_range=IntensityRange(0.0, 1.0),
        voxel_nm=(z_nm * plan.factor, *lateral),
        suffix="",
        format=None,
    )
    return dataclasses.replace(observed, grey_range=find_grey_range(observed))


def _check_values(volumes: Mapping[str, Volume], shape: tuple[int, int, int]) -> None:
    """Read volumes of floats once: NaN, or a negative error, is told before minutes of scoring."""
    for name, volume in volumes.items():
        bad = 0
        if not np.issubdtype(volume.dtype, np.integer):
            for box in boxes_of(shape):
                values = volume[box.slices]
                good = values >= 0 if name == "uncertainty" else True
                bad += int((~(np.isfinite(values) & good)).sum())
        if bad and name == "uncertainty":
            raise InputError(
                f"uncertainty: got {bad} voxels that are NaN, infinite or negative, wanted "
                "standard errors"
            )
        if bad:
            raise InputError(f"{name}: got {bad} voxels that are NaN or infinite, wanted none")


def _expected(uncertainty: Volume, shape: tuple[int, int, int], observed: SliceStack) -> Expected:
    span = observed.grey_range.span
    return Expected(
        Box((0, 0, 0), shape), lambda box: uncertainty[box.slices].astype(np.float32) / span
    )


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
