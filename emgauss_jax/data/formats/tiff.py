"""TIFF: OME, ImageJ and plain stacks.

The voxel size is OME's PhysicalSize, or ImageJ's resolution and spacing. A plain TIFF states no
size along z, so it has no voxel size. Where a file holds several images, `dataset` is the number
of one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from emgauss_jax.data.formats import tiff_metadata
from emgauss_jax.data.formats.grey import Grey, calibrated, of_kind
from emgauss_jax.data.formats.interface import (
    AT_ORIGIN,
    DTYPES,
    Format,
    Layout,
    Reader,
    Slices,
    VolumeError,
    Writer,
    spatial_axes,
)
from emgauss_jax.data.formats.tiff_contents import contents
from emgauss_jax.data.formats.tiff_metadata import Header
from emgauss_jax.data.formats.tiff_pages import (
    Page,
    check_codecs,
    check_whole,
    memory_mapped,
    read_pages,
)
from emgauss_jax.data.formats.tiff_planes import file_of
from emgauss_jax.data.formats.tiff_series import series_of
from emgauss_jax.data.formats.tiff_stack import Stack, choose

# leaves the classic format's 32-bit offsets room for the metadata
_CLASSIC_LIMIT = 2**32 - 2**25
_BIG_SUFFIXES = (".btf", ".tf2", ".tf8")  # of BigTIFF alone
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")  # all that ImageJ's header can describe
_COLOURS = (3, 4)  # samples of a colour; others are grey with alpha, or detectors
_FRAMES = {"T": "frames in time", "C": "channels"}


def _axes(stack: Stack) -> tuple[int, int, int]:
    """Find which axes of a stack are z, y and x: by letter, z as the one that is left."""
    axes, shape = stack.axes, stack.shape
    samples = stack.kind.samples
    if samples in _COLOURS:
        raise VolumeError(
            f"got a colour image ({samples} samples per pixel), wanted a grey one: "
            "convert it, also where its colours are equal"
        )
    if samples > 1:
        raise VolumeError(f"got {samples} samples per pixel, wanted one: keep that of the grey")
    rest = [axis for axis, letter in enumerate(axes) if letter not in "YXS"]
    if axes.count("Y") != 1 or axes.count("X") != 1 or not rest:
        return spatial_axes([n for n, letter in zip(shape, axes, strict=True) if letter != "S"])
    long = [axis for axis in rest if shape[axis] > 1]
    if len(long) > 1:
        lengths = ", ".join(f"{axes[axis]} {shape[axis]}" for axis in long)
        raise VolumeError(f"got axes {lengths} beside Y and X, wanted 3 dimensions (z, y, x)")
    z = long[0] if long else max(axes.find("Z"), rest[0])
    return z, axes.index("Y"), axes.index("X")


def _frames_note(stack: Stack, z: int, header: Header) -> list[str]:
    """Say that the slices are called otherwise; raise where they are the colours of one slice."""
    letter, count, mode = stack.axes[z], stack.shape[z], header.imagej.get("mode")
    if letter not in _FRAMES or count == 1:
        return []
    if letter == "C" and mode in ("composite", "color"):
        raise VolumeError(f"got {count} channels of one slice ({mode}), wanted slices of a stack")
    return [f"{count} {_FRAMES[letter]} are taken as slices"]


def _stored(stack: Stack, path: Path, shape: tuple[int, ...]) -> Callable[[Slices], np.ndarray]:
    """Return what reads a box of a stack, whose three axes have this shape as they are stored."""
    there = None not in stack.pages
    array = memory_mapped(stack.pages, shape, stack.is_block) if there else None
    if array is not None:
        return array.__getitem__
    if not stack.by_page:
        return partial(_read_all, stack, path, shape)
    if (len(stack.pages), *stack.kind.shape) == shape:
        return partial(_read_planes, stack, path)
    return partial(_read_blocks, stack.pages, shape)


def _read_planes(stack: Stack, path: Path, box: Slices) -> np.ndarray:
    """Decode the pages of a box, each of which is a plane."""
    wanted = stack.pages[box[0]]
    if None in wanted:
        z = box[0].start + wanted.index(None)
        name = "" if stack.pixels is None else file_of(stack.pixels, z)
        gone = name and not (path.parent / name).exists()
        why = f"lies in {name}, which is not there" if gone else "has no page that holds it"
        raise VolumeError(
            f"slice {z} is listed in the metadata, but {why}: leave it out by data.missing, or by "
            "--input_missing (of --input)"
        )
    return read_pages(wanted, box[1:])


def _read_blocks(pages: Sequence[Page], shape: tuple[int, ...], box: Slices) -> np.ndarray:
    """Decode all pages, each of which is several planes."""
    whole = [slice(0, length) for length in pages[0].kind.shape]
    return read_pages(pages, whole).reshape(shape)[box]


def _read_all(stack: Stack, path: Path, shape: tuple[int, ...], box: Slices) -> np.ndarray:
    """Decode a whole stack that tifffile alone can decode."""
    with series_of(path) as (_, series):
        return series[stack.index].asarray().reshape(shape)[box]


def _number(dataset: str) -> int | None:
    if dataset and not dataset.isdecimal():
        raise VolumeError(f"dataset: got {dataset!r}, wanted the number of an image, as 0")
    return int(dataset) if dataset else None


def read(path: Path, dataset: str) -> Reader:
    """Open an image of a TIFF file at full resolution.

    Contiguous uncompressed data are memory-mapped, others decoded page by page.

    Args:
      path: the file.
      dataset: the number of the image, from 0; "" where the file leaves no choice.

    Returns:
      The volume.
    """
    stacks, header, notes = contents(path)
    stack, choice = choose(stacks, _number(dataset), path)
    axes = _axes(stack)
    check_whole(stack.held)
    check_codecs(stack.held)
    if stack.held[0].index > 0 and not header.is_ome:
        header = Header()  # the file's describes the first page
    header = header._replace(pixels=stack.pixels)
    grey = calibrated(of_kind(stack.kind), header.imagej)
    frames = _frames_note(stack, axes[0], header)
    return Reader(
        tuple(stack.shape[axis] for axis in axes),
        grey.dtype,
        partial(tiff_metadata.voxel_nm, header, stack.axes[axes[0]]),
        _in_order(stack, path, axes, grey),
        partial(tiff_metadata.place, header),
        (*notes, *choice, *frames, *grey.notes, *tiff_metadata.notes(header)),
        partial(_absent, stack.pages, axes),
    )


def _in_order(
    stack: Stack, path: Path, axes: Sequence[int], grey: Grey
) -> Callable[[Slices], np.ndarray]:
    """Return what reads the grey levels of a box (z, y, x), in whatever order they are stored."""
    stored = sorted(axes)
    turned = [stored.index(axis) for axis in axes]
    read_stored = _stored(stack, path, tuple(stack.shape[axis] for axis in stored))

    def read_box(box: Slices) -> np.ndarray:
        array = read_stored(tuple(box[axes.index(axis)] for axis in stored))
        return grey.levels(array.transpose(turned))

    return read_box


def _absent(pages: Sequence[Page | None], axes: Sequence[int], box: Slices) -> tuple[int, int]:
    """Count the strips that hold no byte; a page is asked as a whole."""
    wanted = pages[box[axes.index(min(axes))]]
    counts = [page.strips for page in wanted if page is not None]
    return sum(empty for empty, _ in counts), sum(total for _, total in counts)


def create(path: Path, layout: Layout) -> Writer:
    """Create an uncompressed TIFF stack, memory-mapped.

    Args:
      path: the file to write.
      layout: the volume to write. A name in `.ome.tif` or `.ome.tiff` gets OME metadata, any other
        ImageJ's. OME's get, whatever the name, volumes above 4 GiB and others for which ImageJ's
        header has no words: BigTIFF, and all but uint8, uint16 and float32.

    Returns:
      The writer.
    """
    name = layout.name.lower()
    big = np.prod(layout.shape, dtype=float) * layout.dtype.itemsize > _CLASSIC_LIMIT
    big = bool(big) or name.endswith(_BIG_SUFFIXES)
    named_ome = name.endswith((".ome.tif", ".ome.tiff"))
    if big or named_ome or layout.dtype.name not in _IMAGEJ_DTYPES:
        options = _ome_options(layout) | {"bigtiff": big}
    else:
        options = _imagej_options(layout)
    array = tifffile.memmap(
        path, shape=layout.shape, dtype=layout.dtype, photometric="minisblack", **options
    ).reshape(layout.shape)
    return Writer(array.__setitem__, array.flush)


def _ome_options(layout: Layout) -> dict[str, object]:
    z, y, x = layout.voxel_nm
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)}
    metadata = {"axes": "ZYX", **sizes, **{f"{key}Unit": "nm" for key in sizes}}
    if layout.place != AT_ORIGIN:
        metadata["Plane"] = _planes(layout)
    resolution = (1e7 / x, 1e7 / y)
    return {
        "ome": True, "metadata": metadata, "resolution": resolution, "resolutionunit": "CENTIMETER",
    }  # fmt: skip


def _planes(layout: Layout) -> dict[str, list]:
    """Say where every plane lies: its first voxel."""
    depth = layout.shape[0]
    places = [layout.place.moved((k * layout.voxel_nm[0], 0, 0)).centre_nm for k in range(depth)]
    positions = {
        f"Position{axis}": list(lengths)
        for axis, lengths in zip("ZYX", zip(*places, strict=True), strict=True)
    }
    return positions | {f"{name}Unit": ["nm"] * depth for name in positions}


def _imagej_options(layout: Layout) -> dict[str, object]:
    z, y, x = layout.voxel_nm
    metadata = {"axes": "ZYX", "spacing": z, "unit": "nm"}
    if layout.place != AT_ORIGIN:
        sizes = zip("zyx", layout.place.centre_nm, layout.voxel_nm, strict=True)
        metadata |= {f"{axis}origin": -centre / size for axis, centre, size in sizes}
    return {"imagej": True, "metadata": metadata, "resolution": (1 / x, 1 / y)}


FORMAT = Format(
    name="tiff",
    suffixes=(".tif", ".tiff", *_BIG_SUFFIXES),
    read=read,
    create=create,
    output_suffix=".ome.tif",
    dtypes=tuple(name for name in DTYPES if name != "float16"),  # which OME has no name for
    has_series=True,
)
