"""Traced numbers alone: rate of amplitudes, SSIM weight and EMA decay, 24 rows in one unit.

python launch/sweep.py --config=configs/sweeps/rates.py --workdir=DIR \
    --config.data.path=isotropic.tif --config.data.simulate_factor=8

With `--rows_per_unit=1` each row is fitted alone, in a process of its own.
"""

import itertools
from collections.abc import Callable

RATES = (0.005, 0.01, 0.02, 0.04)  # of canonical amplitudes, at the start
SSIM_WEIGHTS = (0.0, 0.2, 0.5)
DECAYS = (0.0, 0.995)


def sweep(add: Callable[..., None]) -> None:
    """Add every row: a name, a file of configs/, and what it changes."""
    for rate, weight, decay in itertools.product(RATES, SSIM_WEIGHTS, DECAYS):
        changes = {
            "optimizer.rates.canonical.amplitudes": (rate, 0.05),
            "emgauss.ssim_weight": weight,
            "train.ema_decay": decay,
        }
        add(f"rate {rate:g} ssim {weight:g} ema {decay:g}", "emgauss.py", changes)
