"""Pytrees as named arrays, and files of them: what is read is checked by name, shape and dtype.

A finished fit or network is one safetensors file: names, shapes and dtypes stand in its header, as
does what it holds and of which version. The format was chosen because reading it runs no code,
other languages read it, and it is one file.
"""

import json
import pathlib
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import safetensors
from safetensors.numpy import save_file

from emgauss_jax.data.atomic import whole
from emgauss_jax.data.errors import InputError

VERSION = 1  # of every such file; one of another version is refused
HEAD = "emgauss_jax"  # one entry of the header: of several, safetensors leaves the order to chance
NOTHING: Mapping[str, Any] = MappingProxyType({})
AGAIN = "fit again in a new workdir"


def named(tree: Any) -> dict[str, Any]:
    """Name the leaves of a pytree by their key paths: {"params/canonical/means": leaf, ...}."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def like(arrays: Mapping[str, np.ndarray], wanted: Any, source: Any) -> Any:
    """Put named arrays into the structure of a pytree.

    Args:
      arrays: by the names that `named` gives; no more and no fewer than the tree's leaves.
      wanted: the tree; its leaves have the shapes and dtypes that are wanted.
      source: where the arrays come from, for the message.

    Returns:
      A pytree like `wanted` that holds the arrays.

    Raises:
      InputError: a leaf is missing, too many, or of another shape or dtype; it is named.
    """
    leaves = named(wanted)
    for name in sorted(leaves.keys() | arrays.keys()):
        got, want = (_kind(each.get(name)) for each in (arrays, leaves))
        if got != want:
            raise InputError(f"{source}: {name}: got {got}, wanted {want}; {AGAIN}")
    return jax.tree.unflatten(jax.tree.structure(wanted), [arrays[name] for name in leaves])


def _kind(leaf: Any) -> str:
    return "no such array" if leaf is None else f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def write(path: pathlib.Path, kind: str, tree: Any, about: Mapping[str, Any]) -> None:
    """Write a pytree of arrays to one safetensors file; what is there is replaced whole.

    Args:
      path: the file.
      kind: what it holds, in a word: "network", "region", "fit".
      tree: leaves of any dtype that NumPy has.
      about: JSON that describes it.
    """
    # In C order: safetensors writes the bytes of a transposed array as they lie in memory.
    arrays = {n: np.asarray(leaf, order="C") for n, leaf in named(jax.device_get(tree)).items()}
    head = {"kind": kind, "version": VERSION, "about": about, "crc32": crc32(arrays, about)}
    with whole(path) as partial:
        save_file(arrays, partial, {HEAD: json.dumps(head)})


def read(path: pathlib.Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write` has written.

    Returns:
      The arrays by name, for `like`, and what is said about them.

    Raises:
      InputError: the file is damaged, holds something else, or is of another version.
    """
    head = _head(path, kind)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # a dtype that NumPy lacks, among others
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: got arrays that cannot be read ({why})") from error
    if head.get("crc32") != crc32(arrays, head["about"]):
        raise InputError(f"{path}: got a damaged or edited file, wanted it as it was written")
    return arrays, head["about"]


def read_about(path: pathlib.Path, kind: str) -> dict[str, Any]:
    """Read what is said about the arrays of a file; raise as `read` does, but for the arrays."""
    return _head(path, kind)["about"]


def crc32(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any] = NOTHING) -> int:
    """Sum up named arrays and what is said of them, so that a bit that has turned is seen."""
    value = zlib.crc32(json.dumps(dict(about), sort_keys=True).encode())
    for name in sorted(arrays):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).view(np.uint8).data, value)
    return value


def _head(path: pathlib.Path, kind: str) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            head = json.loads((file.metadata() or {}).get(HEAD, "{}"))
    except (OSError, ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path}: got a file that cannot be read ({error}), wanted one as train writes it"
        ) from error
    if not isinstance(head, dict) or not isinstance(head.get("about", {}), dict):
        raise InputError(f"{path}: got a damaged header, wanted one as train writes it")
    if head.get("kind") != kind:
        raise InputError(
            f"{path}: got {head.get('kind', 'another safetensors file')!r}, wanted a {kind} of "
            "emgauss_jax"
        )
    if head.get("version") != VERSION:
        raise InputError(f"{path}: got version {head.get('version')}, wanted {VERSION}; {AGAIN}")
    return {"about": {}, **head}


def part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Pick the arrays of one branch, without its name: "regions/0/x" of "regions/0" is "x"."""
    start = f"{prefix}/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
