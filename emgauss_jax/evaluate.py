"""Score a volume against a reference, beside every interpolation of the observed slices.

python -m emgauss_jax.evaluate --prediction=PATH --reference=PATH --observed_every=K --output=DIR
    [--degradation=average] [--missing=7,12] [--uncertainty=PATH] [--voxel_nm=10,10,10]
"""

import pathlib
import sys

from absl import flags

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.simulate import DEGRADATIONS
from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation.compare import evaluate_volumes
from emgauss_jax.execution import command


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    flags.DEFINE_string("prediction", None, "Volume to score.")
    flags.DEFINE_string("reference", None, "Isotropic volume it is compared with.")
    flags.DEFINE_integer("observed_every", None, "Planes 0, K, 2K, ... were observed.")
    flags.DEFINE_enum("degradation", "subsample", DEGRADATIONS, "average: means of K were.")
    flags.DEFINE_list("missing", None, "Observed slices it was made without, counted from 0.")
    flags.DEFINE_list("voxel_nm", None, "Voxel size (z, y, x), where the reference has none.")
    flags.DEFINE_string("uncertainty", None, "Standard errors of the prediction, to be judged.")
    flags.DEFINE_string("output", None, "New folder for metrics.json and report.html.")


def main() -> None:
    """Read the flags and score."""
    values = flags.FLAGS
    names = ("prediction", "reference", "observed_every", "output")
    missing = [f"--{name}" for name in names if values[name].value is None]
    if missing:
        raise InputError(f"flags: wanted {' and '.join(missing)} too")
    given = values.voxel_nm and command.lengths("voxel_nm", values.voxel_nm)
    reference = open_volume(values.reference, voxel_nm=given)
    nameless = pathlib.Path(values.prediction).suffix == ".npy"  # it cannot hold a voxel size
    prediction = open_volume(
        values.prediction, voxel_nm=given or (reference.voxel_nm if nameless else None)
    )
    folder = pathlib.Path(values.output)
    lost = command.whole_numbers("missing", values.missing)
    error = values.uncertainty and open_volume(values.uncertainty, voxel_nm=reference.voxel_nm)
    asked = (values.observed_every, folder, values.degradation, lost, error or None)
    notes = evaluate_volumes(prediction, reference, *asked)["notes"]
    for name in ("grey range", "read", "warnings", "memory", "fsc, cf-psnr"):
        if name in notes:
            print(f"{name}: {notes[name]}", file=sys.stderr)
    print(folder / "report.html")


if __name__ == "__main__":
    define_flags()
    command.run(main)
