"""Fit an anisotropic volume, write the isotropic one, and say how good it is.

python -m emgauss_jax.train --config=configs/emgauss.py --workdir=DIR [--config.KEY=VALUE ...]
"""

import pathlib
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_flags

from emgauss_jax import cli
from emgauss_jax.data.boxes import border_mask
from emgauss_jax.data.intensity import to_unit
from emgauss_jax.data.volume import open_volume
from emgauss_jax.experiment import Experiment, claim_workdir, prepare
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import TABLE, baselines
from emgauss_jax.metrics.report import write_gallery, write_report
from emgauss_jax.reconstruct import error_slabs, isotropic, reconstruct_volume
from emgauss_jax.training.fit import fit


def train_and_evaluate(config: Any, workdir: pathlib.Path) -> pathlib.Path:
    """Fit, reconstruct and report; started again, go on where it stopped.

    Args:
      config: a config of configs/.
      workdir: a new folder, or one of the same config.

    Returns:
      The path of the reconstruction.

    Raises:
      ValueError: for every input that cannot be used; nothing has been overwritten.
      FloatingPointError: the fit failed, with the step.
    """
    experiment = prepare(config)
    observed = experiment.observed
    sampling = isotropic(observed)
    path = workdir / f"reconstruction{observed.suffix}"
    claim_workdir(workdir, config)
    experiment = experiment.taught(workdir)
    params = fit(experiment.problem, workdir)
    if not path.exists():
        reconstruct_volume(experiment, params, sampling, path, observed.format)
    report(experiment, sampling.z, path, workdir / "report")
    return path


def report(experiment: Experiment, z: np.ndarray, path: pathlib.Path, folder: pathlib.Path) -> None:
    """Compare a written reconstruction with every interpolation, and with the reference if any.

    Args:
      experiment: what was fitted.
      z: f64[Q], depths of the planes written, input-slice units.
      path: the reconstruction.
      folder: for report.html and, where there is a reference, metrics.json.
    """
    observed = experiment.observed
    volume = open_volume(path)
    ours = to_unit(volume[:, :, :], observed.levels)
    block = Block(observed.unit_slices, observed.z, observed.plan.valid)
    title = f"{experiment.name}: {path.name}"
    notes = experiment.notes()
    expected = np.concatenate([planes for _, planes in error_slabs(experiment, z)])
    reference = observed.reference() if observed.plan.factor else None
    if reference is not None and not np.isfinite(reference).all():
        notes["reference"], reference = "holds NaN or infinite voxels: not scored", None
    if reference is None:
        others = baselines(block, z, ("nearest", "linear"))
        slices = np.flatnonzero(observed.plan.valid)
        hidden = np.ones(len(z), bool)
        # A fractional anisotropy puts hardly a plane exactly on a slice: take the nearest one.
        hidden[np.abs(z[:, None] - slices).argmin(axis=0)] = False
        write_gallery(
            folder, ours, others["nearest"], others["linear"], hidden, volume.voxel_nm, title,
            notes, expected, experiment.name,
        )  # fmt: skip
        return
    names = (*TABLE, "cubic_mean") if observed.plan.averaged else TABLE
    others = baselines(block, z, names)
    seams = border_mask(experiment.boxes, ours.shape[1:]) if len(experiment.boxes) > 1 else None
    write_report(
        folder, reference, {**others, experiment.name: ours}, observed.plan.hidden,
        volume.voxel_nm, title, notes, seams, expected, experiment.name,
    )  # fmt: skip


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
    flags.DEFINE_string("workdir", None, "Folder for everything this run makes.")


def main() -> None:
    """Read the flags and train."""
    values = flags.FLAGS
    if values.config is None or not values.workdir:
        raise ValueError("flags: wanted --config=FILE and --workdir=DIR")
    path = train_and_evaluate(values.config, pathlib.Path(values.workdir))
    print(f"{path}\n{path.parent / 'report' / 'report.html'}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
