"""Run a sweep, as `python -m emgauss_jax.sweep` does.

python launch/sweep.py --config=configs/sweeps/NAME.py --workdir=DIR [--rows=PREFIX] [--dry_run] \
    [--rows_per_unit=N] [--cluster=local|slurm --workers=N --gpus=N] [--config.KEY=VALUE ...]
"""

from emgauss_jax.sweep import main

if __name__ == "__main__":
    main()
