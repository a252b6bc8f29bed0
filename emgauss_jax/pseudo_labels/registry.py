"""All sources of pseudo-labels by name; the only module that knows all of them.

`BASE` fills in every gap; where no other source does, it has all the weight. Weights, reports and
folders use these names.
"""

from emgauss_jax.pseudo_labels.sources import (
    flow,
    interpolation,
    lateral_network,
    trained_network,
)

BASE = "interpolation"

SOURCES = {
    BASE: interpolation.KIND,
    "flow": flow.KIND,
    "network": lateral_network.KIND,
    "trained network": trained_network.KIND,
}
