"""A source of pseudo-labels: a network of another workdir, trained on other stacks."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.stack import SliceStack, whole_factor
from emgauss_jax.methods import registry
from emgauss_jax.methods.base import Block, Method
from emgauss_jax.pseudo_labels.source import Filled, Source, SourceKind
from emgauss_jax.storage import network_file

SLAB = 64  # planes drawn at once: those of a whole region would not fit into memory


def place_of(config: Any) -> str:
    """Return the workdir of the network, or its file; "" for none."""
    return config.prior.network


def make(config: Any, observed: SliceStack) -> Source:
    """Make the source; its network is opened on first use."""
    sampling = registry.AxialSampling(float(whole_factor(observed)), observed.plan.profile)
    opened = functools.partial(_drawing, place_of(config), sampling)

    def fill_in(learned: None, stack: Block, depths: np.ndarray) -> Filled:
        del learned
        draw, count = opened(), len(depths)
        padded = np.append(depths, np.full(-count % SLAB, depths[-1])).astype(np.float32)
        slabs = [draw(stack, padded[i : i + SLAB]) for i in range(0, count, SLAB)]
        return Filled(*(np.concatenate(one)[:count] for one in zip(*slabs, strict=True)))

    def check() -> None:
        opened()

    return Source(fill_in, check=check, plain_gaps_only=True)


@functools.lru_cache(1)
def _drawing(place: str, sampling: registry.AxialSampling) -> Callable[..., Any]:
    """Open the network as a compiled function of a stack and depths."""
    method, params = open_network(pathlib.Path(place), sampling)
    return functools.partial(jax.jit(method.predict_with_error), params)


def open_network(place: pathlib.Path, sampling: registry.AxialSampling) -> tuple[Method, Any]:
    """Open the network of another run for a stack.

    Args:
      place: the workdir of its training, or its file.
      sampling: of the stack along z; its slice profile must be that of the training stacks.

    Raises:
      InputError: there is no network, or it was trained on slices of another profile.
    """
    config = network_file.read_config(place)
    method = registry.build_shared("prior.network", config, sampling)
    if sampling.profile.name != config.data.degradation:
        raise InputError(
            f"prior.network: got a network trained on {config.data.degradation!r} slices, wanted "
            f"{sampling.profile.name!r} as in this stack"
        )
    return method, network_file.read(place, method.init)


KIND = SourceKind(lambda config, observed: "" if place_of(config) else "off", make)
