"""Fit an anisotropic volume, write the isotropic one, and say how good it is.

python -m emgauss_jax.train --config=configs/emgauss.py --workdir=DIR [--config.KEY=VALUE ...]
    [--detect_missing] [--cluster=local|slurm --workers=N | --hosts=COUNT,INDEX|auto]
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from emgauss_jax.api import train_and_evaluate
from emgauss_jax.data.errors import InputError
from emgauss_jax.execution import command
from emgauss_jax.execution.executors import define_executor_flags, open_executor
from emgauss_jax.pipeline.run import leave_out_damaged
from emgauss_jax.storage.run_dir import HOSTS, check_workdir


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
    flags.DEFINE_string("workdir", None, "Folder for everything this run makes.")
    flags.DEFINE_bool("detect_missing", False, "Look for damaged slices, list and leave out.")
    define_executor_flags()


def main() -> None:
    """Read the flags and train."""
    values = flags.FLAGS
    if values.config is None or not values.workdir:
        raise InputError("flags: wanted --config=FILE and --workdir=DIR")
    workdir, config, damaged = pathlib.Path(values.workdir), values.config, []
    check_workdir(workdir)
    if values.detect_missing:
        config, damaged = leave_out_damaged(config)
    with open_executor(values, workdir / HOSTS) as executor:
        path = train_and_evaluate(config, workdir, executor, damaged)
        if executor.leads:
            print(f"{path}\n{path.parent / 'report' / 'report.html'}")


if __name__ == "__main__":
    define_flags()
    command.run(main)
