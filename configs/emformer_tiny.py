"""EMformer with a small network and few steps: under 45 minutes on two CPU cores.

python -m emgauss_jax.train --config=configs/emformer_tiny.py --workdir=DIR --config.data.path=STACK
python -m emgauss_jax.reconstruct --workdir=DIR --input=UNSEEN_STACK --output=PATH
"""

import pathlib
import runpy

from ml_collections import config_dict

FULL = pathlib.Path(__file__).with_name("emformer.py")


def get_config() -> config_dict.ConfigDict:
    """Return the config of configs/emformer.py, made smaller."""
    config = runpy.run_path(str(FULL))["get_config"]()
    config.block.max_size = (64, 144, 144)  # slices, px, px: 12 rows, 12 px apart
    config.train.steps = 8_000
    config.train.ema_decay = 0.995
    config.emformer.features = 32
    config.emformer.deep_features = 32
    config.emformer.scales = 2
    config.emformer.stage_blocks = 2
    config.emformer.groups = 2
    config.emformer.window = (2, 2, 8)
    config.emformer.head_features = 16
    config.emformer.drop = 0.0
    config.emformer.batch = 4
    config.emformer.frames = 2
    config.emformer.rows = 12
    config.emformer.columns = 48
    config.optimizer.rates = dict(network=(2e-3, 0.02))
    return config
