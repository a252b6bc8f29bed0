"""The file of a network that serves many volumes, read by whatever uses it.

It describes itself: the config of its run and what it has learned from stand in it, so that it can
be used apart from the workdir it was made in.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict

from emgauss_jax.data.errors import InputError
from emgauss_jax.storage import pytrees
from emgauss_jax.storage.files import checked
from emgauss_jax.storage.run_dir import config_of, plain

FILE = "network.safetensors"
KIND = "network"


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


def file_of(place: pathlib.Path) -> pathlib.Path:
    """Name the file of a network.

    Args:
      place: the workdir of its run, or the file itself.
    """
    return place if place.suffix == pathlib.Path(FILE).suffix else place / FILE


def is_there(workdir: pathlib.Path) -> bool:
    """Tell whether a network has been fitted."""
    return file_of(workdir).exists()


def write(workdir: pathlib.Path, params: Any, learned: Learned, config: Any) -> None:
    """Write a network, what it has learned from, and the config of its run."""
    about = {"learned": learned._asdict(), "config": plain(config)}
    pytrees.write(file_of(workdir), KIND, {"params": params}, about)


def read_learned(place: pathlib.Path) -> Learned:
    """Read what a fitted network has learned from."""
    kinds = {"factor": int, "blocks": int, "of": int, "volumes": int, "size": tuple[int, int, int]}
    return Learned(**checked(_about(place)["learned"], kinds, file_of(place)))


def read_config(place: pathlib.Path) -> config_dict.ConfigDict:
    """Read the config of the run that fitted a network."""
    return config_of(_about(place)["config"], file_of(place))


def read(place: pathlib.Path, init: Callable[..., Any]) -> Any:
    """Read a network: numpy leaves.

    Args:
      place: the workdir of its run, or its file.
      init: `Method.init`, which starts such a network from a key and no block.

    Raises:
      InputError: there is none, the file is damaged, or its arrays are not those of the method.
    """
    _check_there(place)
    arrays, _ = pytrees.read(file_of(place), KIND)
    return pytrees.like(pytrees.part(arrays, "params"), like_started(init), file_of(place))


def like_started(init: Callable[..., Any]) -> Any:
    """Give the shapes of a network that `init` starts, leaves jax.ShapeDtypeStruct."""
    return jax.eval_shape(init, jax.random.key(0), None)


def _about(place: pathlib.Path) -> dict[str, Any]:
    _check_there(place)
    about = pytrees.read_about(file_of(place), KIND)
    return checked(about, {"learned": dict, "config": dict}, file_of(place))


def _check_there(place: pathlib.Path) -> None:
    if not is_there(place):
        raise InputError(
            f"{place}: got no fitted network, wanted one: finish it with the train command"
        )
