"""JSON and text of a workdir, written whole or not at all; what is read is checked."""

import json
import math
import os
import pathlib
import types
import typing
from typing import Any

from emgauss_jax.data.atomic import whole
from emgauss_jax.data.errors import InputError

LARGEST = 2**26  # bytes of a JSON that is read: those of a workdir have some thousands


def read_json(path: pathlib.Path) -> Any:
    """Read a JSON file.

    Raises:
      InputError: it is no JSON, or one that no workdir has.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(f"{path}: got {size:,} bytes, wanted JSON of {LARGEST:,} at most")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, IsADirectoryError):
        raise InputError(f"{path}: got a damaged file, wanted JSON as train writes it") from None


def read_record(path: pathlib.Path, kinds: dict[str, Any]) -> dict[str, Any]:
    """Read a JSON object whose members are known.

    Args:
      path: the file.
      kinds: member -> its type: int, float, str, or list[...], dict[str, ...], tuple[...] of these.

    Raises:
      InputError: it is no JSON, or another one.
    """
    return checked(read_json(path), kinds, path)


def checked(record: Any, kinds: dict[str, Any], source: Any) -> dict[str, Any]:
    """Check the members of an object, as `read_record` does."""
    names = sorted(record) if isinstance(record, dict) else type(record).__name__
    if names != sorted(kinds):
        raise InputError(f"{source}: got {str(names)[:80]}, wanted an object of {sorted(kinds)}")
    for name, kind in kinds.items():
        if not is_of(record[name], kind):
            got, wanted = repr(record[name])[:60], getattr(kind, "__name__", kind)
            raise InputError(f"{source}: {name}: got {got}, wanted {wanted}")
    return record


def read_lines(path: pathlib.Path, kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a log, a JSON object a line; what a kill has cut short is left out.

    Args:
      path: the file.
      kinds: members that every line has, see `read_record`; there may be others.

    Raises:
      InputError: a line is another object.
    """
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        known = {name: line[name] for name in kinds if isinstance(line, dict) and name in line}
        checked(known, kinds, path)
        lines.append(line)
    return lines


def is_of(value: Any, kind: Any) -> bool:
    """Tell whether a value of JSON is of a type, numbers finite.

    Args:
      value: any.
      kind: see `read_record`.
    """
    outer, inner = typing.get_origin(kind), typing.get_args(kind)
    if outer is list:
        return isinstance(value, list) and all(is_of(each, inner[0]) for each in value)
    if outer is dict:
        return isinstance(value, dict) and all(is_of(each, inner[1]) for each in value.values())
    if outer is tuple:
        alike = isinstance(value, list) and len(value) == len(inner)
        return alike and all(is_of(*pair) for pair in zip(value, inner, strict=True))
    if outer is types.UnionType:
        return any(is_of(value, each) for each in inner)
    if isinstance(value, bool) or kind in (bool, str, dict, type(None)):
        return type(value) is kind
    is_number = isinstance(value, kind if kind is int else int | float)
    return is_number and abs(value) < 2**63 and math.isfinite(value)


def refuse_links_out(folder: pathlib.Path, home: pathlib.Path) -> None:
    """Raise where a link inside a workdir leads astray: what is written there would go with it.

    Volumes inside it are not looked into: they are replaced whole.

    Args:
      folder: the workdir.
      home: the folder in which links may stay: the workdir, or the sweep that it is a row of.

    Raises:
      InputError: there is one; it is named.
    """
    root, folders = os.path.realpath(home), [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if os.path.commonpath([root, target]) != root:
                        raise InputError(
                            f"{entry.path}: got a link to {target}, wanted none that leads out of "
                            f"{home}"
                        )
                elif entry.is_dir() and "." not in entry.name:
                    folders.append(pathlib.Path(entry.path))


def write_json(path: pathlib.Path, content: Any) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file; whoever reads it meanwhile sees the old one or the new one."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
