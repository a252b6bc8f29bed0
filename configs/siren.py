"""SIREN, a baseline of the niiv paper: one perceptron per block, from position to intensity.

python -m emgauss_jax.train --config=configs/siren.py --workdir=DIR --config.data.path=STACK
"""

import pathlib
import runpy

from ml_collections import config_dict

FULL = pathlib.Path(__file__).with_name("niiv.py")


def get_config() -> config_dict.ConfigDict:
    """Return the config; data and blocks are as in configs/niiv.py."""
    config = runpy.run_path(str(FULL))["get_config"]()
    config.method = "siren"
    del config.data.paths, config.niiv
    config.block.max_size = (64, 256, 256)  # slices, px, px
    config.train.steps = 10_000
    config.train.ema_decay = 0.995
    config.siren = config_dict.ConfigDict()
    config.siren.width = 256
    config.siren.layers = 4  # with sines
    config.siren.points = 4_096  # sampled per step
    config.optimizer.rates = dict(network=(1e-3, 0.02))
    return config
