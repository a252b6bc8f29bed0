"""The order of files that are slices, by the numbers in their names."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from emgauss_jax.data.formats.interface import VolumeError

_LISTED = 6  # numbers in a note


def in_order(files: Sequence[Path], chosen: bool) -> tuple[list[Path], list[str]]:
    """Put files in the order of the numbers in their names: slice_2 before slice_10.

    Args:
      files: one or more.
      chosen: the user has named them by a pattern; else names that differ in more than their
        number, or in two that rise in different orders, are refused: they may be several stacks.

    Returns:
      The files in order, and what is to be said of their numbers.

    Raises:
      VolumeError: not chosen, and it is not plain which number counts the slices.
    """
    named = sorted((_parts(file.stem), file) for file in files)
    ordered = [file for _, file in named]
    if len(named) == 1:
        return ordered, []
    columns = _columns([parts for parts, _ in named])
    rising = [numbers for numbers in columns if min(_steps(numbers)) > 0]
    falls = any(min(_steps(numbers)) < 0 for numbers in columns)
    if len(rising) > 1 or (rising and not falls):
        return ordered, _gaps(min(rising, key=lambda numbers: len(set(_steps(numbers)))))
    first, last = ordered[0].name, ordered[-1].name
    words = f"names differ in more than a rising number, from {first} to {last}"
    if rising:
        words = f"the numbers in the names rise in different orders, from {first} to {last}"
    if chosen:
        return ordered, [f"{words}: slices are taken in this order"]
    raise VolumeError(
        f"{words}, wanted one stack: name its files by a pattern, as FOLDER/slice_*.tif"
    )


def _parts(stem: str) -> list:
    """Cut a name into texts and numbers, in turn; capitals do not matter."""
    parts = re.split(r"([0-9]+)", stem.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _columns(named: Sequence[list]) -> list[list[int]]:
    """List each number from name to name; none unless all texts are the same."""
    if len({tuple(parts[::2]) for parts in named}) > 1:
        return []
    return [list(numbers) for numbers in zip(*(parts[1::2] for parts in named), strict=True)]


def _steps(numbers: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise(numbers)]


def _gaps(numbers: Sequence[int]) -> list[str]:
    """Say which numbers are left out; they may count by twos or tens."""
    steps = _steps(numbers)
    usual = min(set(steps), key=lambda step: (-steps.count(step), step))
    gaps = [(a + usual, b - usual) for a, b in pairwise(numbers) if b - a != usual]
    if not gaps:
        return []
    listed = ", ".join(f"{a}" if a >= b else f"{a} to {b}" for a, b in gaps[:_LISTED])
    more = f" and {len(gaps) - _LISTED} more gaps" if len(gaps) > _LISTED else ""
    return [f"no image has number {listed}{more}: the slices beside are taken as adjacent"]
