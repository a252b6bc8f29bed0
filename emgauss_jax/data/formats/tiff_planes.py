"""What an OME header says of single planes: where they lie, and in which file."""

from collections.abc import Sequence
from itertools import pairwise
from xml.etree.ElementTree import Element

from emgauss_jax.data.formats.interface import VolumeError
from emgauss_jax.data.formats.units import decimal, to_nm

_EVEN = 0.01  # of a distance: by so much may those of planes differ


def first_position(pixels: Element) -> list[float | None]:
    """Return the position of the first plane, nm (z, y, x); None along axes that tell no length."""
    planes = pixels.findall("{*}Plane")
    first = next((plane for plane in planes if _is_first(plane)), None)
    if first is None:
        return [0.0] * 3
    return [_coordinate(first, f"Position{letter}") for letter in "ZYX"]


def _is_first(plane: Element) -> bool:
    return not any(_number(plane, axis) for axis in "ZCT")


def _number(plane: Element, axis: str) -> int:
    return int(plane.get(f"The{axis}", 0))


def _coordinate(plane: Element, name: str) -> float | None:
    value = decimal(plane.get(name, 0))
    return _nm(value, plane.get(f"{name}Unit", "reference frame")) if value else 0.0


def _nm(value: float, unit: str) -> float | None:
    """Return nm; None where a unit is no length, or the number none."""
    try:
        length = to_nm(value, unit)
    except VolumeError:
        return None
    return length if abs(length) < float("inf") else None


def depth_notes(pixels: Element) -> list[str]:
    """Say that planes lie otherwise along z than evenly and upwards by PhysicalSizeZ.

    Nothing is said where all planes are at one depth: some writers repeat that of the stage.
    """
    steps, size = _steps(_depths(pixels)), pixels.get("PhysicalSizeZ")
    nm = _nm(decimal(size), pixels.get("PhysicalSizeZUnit", "µm")) if size else None
    if not any(steps) or not nm or nm < 0:
        return []
    notes = []
    if max(steps) < 0:
        notes.append(
            "PositionZ falls from plane to plane: the place of the first plane is kept, z is "
            "counted up"
        )
        steps = [-step for step in steps]
    if any(abs(step - nm) > _EVEN * nm for step in steps):
        notes.append(
            f"PositionZ of the planes is not evenly {nm:g} nm apart ({min(steps):g} to "
            f"{max(steps):g}): PhysicalSizeZ is used; data.z_nm takes depths"
        )
    return notes


def _depths(pixels: Element) -> dict[int, float]:
    """Return the depths that planes of the first channel and frame state, nm by slice."""
    depths = {
        _number(plane, "Z"): _coordinate(plane, "PositionZ")
        for plane in pixels.iterfind("{*}Plane")
        if plane.get("PositionZ") and not _number(plane, "C") and not _number(plane, "T")
    }
    return {z: depth for z, depth in sorted(depths.items()) if depth is not None}


def _steps(depths: dict[int, float]) -> Sequence[float]:
    """Return the distances of slices, nm; those between two that state no depth are alike."""
    return [(b - a) / (after - before) for (before, a), (after, b) in pairwise(depths.items())]


def file_of(pixels: Element, plane: int) -> str:
    """Find the name of the file that holds a plane.

    Args:
      pixels: of an image whose planes follow along one axis.
      plane: its number along that axis.

    Returns:
      The name; empty where the header does not say it.
    """
    found = (-1, "")
    for data in pixels.iterfind("{*}TiffData"):
        first = sum(int(data.get(f"First{axis}", 0)) for axis in "ZCT")
        uuid = data.find("{*}UUID")
        if found[0] < first <= plane:
            found = first, "" if uuid is None else uuid.get("FileName", "")
    return found[1]
