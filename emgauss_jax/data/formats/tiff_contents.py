"""The stacks of a TIFF file, of which one is read.

All pages of the file are held against its header: what the header leaves out, promises in vain, or
calls alike though it is not, is said. Pages without a header are grouped by what they are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from emgauss_jax.data.formats.interface import VolumeError
from emgauss_jax.data.formats.tiff_metadata import Header, header_of, pixels_like
from emgauss_jax.data.formats.tiff_pages import Page, opened, scan
from emgauss_jax.data.formats.tiff_series import described, series_of
from emgauss_jax.data.formats.tiff_stack import Stack, of_planes


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
        stacks = described(series, header, everything)
    stacks = [stack for stack in stacks if stack.held[0] in pages or stack.held[0].path != path]
    _check_promise(header, pages)
    stacks = _in_one_block(stacks, header)
    if not all(_is_alike(stack, path) for stack in stacks):
        stacks = []  # the header calls alike what is not
    if not stacks:
        stacks = _alike(pages, header.images)
        return Contents(stacks, header, _unread(header, stacks))
    absent = [name for name in header.ome_files if not (path.parent / name).exists()]
    notes = _check_absent(stacks, absent)
    stacks, more = _with_the_rest(stacks, pages)
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


def _is_alike(stack: Stack, path: Path) -> bool:
    """Tell whether the pages of a stack are of one kind; raise if an odd one is in another file."""
    odd = next((page for page in stack.held if page.kind != stack.kind), None)
    if odd is not None and any(page.path != path for page in stack.held):
        raise VolumeError(f"{odd.path.name}: got {odd.kind}, wanted {stack.kind} as in other files")
    return odd is None


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


def _in_one_block(stacks: list[Stack], header: Header) -> list[Stack]:
    """Give the only page all the planes behind it: older ImageJ counts images, and no slices."""
    planes, _ = header.promised
    if len(stacks) != 1 or not stacks[0].is_block or len(stacks[0].pages) > 1:
        return stacks
    longer = of_planes(stacks[0], planes) if planes > stacks[0].planes else None
    return [longer or stacks[0]]


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
    alike = all(page.kind == stack.kind for page in pages)
    if not alike or tuple(pages[: len(stack.pages)]) != stack.pages:
        return None
    longer = of_planes(stack, len(pages))
    return longer and longer._replace(pages=tuple(pages))


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
