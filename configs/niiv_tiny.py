"""niiv with a small encoder and few steps: half an hour on two CPU cores.

python -m emgauss_jax.train --config=configs/niiv_tiny.py --workdir=DIR --config.data.path=STACK
python -m emgauss_jax.reconstruct --workdir=DIR --input=UNSEEN_STACK --output=PATH
"""

import pathlib
import runpy

from ml_collections import config_dict

FULL = pathlib.Path(__file__).with_name("niiv.py")


def get_config() -> config_dict.ConfigDict:
    """Return the config of configs/niiv.py, made smaller."""
    config = runpy.run_path(str(FULL))["get_config"]()
    config.train.steps = 5_000
    config.train.ema_decay = 0.995
    config.niiv.blocks = 6
    config.niiv.batch = 4
    config.optimizer.rates = dict(encoder=(1e-3, 0.1), decoder=(1e-3, 0.1))
    return config
