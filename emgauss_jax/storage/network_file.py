"""The files of a network that serves many volumes, read by whatever uses it."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from emgauss_jax.data.errors import InputError
from emgauss_jax.storage import files

FILE = "network.npz"
LEARNED = "learned.json"


class Learned(NamedTuple):
    """What a network has learned from."""

    factor: int  # lateral px from slice to slice
    blocks: int
    of: int  # out of how many blocks of its volumes
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
    files.write_json(workdir / LEARNED, learned._asdict())
    files.save(workdir / FILE, params)


def read_learned(workdir: pathlib.Path) -> Learned:
    """Read what a fitted network has learned from."""
    return Learned(**files.read_json(workdir / LEARNED))


def read(workdir: pathlib.Path, init: Callable[..., Any]) -> Any:
    """Read a network: numpy leaves.

    Args:
      workdir: of its run.
      init: `Method.init`, which starts such a network from a key and no block.

    Raises:
      InputError: there is none, or the file is damaged.
    """
    if not is_there(workdir):
        raise InputError(
            f"{workdir}: got no fitted network, wanted one: finish it with the train command"
        )
    return files.read(workdir / FILE, jax.eval_shape(init, jax.random.key(0), None))
