"""Damage to the headers of a file: bits, numbers, lengths, fields, and words of JSON and XML.

All is drawn from one generator, so that a seed makes the same file again.
"""

import bz2
import gzip
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HEAD = 2048  # bytes at either end of a binary file in which most damage is done
NUMBERS = (0, 1, -1, 2, 3, 127, 255, 2**15, 2**16 - 1, 10**6, 2**31 - 1, -(2**31), 2**32 - 1,
           2**53, 2**62, 2**63 - 1)  # fmt: skip
FLOATS = (0.0, -1.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"))
WORDS = ("0", "-1", "1", "99999999999", "1000000", "1e400", "NaN", "Infinity", "null", "true", "[]",
         "{}", '""', '"x"', "0.5", '"../../x"', '"/etc/passwd"', "[[1]]", "9" * 400)  # fmt: skip
VALUES: tuple[Any, ...] = (
    0, -1, 1, 7, 2**31, 2**63, 10**12, 10**400, 0.5, 1e300, float("nan"), float("inf"), None, True,
    "", "x", "../../x", "/etc/passwd", "9" * 400, [], {}, [1], [[1]], [0, 0, 0], [-1, -1, -1],
    [1, 1, 1], [10**6] * 3, [10**4] * 3, [2**62] * 3, ["x"] * 3, {"x": 1}, [None] * 3,
)  # fmt: skip
Rng = np.random.Generator


def _pick(rng: Rng, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _place(rng: Rng, length: int) -> int:
    """Draw a byte: mostly of the head, else of the tail or of all."""
    where = rng.random()
    if where < 0.6 or length < HEAD:
        return int(rng.integers(min(length, HEAD) if rng.random() < 0.5 else min(length, 256)))
    return int(rng.integers(length - HEAD if where < 0.8 else 0, length))


def _flip(rng: Rng, content: bytearray) -> None:
    for _ in range(int(rng.integers(1, 9))):
        content[_place(rng, len(content))] ^= 1 << int(rng.integers(8))


def _extreme(rng: Rng, content: bytearray) -> None:
    """Write an odd number over another one, as any type in either byte order."""
    order, kind = _pick(rng, "<>"), _pick(rng, "bhiqfd")
    if kind in "fd":
        number = _pick(rng, FLOATS if kind == "d" else (0.0, -1.0, *FLOATS[4:]))
    else:
        bits = 8 * struct.calcsize(kind)
        number = (_pick(rng, NUMBERS) + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    packed = struct.pack(order + kind, number)
    start = _place(rng, len(content)) // len(packed) * len(packed)
    content[start : start + len(packed)] = packed


def _cut(rng: Rng, content: bytearray) -> None:
    del content[
        int(rng.integers(len(content) + 1)) if rng.random() < 0.5 else _place(rng, len(content)) :
    ]


def _swap(rng: Rng, content: bytearray) -> None:
    size = int(_pick(rng, (1, 2, 4, 8)))
    one, other = (_place(rng, len(content)) // size * size for _ in range(2))
    first, second = bytes(content[one : one + size]), bytes(content[other : other + size])
    if len(first) == len(second):
        content[one : one + size], content[other : other + size] = second, first


def _blank(rng: Rng, content: bytearray) -> None:
    start, size = _place(rng, len(content)), int(rng.integers(1, 64))
    stop = min(start + size, len(content))
    content[start:stop] = bytes([_pick(rng, (0, 255))]) * (stop - start)


def _word(rng: Rng, content: bytearray) -> None:
    """Write another word for a number or a word that stands there in plain text."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?|[A-Za-z]{3,}", bytes(content)))
    if found:
        match = _pick(rng, found)
        content[match.start() : match.end()] = _pick(rng, WORDS).encode()


BYTES: tuple[Callable[[Rng, bytearray], None], ...] = (
    _flip, _flip, _extreme, _extreme, _extreme, _cut, _swap, _blank, _word, _word,
)  # fmt: skip


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """List all (container, key) of a JSON."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [found for key in keys for found in ((tree, key), *_nodes(tree[key]))]


def _rewritten(rng: Rng, content: bytes) -> bytes:
    """Give a JSON another value somewhere, or take a member away, or add one."""
    tree = json.loads(content)
    nodes = _nodes(tree)
    if not nodes:
        return _pick(rng, WORDS).encode()
    parent, key = _pick(rng, nodes)
    how = rng.random()
    if how < 0.15:
        del parent[key]
    elif how < 0.25 and isinstance(parent, dict):
        parent[_pick(rng, ("x", "paths", "..", ""))] = _pick(rng, VALUES)
    elif how < 0.4:
        parent[key] = _pick(rng, nodes)[0] if rng.random() < 0.3 else [parent[key]]
        try:
            json.dumps(tree)
        except ValueError:  # it holds itself
            parent[key] = None
    else:
        parent[key] = _pick(rng, VALUES)
    return json.dumps(tree).encode()


def _damaged(rng: Rng, content: bytes) -> bytes:
    for _ in range(int(_pick(rng, (1, 1, 1, 2, 3)))):
        try:
            is_json = isinstance(json.loads(content), dict)
        except ValueError:
            is_json = False
        if is_json and rng.random() < 0.7:
            content = _rewritten(rng, content)
            continue
        changed = bytearray(content)
        if changed:
            _pick(rng, BYTES)(rng, changed)
        content = bytes(changed)
    return content


def damage(path: Path, rng: Rng) -> None:
    """Damage one file of a sample in place; of compressed ones mostly what is inside."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    texts = [file for file in files if _is_metadata(file)]
    file = _pick(rng, texts if texts and rng.random() < 0.8 else files)
    content = file.read_bytes()
    inside = rng.random() < 0.75
    if file.suffix == ".gz" and inside:
        content = gzip.compress(_damaged(rng, gzip.decompress(content)), mtime=0)
    elif file.suffix == ".bz2" and inside:
        content = bz2.compress(_damaged(rng, bz2.decompress(content)))
    else:
        content = _damaged(rng, content)
    file.write_bytes(content)


def _is_metadata(file: Path) -> bool:
    return file.suffix == ".json" or file.name in (".zarray", ".zattrs", ".zgroup", "info")
