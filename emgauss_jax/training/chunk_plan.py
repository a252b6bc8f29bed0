"""Which fits each chunk holds, saved, so that a fit resumed on another machine keeps its chunks."""

import json
import pathlib
from collections.abc import Sequence

import jax

from emgauss_jax.data.errors import InputError
from emgauss_jax.storage.files import read_json, write_text
from emgauss_jax.training.hyperparams import Hyper

FOLDER = "checkpoints"  # deleted once the region or network is fitted
FILE = "chunks.json"


def checkpoints_of(workdir: pathlib.Path, chunk: int) -> pathlib.Path:
    """Name the folder of the checkpoints of one chunk of blocks."""
    return workdir / FOLDER / f"chunk_{chunk:04d}"


def share_out(count: int, limit: int, devices: int) -> list[list[int]]:
    """Share fits out over equal chunks; a short last chunk repeats its last one.

    Args:
      count: fits.
      limit: how many a device takes at once.
      devices: each takes an equal part of every chunk.

    Returns:
      Indices of the fits of each chunk.
    """
    chunks = -(-count // (limit * devices))
    size = -(-count // (chunks * devices)) * devices
    return [[min(c * size + i, count - 1) for i in range(size)] for c in range(chunks)]


def read_chunks(workdir: pathlib.Path, hypers: Sequence[Hyper]) -> list[list[int]] | None:
    """Read which fits each chunk holds; None before the first start.

    Args:
      workdir: of the fit.
      hypers: its hyper-parameters.

    Raises:
      InputError: the fit began with other hyper-parameters.
    """
    path = workdir / FOLDER / FILE
    if not path.exists():
        return None
    begun = read_json(path)
    if not isinstance(begun, dict):
        raise InputError(
            f"{path}: got a fit of an older version, wanted one to go on with: fit again"
        )
    if begun["hypers"] != _plain(hypers):
        raise InputError(
            f"{workdir}: got other hyper-parameters than it was begun with, wanted the same or "
            "another workdir"
        )
    return begun["chunks"]


def write_chunks(
    workdir: pathlib.Path, hypers: Sequence[Hyper], chunks: Sequence[Sequence[int]]
) -> None:
    """Write which fits each chunk holds, before any is fitted."""
    content = {"chunks": chunks, "hypers": _plain(hypers)}
    write_text(workdir / FOLDER / FILE, json.dumps(content))


def _plain(hypers: Sequence[Hyper]) -> list[dict]:
    """Hyper-parameters as JSON has them."""
    numbers = jax.tree.map(float, list(hypers))
    return json.loads(json.dumps([each._asdict() for each in numbers]))
