"""EMformer with its published sizes: one network for any stack and factor, and missing slices.

python -m emgauss_jax.train --config=configs/emformer.py --workdir=DIR --config.data.path=STACK \
    [--config.data.paths="('OTHER_STACK',)"]
python -m emgauss_jax.reconstruct --workdir=DIR --input=UNSEEN_STACK --output=PATH

Made for a GPU; configs/emformer_tiny.py is for a laptop.
"""

import pathlib
import runpy

from ml_collections import config_dict

NETWORK = pathlib.Path(__file__).with_name("niiv.py")


def get_config() -> config_dict.ConfigDict:
    """Return the config; data are as in configs/niiv.py."""
    config = runpy.run_path(str(NETWORK))["get_config"]()
    config.method = "emformer"
    del config.niiv
    config.block.max_size = (64, 208, 208)  # slices, px, px: 16 rows, 12 px apart
    config.train.steps = 50_000
    config.emformer = config_dict.ConfigDict()
    config.emformer.features = 40  # of the U-shaped stages
    config.emformer.deep_features = 60  # of the groups behind them
    config.emformer.scales = 4  # of the U
    config.emformer.stage_blocks = 4  # three of four with mutual attention
    config.emformer.groups = 6  # of two blocks
    config.emformer.heads = 4
    config.emformer.window = (2, 2, 16)  # frames, rows, columns
    config.emformer.head_features = 64
    config.emformer.doublings = 3  # of the rows
    config.emformer.drop = 0.2  # probability to drop the last block, rising from 0 at the first
    config.emformer.batch = 2  # training pieces per step
    config.emformer.frames = 16  # of a piece
    config.emformer.rows = 16  # observed rows of a piece
    config.emformer.columns = 128  # px of a piece
    config.emformer.ssim_weight = 0.2  # of 1 - SSIM, added to absolute error / standard deviation
    config.optimizer.rates = dict(network=(1e-3, 0.1))  # learning rate, its fraction at the end
    return config
