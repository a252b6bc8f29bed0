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
from emgauss_jax.storage.run_dir import read_workdir

SLAB = 64  # planes drawn at once: those of a whole region would not fit into memory


def workdir_of(config: Any) -> str:
    """Return the workdir of the network, "" for none; older workdirs lack the setting."""
    return config.prior.get("network", "")


def make(config: Any, observed: SliceStack) -> Source:
    """Make the source; its network is opened on first use."""
    sampling = registry.AxialSampling(float(whole_factor(observed)), observed.plan.profile)
    opened = functools.partial(_drawing, workdir_of(config), sampling)

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
def _drawing(workdir: str, sampling: registry.AxialSampling) -> Callable[..., Any]:
    """Open the network as a compiled function of a stack and depths."""
    method, params = open_network(pathlib.Path(workdir), sampling)
    return functools.partial(jax.jit(method.predict_with_error), params)


def open_network(workdir: pathlib.Path, sampling: registry.AxialSampling) -> tuple[Method, Any]:
    """Open the network of another run for a stack.

    Args:
      workdir: of a finished training.
      sampling: of the stack along z; its slice profile must be that of the training stacks.

    Raises:
      InputError: there is no network, or it was trained on slices of another profile.
    """
    config = read_workdir(workdir)
    method = registry.build_shared("prior.network", config, sampling)
    if sampling.profile.name != config.data.degradation:
        raise InputError(
            f"prior.network: got a network trained on {config.data.degradation!r} slices, wanted "
            f"{sampling.profile.name!r} as in this stack"
        )
    return method, network_file.read(workdir, method.init)


KIND = SourceKind(lambda config, observed: "" if workdir_of(config) else "off", make)
