"""Which axis of an array is z, y and x, from the names that its file gives them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emgauss_jax.data.formats.interface import VolumeError, spatial_axes

_WORDS = {
    "z": ("z", "depth", "plane", "slice", "section", "pln"),
    "y": ("y", "height", "row"),
    "x": ("x", "width", "col", "column"),
    "c": ("c", "ch", "channel"),
    "t": ("t", "time", "frame"),
}
_LETTER = {word: letter for letter, words in _WORDS.items() for word in words}


class Axes(NamedTuple):
    """Where z, y and x are in an array."""

    zyx: tuple[int, int, int]  # indices of the array's axes
    named: bool  # whether the file says so
    notes: tuple[str, ...] = ()

    @property
    def turned(self) -> tuple[str, ...]:
        """Note that the array is transposed, if it is."""
        stored = sorted(self.zyx)
        if list(self.zyx) == stored:
            return ()
        order = ", ".join("zyx"[self.zyx.index(axis)] for axis in stored)
        return (f"stored as {order}, as its axes are named: transposed to z, y, x",)


def letter_of(name: str | None) -> str:
    """Give z, y, x, c or t for the name of an axis; "" if it says none of these."""
    word = str(name or "").strip().lower()
    if word.endswith("^"):  # funlib marks channels so
        return "c"
    return _LETTER.get(word) or _LETTER.get(word.removesuffix("s"), "")


def _listed(names: Sequence[str | None]) -> str:
    return ", ".join("?" if name is None else str(name) for name in names)


def _merged(shape: Sequence[int], sources: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Give a letter for each axis, from all sources that say one."""
    letters, first = [""] * len(shape), ""
    for source, names in sources.items():
        if len(names) != len(shape):
            raise VolumeError(
                f"axes: got {source} {_listed(names)} for shape {tuple(shape)}, "
                "wanted a name for each axis"
            )
        own = [letter_of(name) for name in names]
        if any(a and b and a != b for a, b in zip(letters, own, strict=True)):
            raise VolumeError(
                f"axes: got {_listed(names)} in {source} and {_listed(sources[first])} in {first}, "
                "wanted the same names in both"
            )
        first = first or (source if any(own) else "")
        letters = [a or b for a, b in zip(letters, own, strict=True)]
    return letters


def find_axes(shape: Sequence[int], sources: Mapping[str, Sequence[str | None]]) -> Axes:
    """Find z, y and x by name, or in stored order where no name tells.

    Args:
      shape: of the array.
      sources: where in the file names stand -> a name, or None, for each axis.

    Returns:
      The axes, and notes of what was assumed.

    Raises:
      VolumeError: sources contradict each other, names do not tell which axis is which, or the
        array has not three axes besides singleton ones.
    """
    letters = _merged(shape, sources)
    said = " and ".join(_listed(names) for names in sources.values())
    known = [letter for letter in letters if letter in "zyx" and letter]
    lacking = [letter for letter in "zyx" if letter not in known]
    nameless = [i for i, letter in enumerate(letters) if not letter]
    others = [i for i, letter in enumerate(letters) if letter in ("c", "t") and shape[i] > 1]
    if not lacking and len(known) == 3:
        return Axes(spatial_axes(shape, letters), True)
    if len(lacking) == 1 and len(nameless) == 1 and len(known) == 2:
        letters[nameless[0]] = lacking[0]
        note = f"the axes are named {said}: the nameless one is taken as {lacking[0]}"
        return Axes(spatial_axes(shape, letters), True, (note,))
    if known or others:
        raise VolumeError(
            f"axes: got {said} for shape {tuple(shape)}, wanted z, y, x: slices lie along z"
        )
    note = f"the axes are named {said}: they are taken as z, y, x in stored order"
    return Axes(spatial_axes(shape), False, (note,) if sources else ())
