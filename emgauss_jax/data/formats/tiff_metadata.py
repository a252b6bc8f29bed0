"""What the headers of OME and ImageJ say of a stack: its voxel size and where it lies.

OME states PhysicalSize, in micrometres unless a unit is given, and the Position of every plane;
ImageJ the resolution of a page, the spacing of slices, and the origin in voxels. Lengths are nm and
(z, y, x) here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError, fromstring

import tifffile

from emgauss_jax.data.formats.interface import (
    AT_ORIGIN,
    Place,
    VolumeError,
    Voxel,
    check_inside,
    no_voxel_size,
)
from emgauss_jax.data.formats.tiff_planes import depth_notes, first_position
from emgauss_jax.data.formats.units import decimal, to_nm, voxel_length_nm

_INCH_OR_CM = {2: ("inch", "inches", "in"), 3: ("cm", "centimeter", "centimetre")}


class Header(NamedTuple):
    """What a file says of itself beside its pages."""

    images: tuple[Element, ...] = ()  # the element Pixels of every image of an OME header
    is_ome: bool = False  # also where the header cannot be read
    elsewhere: str = ""  # name of the file that holds the OME header, where it is not this one
    imagej: Mapping[str, Any] = {}  # ImageJ's header by its names
    per_unit: tuple[float, float] | None = None  # px of a unit of length along y and x
    resolution_unit: int = 1  # 2: inch, 3: centimetre, else none
    ome_files: tuple[str, ...] = ()  # names of all files that an OME header lists
    promised: tuple[int, str] = (0, "")  # planes in this file as its header says, and whose it is
    pixels: Element | None = None  # of `images`, the one that describes the stack that is read


def header_of(tif: tifffile.TiffFile) -> Header:
    """Read the headers of a file."""
    tags = tif.pages.first.tags
    rates = [_rate(tags.valueof(f"{axis}Resolution")) for axis in "YX"]
    header = Header(
        promised=_promised(tif),
        imagej=tif.imagej_metadata or {},
        per_unit=tuple(rates) if all(rates) else None,
        resolution_unit=int(tags.valueof("ResolutionUnit", default=1)),
    )
    return header._replace(promised=(0, ""), **_ome(tif.ome_metadata)) if tif.is_ome else header


def _rate(rational: Any) -> float:
    """Return px per unit; 0 if it is not known."""
    if isinstance(rational, tuple):
        above, below = rational
        return above / below if below else 0.0
    return float(rational or 0.0)


def _promised(tif: tifffile.TiffFile) -> tuple[int, str]:
    """Count the planes that ImageJ's header or tifffile's own promises."""
    page, imagej = tif.pages.first, tif.imagej_metadata
    if imagej:
        names = ("slices", "frames", "channels", "images")
        *lengths, images = (max(1, int(decimal(imagej.get(name, 1)))) for name in names)
        if lengths[2] == page.samplesperpixel:  # samples that are called channels
            lengths[2] = 1
        # ImageJ's own count of images is not always kept up
        return math.prod(lengths) if max(lengths) > 1 else images, "ImageJ's"
    if page.is_shaped and page.shaped_description.startswith("{"):
        shape = json.loads(page.shaped_description)["shape"]
        return math.prod(shape) // math.prod(page.shape), "tifffile's"
    return 0, ""


def _ome(xml: str) -> dict[str, Any]:
    if "<!DOCTYPE" in xml:  # OME has none; entities may stand for texts without end
        raise VolumeError("got an OME header with a DOCTYPE, wanted one without")
    try:
        root = fromstring(xml)
    except ParseError:
        return {"is_ome": True}
    companion = next((node.get("MetadataFile") for node in root.iterfind("{*}BinaryOnly")), None)
    names = {node.get("FileName") for node in root.iterfind(".//{*}UUID")} - {None}
    for name in filter(None, (companion, *names)):
        check_inside(name, "file that the OME header names")
    return {
        "is_ome": True,
        "images": tuple(root.iterfind("{*}Image/{*}Pixels")),
        "elsewhere": companion or "",
        "ome_files": tuple(sorted(names)),
    }


def pixels_like(images: Sequence[Element], size: Sequence[int], planes: int) -> Element | None:
    """Find the image of an OME header that has a size (H, W), px, and a count of planes."""
    wanted = (*size, planes)
    for pixels in images:
        height, width, *counts = (int(pixels.get(f"Size{letter}", 1)) for letter in "YXZCT")
        if (height, width, math.prod(counts)) == wanted:
            return pixels
    return None


def voxel_nm(header: Header, axis: str) -> Voxel | None:
    """Find the voxel size of a stack.

    Args:
      header: the file's; `pixels` is the image that is read.
      axis: the letter of the axis of its slices, "Z", "T", "C" or another.

    Returns:
      nm (z, y, x); None where the file says nothing of it.

    Raises:
      VolumeError: what the file says is no length, or not the distance of slices.
    """
    if header.pixels is not None:
        return _ome_voxel_nm(header.pixels, axis)
    if header.is_ome:
        where = f"lies in {header.elsewhere}" if header.elsewhere else "does not fit the pages"
        raise no_voxel_size(f"the OME header {where}")
    if header.imagej:
        return _imagej_voxel_nm(header, axis)
    if header.per_unit and header.resolution_unit in _INCH_OR_CM:
        unit = _INCH_OR_CM[header.resolution_unit][0]
        y, x = (to_nm(1 / rate, unit) for rate in header.per_unit)
        raise no_voxel_size(f"by its resolution px are {y:g} x {x:g} nm (y, x), z is not said")
    return None


def _ome_voxel_nm(pixels: Element, axis: str) -> Voxel | None:
    names = [f"PhysicalSize{letter}" for letter in "ZYX"]
    stated = [name for name in names if pixels.get(name) is not None]
    if axis == "T" and decimal(pixels.get("TimeIncrement")) > 0:
        raise no_voxel_size(_in_time(pixels.get("TimeIncrement"), "TimeIncrement"))
    if not stated:
        return None
    sizes = {
        name: voxel_length_nm(name, pixels.get(name), pixels.get(f"{name}Unit", "µm"))
        for name in stated
    }
    if len(sizes) < 3:
        known = ", ".join(f"{name} is {nm:g} nm" for name, nm in sizes.items())
        raise no_voxel_size(f"of the three {known}")
    return tuple(sizes[name] for name in names)


def _in_time(interval: Any, name: str) -> str:
    return f"the planes are frames that follow in time, {name} {interval}"


def _imagej_voxel_nm(header: Header, axis: str) -> Voxel | None:
    imagej = header.imagej
    units, spacing = _imagej_units(imagej), imagej.get("spacing")
    if header.per_unit is None or any(not unit or unit.startswith("pixel") for unit in units):
        return None
    if axis == "T" and decimal(imagej.get("finterval")) > 0:
        raise no_voxel_size(_in_time(imagej["finterval"], "finterval"))
    px = [to_nm(1 / rate, unit) for rate, unit in zip(header.per_unit, units[1:], strict=True)]
    if not spacing:
        raise no_voxel_size(f"px are {px[0]:g} x {px[1]:g} nm (y, x), no spacing of slices")
    # ImageJ lets the spacing be negative for a stack that runs downwards
    distance = str(spacing).strip().removeprefix("-")
    return (voxel_length_nm("spacing", distance, units[0]), *px)


def _imagej_units(imagej: Mapping[str, Any]) -> list[str]:
    """Return the units along z, y and x: ImageJ names those of y and z where they differ."""
    unit = imagej.get("unit", "")
    return [str(imagej.get(f"{letter}unit", unit)) for letter in "zyx"]


def place(header: Header, voxel: Voxel) -> Place:
    """Find where the first voxel lies.

    Args:
      header: the file's.
      voxel: nm (z, y, x), in which ImageJ counts its origin.

    Returns:
      The place; at the origin where the file says nothing.
    """
    if header.pixels is not None:
        return Place(tuple(length or 0.0 for length in first_position(header.pixels)))
    origins = [decimal(header.imagej.get(f"{letter}origin", 0)) for letter in "zyx"]
    if header.is_ome or not any(origins):
        return AT_ORIGIN
    return AT_ORIGIN.moved([-at * size for at, size in zip(origins, voxel, strict=True)])


def notes(header: Header) -> Sequence[str]:
    """Say what in the headers is taken in another sense than the plain one."""
    notes = [*_comma_notes(header), *_resolution_notes(header), *_position_notes(header)]
    return notes if header.pixels is None else [*notes, *depth_notes(header.pixels)]


def _comma_notes(header: Header) -> list[str]:
    stated = {"spacing": header.imagej.get("spacing")}
    if header.pixels is not None:
        stated = {name: header.pixels.get(name) for name in header.pixels.attrib if "Size" in name}
    return [
        f"{name} {text} is read as {decimal(text):g}"
        for name, text in stated.items()
        if "," in str(text) and decimal(text) == decimal(text)
    ]


def _resolution_notes(header: Header) -> list[str]:
    """Say that ImageJ's unit and the tag ResolutionUnit differ; ImageJ goes by its own."""
    tag = _INCH_OR_CM.get(header.resolution_unit)
    unit = str(header.imagej.get("unit", "")).lower()
    if header.is_ome or not tag or not unit or unit in tag:
        return []
    return [f"px are counted per {unit}, as ImageJ does, though a tag says per {tag[0]}"]


def _position_notes(header: Header) -> list[str]:
    position = [] if header.pixels is None else first_position(header.pixels)
    axes = [letter for letter, length in zip("ZYX", position, strict=False) if length is None]
    names = ", ".join(f"Position{letter}" for letter in axes)
    return [f"{names}: no length in the file, 0 is taken"] if axes else []
