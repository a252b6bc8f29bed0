"""Pytrees on disk: written whole or not at all, read to the bit, on any number of devices.

Plain NumPy archives, each written by the process whose blocks it holds: orbax has one process
write for all, and refuses arrays that only one of many processes has.
"""

import contextlib
import json
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from emgauss_jax.training.hyperparams import Hyper

FOLDER = "checkpoints"


def path_of(workdir: pathlib.Path, chunk: int) -> pathlib.Path:
    """Name the checkpoint of one chunk of blocks; there is but the newest."""
    return workdir / FOLDER / f"chunk_{chunk:04d}.npz"


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give a file to write beside a path; it takes the path's place once it is written.

    Args:
      path: its folder is made where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    yield partial
    partial.replace(path)


def save(path: pathlib.Path, tree: Any) -> None:
    """Write the leaves of a pytree; what is there is replaced whole."""
    leaves = jax.tree.leaves(jax.device_get(tree))
    with whole(path) as partial, partial.open("wb") as file:
        np.savez(file, *leaves)


def read(path: pathlib.Path, like: Any) -> Any:
    """Read what `save` has written: a pytree like `like`, with numpy leaves.

    Raises:
      ValueError: the file is damaged, or of another structure.
    """
    structure = jax.tree.structure(like)
    try:
        with np.load(path) as file:
            leaves = [file[name] for name in file.files]  # every one has a checksum
        return jax.tree.unflatten(structure, leaves)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: got a file that cannot be read ({type(error).__name__}), wanted one as train "
            "writes it; delete it to fit again"
        ) from error


def read_chunks(workdir: pathlib.Path, hypers: Sequence[Hyper]) -> list[list[int]] | None:
    """Read which fits each chunk holds; None before the first start.

    It is written down because it depends on the machine's memory and devices, and a fit may go
    on elsewhere.

    Args:
      workdir: of the run.
      hypers: its hyper-parameters.

    Raises:
      ValueError: the run began with other hyper-parameters.
    """
    path = workdir / FOLDER / "chunks.json"
    if not path.exists():
        return None
    begun = json.loads(path.read_text())
    if not isinstance(begun, dict):
        raise ValueError(
            f"{path}: got a fit of an older version, wanted one to go on with: fit again"
        )
    if begun["hypers"] != _plain(hypers):
        raise ValueError(
            f"{workdir}: got other hyper-parameters than it was begun with, wanted the same or "
            "another workdir"
        )
    return begun["chunks"]


def write_chunks(
    workdir: pathlib.Path, hypers: Sequence[Hyper], chunks: Sequence[Sequence[int]]
) -> None:
    """Write which fits each chunk holds, before any is fitted."""
    with whole(workdir / FOLDER / "chunks.json") as partial:
        partial.write_text(json.dumps({"chunks": chunks, "hypers": _plain(hypers)}))


def _plain(hypers: Sequence[Hyper]) -> list[dict]:
    """Hyper-parameters as JSON has them."""
    numbers = jax.tree.map(float, list(hypers))
    return json.loads(json.dumps([each._asdict() for each in numbers]))
