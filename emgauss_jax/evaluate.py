"""Score a volume against a reference, beside every interpolation of the observed slices.

python -m emgauss_jax.evaluate --prediction=PATH --reference=PATH --observed_every=K --output=DIR
    [--degradation=average] [--missing=7,12] [--uncertainty=PATH]
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags

from emgauss_jax.data.handles import Volume, check_absent
from emgauss_jax.data.intensity import IntensityRange, find_range, to_unit
from emgauss_jax.data.simulate import DEGRADATIONS, degrade_plan, read_observed
from emgauss_jax.data.tiling import Box
from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation.report import write_report
from emgauss_jax.execution import command
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import TABLE, baselines

METHOD = "prediction"


def evaluate_volumes(
    prediction: Volume,
    reference: Volume,
    observed_every: int,
    folder: pathlib.Path,
    degradation: str = "subsample",
    missing: Sequence[int] = (),
    uncertainty: Volume | None = None,
) -> dict:
    """Score a prediction made of every k-th plane, or of the means of k planes.

    Args:
      prediction: [n k + 1, H, W] ([n k, H, W] of means), or more planes, which are left out.
      reference: [D, H, W], isotropic, of as many planes or more.
      observed_every: k.
      folder: for metrics.json and report.html; must not exist.
      degradation: "subsample" or "average".
      missing: observed slices that the prediction was made without, counted from 0.
      uncertainty: [D, H, W], standard errors of the prediction, in its grey levels.

    Returns:
      What metrics.json holds.

    Raises:
      ValueError: volumes that do not belong together.
    """
    check_absent(folder)
    if observed_every < 2:
        raise ValueError(f"observed_every: got {observed_every}, wanted 2 or more")
    _check_alike(prediction, reference, uncertainty)
    planes = min(prediction.shape[0], reference.shape[0])
    plan = degrade_plan(planes, observed_every, degradation, missing)
    depth = len(plan.z_reference)
    slices = read_observed(reference, plan, Box((0, 0, 0), (planes, *reference.shape[1:])))
    levels = find_range(slices[plan.valid], reference.dtype)
    truth, ours = (to_unit(volume[:depth, :, :], levels) for volume in (reference, prediction))
    z = np.arange(len(slices), dtype=np.float32)
    block = Block(to_unit(slices, levels), z, plan.valid)
    notes = {
        "prediction": str(prediction.path),
        "reference": str(reference.path),
        "observed every": f"{observed_every} ({degradation})",
        "planes looked at": f"{depth} of {prediction.shape[0]} in the prediction",
    }
    if missing:
        notes["missing slices"] = ", ".join(map(str, sorted(missing)))
    names = (*TABLE, "cubic_mean") if plan.averaged else TABLE
    volumes = {**baselines(block, plan.z_reference, names), METHOD: ours}
    expected = None if uncertainty is None else _read_errors(uncertainty, depth, levels)
    title = f"{prediction.path.name} against {reference.path.name}"
    return write_report(
        folder, truth, volumes, plan.hidden, reference.voxel_nm, title, notes,
        expected=expected, method=METHOD, lost=plan.lost,
    )  # fmt: skip


def _check_alike(prediction: Volume, reference: Volume, uncertainty: Volume | None) -> None:
    if prediction.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"prediction: got {prediction.shape[1:]} px (y, x), wanted {reference.shape[1:]}, "
            "those of the reference"
        )
    if not np.allclose(prediction.voxel_nm, reference.voxel_nm, rtol=1e-3):
        raise ValueError(
            f"prediction: got voxels of {prediction.voxel_nm} nm (z, y, x), wanted "
            f"{reference.voxel_nm}, those of the reference"
        )
    if prediction.dtype != reference.dtype:
        raise ValueError(f"prediction: got {prediction.dtype}, wanted {reference.dtype}")
    if uncertainty is not None and not np.issubdtype(uncertainty.dtype, np.floating):
        raise ValueError(f"uncertainty: got {uncertainty.dtype}, wanted float32 standard errors")
    if uncertainty is not None and uncertainty.shape != prediction.shape:
        raise ValueError(
            f"uncertainty: got shape {uncertainty.shape}, wanted {prediction.shape}, that of the "
            "prediction"
        )


def _read_errors(uncertainty: Volume, depth: int, levels: IntensityRange) -> np.ndarray:
    """Read standard errors of the first planes, f32[depth, H, W], intensity."""
    errors = uncertainty[:depth, :, :].astype(np.float32) / np.float32(levels.high - levels.low)
    bad = int((~((errors >= 0) & np.isfinite(errors))).sum())
    if bad:
        raise ValueError(
            f"uncertainty: got {bad} voxels that are NaN, infinite or negative, wanted standard "
            "errors"
        )
    return errors


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    flags.DEFINE_string("prediction", None, "Volume to score.")
    flags.DEFINE_string("reference", None, "Isotropic volume it is compared with.")
    flags.DEFINE_integer("observed_every", None, "Planes 0, K, 2K, ... were observed.")
    flags.DEFINE_enum("degradation", "subsample", DEGRADATIONS, "average: means of K were.")
    flags.DEFINE_list("missing", None, "Observed slices it was made without, counted from 0.")
    flags.DEFINE_string("uncertainty", None, "Standard errors of the prediction, to be judged.")
    flags.DEFINE_string("output", None, "New folder for metrics.json and report.html.")


def main() -> None:
    """Read the flags and score."""
    values = flags.FLAGS
    names = ("prediction", "reference", "observed_every", "output")
    missing = [f"--{name}" for name in names if values[name].value is None]
    if missing:
        raise ValueError(f"flags: wanted {' and '.join(missing)} too")
    reference = open_volume(values.reference)
    nameless = pathlib.Path(values.prediction).suffix == ".npy"  # it cannot hold a voxel size
    prediction = open_volume(values.prediction, voxel_nm=reference.voxel_nm if nameless else None)
    folder = pathlib.Path(values.output)
    lost = command.whole_numbers("missing", values.missing)
    error = values.uncertainty and open_volume(values.uncertainty, voxel_nm=reference.voxel_nm)
    asked = (values.observed_every, folder, values.degradation, lost, error or None)
    evaluate_volumes(prediction, reference, *asked)
    print(folder / "report.html")


if __name__ == "__main__":
    define_flags()
    command.run(main)
