"""What tifffile makes of a TIFF file: series of pages, by the file's header.

Headers are those of OME, of ImageJ, of tifffile itself, and of some microscopes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from emgauss_jax.data.formats.interface import LARGEST_JSON, VolumeError
from emgauss_jax.data.formats.tiff_metadata import Header, header_of, pixels_like
from emgauss_jax.data.formats.tiff_pages import Page, opened, scan
from emgauss_jax.data.formats.tiff_stack import Stack

_PLAIN = {"uniform", "generic"}  # tifffile's names of series that no header describes
_OF_PAGES = ("shaped", "ome", "imagej")  # those whose pages can be decoded one by one
_BLOCKS = ("shaped", "imagej", "stk")  # those that may have one header for all planes


@contextmanager
def series_of(path: Path) -> Iterator[tuple[tifffile.TiffFile, list[tifffile.TiffPageSeries]]]:
    """Open a file and its series; on leaving, close it and the files it refers to."""
    with opened(path) as tif:
        companion = path.parent / (header_of(tif).elsewhere or "?")
        if not companion.is_file():
            yield tif, _series(tif)
            return
    with opened(path, omexml=_companion(companion)) as tif:
        yield tif, _series(tif)


def _companion(path: Path) -> str:
    """Read the OME header that a file of its own holds."""
    if path.stat().st_size > LARGEST_JSON:
        raise VolumeError(
            f"{path.name}: got {path.stat().st_size:,} bytes, wanted at most {LARGEST_JSON:,}"
        )
    text = path.read_text(encoding="utf-8-sig")
    if "<!DOCTYPE" in text:
        raise VolumeError(f"{path.name}: got a DOCTYPE, wanted OME's XML without one")
    return text


def _series(tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Group pages as tifffile does; it gives up where they are not alike."""
    try:
        # since 2026.5.2 axes of length 1 are asked for here, before that of each series
        return list(tif.series(squeeze=False) if callable(tif.series) else tif.series)
    except Exception:
        return []


def _axes_and_shape(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Name and measure the axes of a series, those of length 1 too."""
    if hasattr(series, "get_axes"):
        return series.get_axes(squeeze=False), series.get_shape(squeeze=False)
    return series.axes, series.shape


def described(
    series: Sequence[tifffile.TiffPageSeries], header: Header, pages: list[Page]
) -> list[Stack]:
    """Take the series of a header for stacks; none where there is no header."""
    kinds = {each.kind for each in series}
    # a stack written page by page describes each page as an image of its own
    by_page = kinds == {"shaped"} and all(len(each.axes.replace("S", "")) == 2 for each in series)
    if by_page or kinds & _PLAIN or not series:
        return []
    known = len(header.images) == len(series)
    files = {str(pages[0].path.resolve()): {page.index: page for page in pages}}
    stacks = []
    for index, each in enumerate(series):
        stack = _stack(each, _pages(each, files), index)
        here = header.images[index] if known else None
        pixels = pixels_like(header.images, stack.kind.shape[-2:], stack.planes)
        stacks.append(stack._replace(pixels=here if known else pixels))
    return stacks


def _pages(series: tifffile.TiffPageSeries, files: dict[str, dict[int, Page]]) -> list[Page | None]:
    """Find the pages of a series in the files they lie in; None: it is not there.

    Args:
      series: any.
      files: pages by the path of their file and their index; further files are added.
    """
    found: list[Page | None] = []
    for frame in _frames(series):
        if frame is None:
            found.append(None)
            continue
        path = Path(frame.parent.filehandle.path)
        name = str(path.resolve())
        if name not in files:
            files[name] = {page.index: page for page in scan(path)}
        found.append(files[name].get(frame.index, found[0] if found else None))
    return found


def _stack(series: tifffile.TiffPageSeries, frames: list[Page | None], index: int) -> Stack:
    """Take a series for a stack, whose pages end where its shape does."""
    axes, shape = _axes_and_shape(series)
    kind = next(page.kind for page in frames if page is not None)
    count = int(np.prod(shape)) // (int(np.prod(kind.shape)) * kind.samples)
    pages = tuple(frames[: max(1, count)])
    by_page, is_block = series.kind in _OF_PAGES, series.kind in _BLOCKS
    return Stack(axes, shape, pages, by_page, is_block, index)


def _frames(series: tifffile.TiffPageSeries) -> Iterator[tifffile.TiffPage | None]:
    """Yield the pages of a series; one that is a single block of many planes has but one."""
    for index in range(len(series)):
        try:
            yield series[index]
        except IndexError:
            return
