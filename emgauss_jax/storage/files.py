"""JSON and text of a workdir, written whole or not at all."""

import json
import pathlib
from typing import Any

from emgauss_jax.data.atomic import whole
from emgauss_jax.data.errors import InputError


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
