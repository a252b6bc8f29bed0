"""Run a sweep, as `python -m emgauss_jax.sweep` does.

python launch/sweep.py --config=configs/sweeps/NAME.py --workdir=DIR [--rows=PREFIX] [--dry_run] \
    [--rows_per_unit=N] [--cluster=local|slurm --workers=N --gpus=N] [--config.KEY=VALUE ...]
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("emgauss_jax.sweep", run_name="__main__", alter_sys=True)
