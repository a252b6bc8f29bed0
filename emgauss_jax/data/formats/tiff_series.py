"""The stacks of a TIFF file.

Its header (OME, ImageJ or another that tifffile knows) groups pages into series. All pages of the
file are held against it: what a header leaves out, promises in vain, or calls alike though it is
not, is said. Pages without a header are grouped by what they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
import tifffile

from emgauss_jax.data.formats.interface import VolumeError
from emgauss_jax.data.formats.tiff_metadata import Header, header_of, pixels_like
from emgauss_jax.data.formats.tiff_pages import Page, opened, scan
from emgauss_jax.data.formats.tiff_stack import Stack

_PLAIN = {"uniform", "generic"}  # tifffile's names of series that no header describes
_OF_PAGES = ("shaped", "ome", "imagej")  # those whose pages can be decoded one by one

_BLOCKS = ("shaped", "imagej", "stk")  # those that may have one header for all planes


class Contents(NamedTuple):
    """All stacks of a file."""

    stacks: list[Stack]
    header: Header
    notes: list[str]


def contents(path: Path) -> Contents:
    """Read the header of a file and those of all its pages.

    Raises:
      VolumeError: the file is cut off, or its header promises pages that are not there.
    """
    everything = scan(path)
    pages = _no_copies(everything)
    with series_of(path) as (tif, series):
        header = header_of(tif)
        stacks = _described(series, header, everything)
        levels = {each.offset for each in _frames_of_levels(series) if each is not None}
    stacks = [stack for stack in stacks if stack.held[0] in pages or stack.held[0].path != path]
    if any(len({page.kind for page in stack.held}) > 1 for stack in stacks):
        stacks = []  # the header calls alike what is not
    _check_promise(header, pages)
    if not stacks:
        stacks = _alike(pages, header.images)
        return Contents(stacks, header, _unread(header, stacks))
    absent = [name for name in header.ome_files if not (path.parent / name).exists()]
    notes = _check_absent(stacks, absent)
    stacks, more = _with_the_rest(stacks, [page for page in pages if page.header not in levels])
    return Contents(stacks, header, notes + more)


def single_page(path: Path) -> tuple[Page, Header]:
    """Read the header of a file that is one plane.

    Raises:
      VolumeError: it holds several.
    """
    pages = _no_copies(scan(path))
    if len(pages) > 1 or len(pages[0].kind.shape) > 2:
        raise VolumeError(f"got {len(pages)} pages of {pages[0].kind}, wanted one slice in a file")
    with opened(path) as tif:
        header = header_of(tif)
    return pages[0], header._replace(pixels=header.images[0] if header.images else None)


def _no_copies(pages: list[Page]) -> list[Page]:
    """Leave out what is marked as a smaller copy or a mask, unless it is like the others."""
    kinds = {page.kind for page in pages if not page.is_reduced}
    return [page for page in pages if page.kind in kinds] or pages


@contextmanager
def series_of(path: Path) -> Iterator[tuple[tifffile.TiffFile, list[tifffile.TiffPageSeries]]]:
    """Open a file and its series; on leaving, close it and the files it refers to."""
    with opened(path) as tif:
        companion = path.parent / (header_of(tif).elsewhere or "?")
        if not companion.is_file():
            yield tif, _series(tif)
            return
    with opened(path, omexml=companion.read_text(encoding="utf-8")) as tif:
        yield tif, _series(tif)


def _series(tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Group pages as tifffile does; it gives up where they are not alike."""
    try:
        return tif.series
    except Exception:
        return []


def _frames(series: tifffile.TiffPageSeries) -> Iterator[tifffile.TiffPage | None]:
    """Yield the pages of a series; one that is a single block of many planes has but one."""
    for index in range(len(series)):
        try:
            yield series[index]
        except IndexError:
            return


def _frames_of_levels(
    series: Sequence[tifffile.TiffPageSeries],
) -> Iterator[tifffile.TiffPage | None]:
    """Yield the pages of coarser levels."""
    return chain.from_iterable(_frames(level) for each in series for level in each.levels[1:])


def _described(
    series: Sequence[tifffile.TiffPageSeries], header: Header, pages: list[Page]
) -> list[Stack]:
    """Take the series of a header for stacks; none where there is no header."""
    kinds = {each.kind for each in series}
    # a stack written page by page describes each page as an image of its own
    by_page = kinds == {"shaped"} and all(len(each.axes.replace("S", "")) == 2 for each in series)
    if by_page or kinds & _PLAIN or not series:
        return []
    known = len(header.images) == len(series)
    files = {str(pages[0].path.resolve()): pages}
    stacks = []
    for index, each in enumerate(series):
        stack = _stack(each, _pages(each, files), index)
        here = header.images[index] if known else None
        pixels = pixels_like(header.images, stack.kind.shape[-2:], stack.planes)
        stacks.append(stack._replace(pixels=here if known else pixels))
    return stacks


