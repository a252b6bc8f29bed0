"""Checkpoints of a fit: each a file that is written whole or not at all, the newest kept.

A checkpoint holds the arrays of the training state by name, as NumPy arrays of one host, so it is
read on any number of devices. Every process keeps those of its own blocks and reads no other's.
They are safetensors, as finished fits are. Orbax leaves 10 to 20 kB in the process with each one
that it writes: gigabytes over thousands of regions.
"""

import pathlib
from typing import Any

from emgauss_jax.data.atomic import remove
from emgauss_jax.data.errors import InputError
from emgauss_jax.storage import pytrees

KIND = "checkpoint"
SUFFIX = ".safetensors"


def save(folder: pathlib.Path, step: int, tree: Any) -> None:
    """Keep a pytree of arrays as the checkpoint of a step, in place of the ones before."""
    newest = folder / f"{step}{SUFFIX}"
    pytrees.write(newest, KIND, tree, {"step": step})
    for path in _kept(folder):
        if path != newest:
            remove(path)


def restore(folder: pathlib.Path, wanted: Any) -> Any | None:
    """Read the newest checkpoint, to the bit; None where there is none.

    Args:
      folder: of the checkpoints of one chunk.
      wanted: a pytree of the structure, shapes and dtypes that it must have.

    Returns:
      A pytree like `wanted`, numpy leaves.

    Raises:
      InputError: it is damaged, or a leaf is missing or of another shape or dtype.
    """
    found = _kept(folder)
    if not found:
        return None
    newest = max(found, key=lambda path: int(path.stem))
    if newest.suffix != SUFFIX:
        raise InputError(f"{newest}: got a checkpoint of an older version; {pytrees.AGAIN}")
    try:
        arrays, _ = pytrees.read(newest, KIND)
    except InputError as error:
        raise InputError(f"{error}; delete it to fit again") from error
    return pytrees.like(arrays, wanted, newest)


def _kept(folder: pathlib.Path) -> list[pathlib.Path]:
    """List what is named by a step, whole files all."""
    return [path for path in folder.glob("[0-9]*") if path.stem.isdigit()]
