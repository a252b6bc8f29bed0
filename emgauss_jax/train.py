"""Fit an anisotropic volume, write the isotropic one, and say how good it is.

python -m emgauss_jax.train --config=emgauss --workdir=DIR [--config.KEY=VALUE ...]
    [--detect_missing] [--cluster=local|slurm --workers=N | --hosts=auto]
"""

import pathlib

from absl import flags

from emgauss_jax.api import train_and_evaluate
from emgauss_jax.data.errors import InputError
from emgauss_jax.execution import command
from emgauss_jax.execution.config_file import define_config_flag
from emgauss_jax.execution.executors import define_executor_flags, open_executor
from emgauss_jax.pipeline.run import leave_out_damaged


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    define_config_flag()
    flags.DEFINE_string("workdir", None, "Folder for everything this run makes.")
    flags.DEFINE_bool("detect_missing", False, "Look for damaged slices, list and leave out.")
    define_executor_flags()


def main() -> None:
    """Read the flags and train."""
    values = flags.FLAGS
    if values.config is None or not values.workdir:
        raise InputError("flags: wanted --config=NAME and --workdir=DIR")
    config, damaged = values.config, []
    if values.detect_missing:
        config, damaged = leave_out_damaged(config)
    with open_executor(values) as executor:
        path = train_and_evaluate(config, pathlib.Path(values.workdir), executor, damaged)
        if executor.leads:
            print(f"{path}\n{path.parent / 'report' / 'report.html'}")


if __name__ == "__main__":
    define_flags()
    command.run(main)
