"""A demo without a file: it fits and scores a procedural tissue phantom, every 8th slice kept.

python -m emgauss_jax.train --config=configs/demo.py --workdir=demo

Under 3 minutes on two CPU cores; open demo/report/report.html.
"""

import pathlib
import runpy

from ml_collections import config_dict

DEFAULT = pathlib.Path(__file__).with_name("emgauss.py")


def get_config() -> config_dict.ConfigDict:
    """Return the default config on the phantom."""
    config = runpy.run_path(str(DEFAULT))["get_config"]()
    config.data.path = "phantom"
    config.data.simulate_factor = 8
    config.prior.steps = 1_500  # for a quick look
    return config
