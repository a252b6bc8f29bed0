"""Linear interpolation between the slices: what any other method has to be better than.

python -m emgauss_jax.train --config=configs/linear.py --workdir=DIR --config.data.path=STACK

Nothing is learned; a volume takes as long as drawing it.
"""

import pathlib
import runpy

from ml_collections import config_dict

FULL = pathlib.Path(__file__).with_name("niiv.py")


def get_config() -> config_dict.ConfigDict:
    """Return the config; data and blocks are as in configs/niiv.py."""
    config = runpy.run_path(str(FULL))["get_config"]()
    config.method = "linear"
    del config.data.paths, config.niiv
    config.block.max_size = (64, 512, 512)  # slices, px, px
    config.train.steps = 1
    config.linear = config_dict.ConfigDict()  # it has no settings
    config.optimizer.rates = config_dict.ConfigDict()
    return config
