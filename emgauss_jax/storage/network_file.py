"""The files of a network that serves many volumes, read by whatever uses it."""

import pathlib
from typing import Any, NamedTuple

import jax

from emgauss_jax.methods import registry
from emgauss_jax.methods.base import Method
from emgauss_jax.storage.run_dir import read_json, read_workdir, write_json
from emgauss_jax.training import chunk_plan

FILE = "network.npz"
LEARNED = "learned.json"


class Learned(NamedTuple):
    """What a network has learned from."""

    factor: int  # lateral px from slice to slice
    blocks: int
    of: int  # blocks that its volumes have
    volumes: int
    size: tuple[int, int, int]  # of a block: slices, px, px

    def __str__(self) -> str:
        size = " x ".join(map(str, self.size))
        return f"{self.blocks} blocks of {size}, of {self.of} in {self.volumes} volumes"


def is_there(workdir: pathlib.Path) -> bool:
    """Tell whether a network has been fitted."""
    return (workdir / FILE).exists()


def write(workdir: pathlib.Path, params: Any, learned: Learned) -> None:
    """Write a network, whole or not at all, and what it has learned from."""
    write_json(workdir / LEARNED, learned._asdict())
    chunk_plan.save(workdir / FILE, params)


def read_learned(workdir: pathlib.Path) -> Learned:
    """Read what a fitted network has learned from."""
    return Learned(**read_json(workdir / LEARNED))


def read(workdir: pathlib.Path, method: Method) -> Any:
    """Read a network: numpy leaves.

    Raises:
      ValueError: there is none, or the file is damaged.
    """
    if not is_there(workdir):
        raise ValueError(
            f"{workdir}: got no fitted network, wanted one: finish it with the train command"
        )
    like = jax.eval_shape(method.init, jax.random.key(0), None)
    return chunk_plan.read(workdir / FILE, like)


def open_network(workdir: pathlib.Path, sampled: registry.Sampled) -> tuple[Method, Any]:
    """Open the network of another run for a stack.

    Args:
      workdir: of a finished train.
      sampled: how z of the stack is; averaged as it was there, or not as it was there.

    Raises:
      ValueError: there is no network, or one that has learned from slices of another kind.
    """
    config = read_workdir(workdir)
    method = registry.build(config.method, config, sampled)
    if method.per_block:
        raise ValueError(
            f"prior.network: got a workdir of {config.method}, wanted one of a network (niiv, "
            "emformer)"
        )
    if sampled.thick != (config.data.degradation == "average"):
        raise ValueError(
            f"prior.network: got one that has learned from {config.data.degradation!r}, wanted "
            f"{'average' if sampled.thick else 'subsample'!r} as here"
        )
    return method, read(workdir, method)