def _pages(series: tifffile.TiffPageSeries, files: dict[str, list[Page]]) -> list[Page | None]:
    """Find the pages of a series in the files they lie in; None: it is not there.

    Args:
      series: any.
      files: pages by the path of their file; further files are added.
    """
    found: list[Page | None] = []
    for frame in _frames(series):
        if frame is None:
            found.append(None)
            continue
        path = Path(frame.parent.filehandle.path)
        name = str(path.resolve())
        if name not in files:
            files[name] = scan(path)
        found.append(files[name][min(frame.index, len(files[name]) - 1)])
    return found


def _stack(series: tifffile.TiffPageSeries, frames: list[Page | None], index: int) -> Stack:
    """Take a series for a stack, whose pages end where its shape does."""
    shape = series.get_shape(squeeze=False)
    kind = next(page.kind for page in frames if page is not None)
    count = int(np.prod(shape)) // (int(np.prod(kind.shape)) * kind.samples)
    pages = tuple(frames[: max(1, count)])
    by_page, is_block = series.kind in _OF_PAGES, series.kind in _BLOCKS
    return Stack(series.get_axes(squeeze=False), shape, pages, by_page, is_block, index)


def _alike(pages: Sequence[Page], images: Sequence[Element]) -> list[Stack]:
    """Group pages by what they are."""
    stacks = []
    for kind in dict.fromkeys(page.kind for page in pages):
        group = [page for page in pages if page.kind == kind]
        inside = range(group[0].index, group[-1].index)
        between = [each.index for each in pages if each.index in inside and each.kind != kind]
        axes, shape = "ZYX"[-len(kind.shape) :] + "S", (*kind.shape, kind.samples)
        if len(group) > 1:
            axes, shape = f"I{axes}", (len(group), *shape)
        stack = Stack(axes, shape, tuple(group), between=tuple(between))
        pixels = pixels_like(images, kind.shape[-2:], stack.planes)
        stacks.append(stack._replace(pixels=pixels))
    return stacks


def _check_promise(header: Header, pages: Sequence[Page]) -> None:
    """Raise if a header names more planes than the file holds."""
    planes, whose = header.promised
    first, held = pages[0], len(pages)
    if held == 1 and first.start is not None:  # all planes may lie behind a single header
        held = max(1, (first.path.stat().st_size - first.start) // first.nbytes)
    if planes > held:
        raise VolumeError(
            f"got {held} whole planes, {whose} header promises {planes}: the file is cut off"
        )


def _check_absent(stacks: Sequence[Stack], absent: Sequence[str]) -> list[str]:
    """Say which planes lie in files that are not there; raise if they should lie in this one."""
    missing = sum(page is None for stack in stacks for page in stack.pages)
    if not missing:
        return []
    if not absent:
        all_planes = sum(len(stack.pages) for stack in stacks)
        raise VolumeError(
            f"got {all_planes - missing} planes, the OME header promises {all_planes}: the file "
            "is cut off"
        )
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    return [f"{missing} slices cannot be read: {absent[0]}{more} is not there"]


def _with_the_rest(stacks: list[Stack], pages: Sequence[Page]) -> tuple[list[Stack], list[str]]:
    """Add the pages that a header leaves out: to its only stack, or as further stacks."""
    used = {(page.path, page.index) for stack in stacks for page in stack.held}
    rest = [page for page in pages if (page.path, page.index) not in used]
    if not rest:
        return stacks, []
    several = any(path != pages[0].path for path, _ in used)
    if several or any(None in stack.pages for stack in stacks):
        return stacks, [f"{len(rest)} pages of this file belong to no image of its header"]
    longer = _longer(stacks[0], pages) if len(stacks) == 1 else None
    if longer is None:
        return [*stacks, *_alike(rest, ())], []
    note = (
        f"the header says {stacks[0].planes} slices, the file holds {longer.planes} pages of one "
        "size and type: all are read"
    )
    return [longer], [note]


def _longer(stack: Stack, pages: Sequence[Page]) -> Stack | None:
    """Continue a stack with all further pages of its file; None if they do not continue it."""
    outer = stack.axes.index("Y") if "YX" in stack.axes else 0
    long = [axis for axis in range(outer) if stack.shape[axis] > 1]
    alike = all(page.kind == stack.kind for page in pages)
    if not outer or len(long) > 1 or not alike or tuple(pages[: len(stack.pages)]) != stack.pages:
        return None
    shape = list(stack.shape)
    shape[long[0] if long else max(stack.axes.find("Z", 0, outer), 0)] = len(pages)
    return stack._replace(shape=tuple(shape), pages=tuple(pages))


def _unread(header: Header, stacks: Sequence[Stack]) -> list[str]:
    """Say why the OME header of a file is not what its pages are read by."""
    if not header.is_ome:
        return []
    why = "describes another image"
    if header.elsewhere:
        why = f"lies in {header.elsewhere}, which is not there"
    elif not header.images:
        why = "cannot be read"
    elif any(stack.pixels is not None for stack in stacks):
        why = "does not say which they are"
    return [f"pages are taken in their order in this file alone: the OME header {why}"]
