"""A source of pseudo-labels: interpolation, the fallback where no other source has weight."""

from typing import Any

import numpy as np

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import baselines, best_free, between_slices
from emgauss_jax.pseudo_labels.source import Filled, Source, SourceKind


def make(config: Any, observed: SliceStack) -> Source:
    """Make the source: the best interpolation that needs no learning."""
    del config
    profile = observed.plan.profile
    name = best_free(profile)

    def fill_in(learned: None, stack: Block, depths: np.ndarray) -> Filled:
        del learned
        planes = baselines(stack, depths, (name,))[name]
        return Filled(planes, between_slices(stack.slices, stack.z, depths, profile))

    return Source(fill_in)


KIND = SourceKind(lambda config, observed: "", make)
