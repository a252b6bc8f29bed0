"""Measure the house: its rooms, the floors they stand on, the imports between them.

python -m tests.house [CHECKOUT]

A room is a file at the package's top level, a folder of the package with all that is in it, or the
folders of configs and launchers. A room stands one floor above the highest room it imports.
"""

import ast
import pathlib
import sys
from collections.abc import Iterator, Mapping

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "emgauss_jax"
OUTSIDE = ("configs", "launch")

Rooms = Mapping[str, set[str]]  # room -> the rooms it imports


def room_of(file: pathlib.Path, root: pathlib.Path) -> str:
    """Name the room of a file: "data", "train.py", "launch", "__init__.py"."""
    parts = file.relative_to(root).parts
    return parts[1] if parts[0] == PACKAGE else parts[0]


def imported(file: pathlib.Path) -> Iterator[str]:
    """Yield every name that a file imports, whole: "emgauss_jax.data.stack.SliceStack"."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(root: pathlib.Path = ROOT) -> Rooms:
    """Read which rooms import which; __init__.py of the package only hands names on."""
    package = root / PACKAGE
    files = [
        *package.rglob("*.py"),
        *(file for folder in OUTSIDE for file in (root / folder).rglob("*.py")),
    ]
    found: dict[str, set[str]] = {}
    for file in files:
        here = room_of(file, root)
        if here == "__init__.py":
            continue
        found.setdefault(here, set())
        for name in imported(file):
            top, _, rest = name.partition(".")
            there = rest.split(".")[0]
            if top == PACKAGE and there:
                there = there if (package / there).is_dir() else f"{there}.py"
                found[here] |= {there} - {here}
    return found


def floors(rooms: Rooms) -> dict[str, int]:
    """Put every room a floor above the highest it imports.

    Raises:
      ValueError: rooms that import each other in a circle.
    """
    found: dict[str, int] = {}
    while len(found) < len(rooms):
        ready = [room for room in rooms if room not in found and rooms[room] <= found.keys()]
        if not ready:
            raise ValueError(f"rooms: got a circle among {sorted(rooms.keys() - found.keys())}")
        found |= {room: 1 + max((found[low] for low in rooms[room]), default=0) for room in ready}
    return found


def main() -> None:
    """Print the figures of a checkout, and its rooms from the top floor down."""
    root = pathlib.Path(sys.argv[1]) if sys.argv[1:] else ROOT
    found = rooms(root)
    levels = floors(found)
    arrows = sum(map(len, found.values()))
    hall = len(list((root / PACKAGE).glob("*.py")))
    print(
        f"rooms {len(found)}, floors {max(levels.values())}, arrows {arrows}, "
        f"files at the package's top level {hall}"
    )
    for room in sorted(found, key=lambda room: (-levels[room], room)):
        print(f"{levels[room]:2} {room}: {', '.join(sorted(found[room]))}")


if __name__ == "__main__":
    main()
