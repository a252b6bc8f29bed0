"""Add a source of pseudo-labels: splines along z, weighed against the others on held-out slices.

python docs/examples/new_source.py [STEPS]

The weights say how far each source is believed; of this phantom, interpolation alone.
In a fork this is a file of pseudo_labels/sources/ and a line in pseudo_labels/registry.py.
"""

import sys

import numpy as np
from scipy.interpolate import CubicSpline

import emgauss_jax as eg
from emgauss_jax.data.phantom import tissue


def fill_in(learned, stack, depths):
    """Draw a spline through every column; as uncertain as the nearest slices differ."""
    del learned
    planes = CubicSpline(stack.z, stack.slices)(np.clip(depths, stack.z[0], stack.z[-1]))
    lower = np.clip(depths.astype(int), 0, len(stack.z) - 2)
    spread = np.abs(stack.slices[lower + 1] - stack.slices[lower]) / 2
    return eg.Filled(planes.astype(np.float32), spread)


def why_not(config, observed):
    """A spline runs through planes, so it has nothing to say of averaged slices."""
    del config
    return "" if observed.plan.profile.is_plane else "averaged slices"


eg.SOURCES["spline"] = eg.SourceKind(why_not, lambda config, observed: eg.Source(fill_in))

truth = tissue((49, 48, 48))
fit = eg.fit(
    truth[::8],
    voxel_nm=(80, 10, 10),
    prior__steps=0,  # the network is left out: a quick look
    train__steps=int(sys.argv[1]) if sys.argv[1:] else 600,
)
for name, weight in fit.weights().items():
    print(f"weight of {name}: {weight:.2f}")
