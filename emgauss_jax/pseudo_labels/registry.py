"""All sources of pseudo-labels by name: the one place that knows them.

`BASE` is asked in every gap; where no other source is asked it has all the weight. Weights, reports
and folders use these names.
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
