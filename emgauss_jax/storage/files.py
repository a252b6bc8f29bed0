"""Files of a workdir, written whole or not at all: JSON, and pytrees as NumPy archives.

Archives are read to the bit, on any number of devices, each by the process whose blocks it holds.
"""

import json
import pathlib
import zipfile
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.atomic import whole
from emgauss_jax.data.errors import InputError


def save(path: pathlib.Path, tree: Any) -> None:
    """Write the leaves of a pytree; what is there is replaced whole."""
    leaves = jax.tree.leaves(jax.device_get(tree))
    with whole(path) as partial, partial.open("wb") as file:
        np.savez(file, *leaves)


def read(path: pathlib.Path, like: Any) -> Any:
    """Read what `save` has written: a pytree like `like`, with numpy leaves.

    Raises:
      InputError: the file is damaged, or of another structure.
    """
    structure = jax.tree.structure(like)
    try:
        with np.load(path) as file:
            leaves = [file[name] for name in file.files]  # every one has a checksum
        return jax.tree.unflatten(structure, leaves)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: got a file that cannot be read ({type(error).__name__}), wanted one as train "
            "writes it; delete it to fit again"
        ) from error


def read_json(path: pathlib.Path) -> Any:
    """Read a JSON file.

    Raises:
      InputError: it is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise InputError(f"{path}: got a damaged file, wanted JSON as train writes it") from None


def write_json(path: pathlib.Path, content: Any) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file; whoever reads it meanwhile sees the old one or the new one."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
