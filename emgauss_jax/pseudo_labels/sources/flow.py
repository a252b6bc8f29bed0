"""A source of pseudo-labels: interpolation along the optical flow from slice to slice."""

from typing import Any

import numpy as np

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.methods import optical_flow
from emgauss_jax.methods.base import Block
from emgauss_jax.pseudo_labels.source import Filled, Source, SourceKind


def why_not(config: Any, observed: SliceStack) -> str:
    """Say why the flow is not used: it is off, or the slices are averaged."""
    if not config.prior.flow:
        return "off"
    if not observed.plan.profile.is_plane:
        return "averaged slices, which the flow alone cannot fill in"
    return ""


def fill_in(learned: None, stack: Block, depths: np.ndarray) -> Filled:
    """Find the flows between slices and interpolate along them."""
    del learned
    return Filled(*map(np.asarray, optical_flow.fill_in(stack.slices, np.float32(depths))))


KIND = SourceKind(why_not, lambda config, observed: Source(fill_in))
