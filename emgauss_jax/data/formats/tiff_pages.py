"""The pages of a TIFF file: what each of them holds, and its pixels.

Every page is looked at by itself: what one says of its size, its type and its grey levels is not
taken from another.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from emgauss_jax.data.formats.interface import VolumeError
from emgauss_jax.data.formats.units_in_memory import check_fits, check_packed

_PHOTOMETRIC = 262  # the tag that says whether white or black is zero


class Kind(NamedTuple):
    """What pages have in common that can be slices of one stack."""

    shape: tuple[int, ...]  # (H, W), or (D, H, W) where a page holds several planes
    dtype: np.dtype  # native byte order; bool of one bit
    samples: int  # per pixel
    bits: int  # per sample: 12 of uint16, for one
    photometric: int  # 0: white is zero, 1: black is zero, 3: palette
    palette: bytes  # uint16 [3, 2**bits], red first; empty without palette

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        words = {0: ", white is zero", 3: ", palette"}.get(self.photometric, "")
        return f"{size} {self.dtype}{words}" + (f", {self.samples} samples" * (self.samples > 1))


class Page(NamedTuple):
    """Where a page lies in a file, and what it holds."""

    path: Path
    index: int  # in its file
    header: int  # byte at which its header begins
    kind: Kind
    order: str  # of bytes: "<" or ">"
    is_reduced: bool  # marked as a copy at lower resolution, or as a mask
    start: int | None  # byte at which its pixels begin; None unless they lie there as they are
    is_whole: bool  # the file is as long as the page says
    strips: tuple[int, int]  # (strips or tiles that hold no byte, all)
    codec: str  # of its pixels, where tifffile needs imagecodecs for it; else empty

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded page."""
        return int(np.prod(self.kind.shape)) * self.kind.samples * self.kind.dtype.itemsize


@contextmanager
def opened(path: Path, **options: object) -> Iterator[tifffile.TiffFile]:
    """Open a file; what tifffile would log about it is said by us, in one line."""
    log = getLogger("tifffile")

    def silence(record: object) -> bool:
        return False

    log.addFilter(silence)
    try:
        with tifffile.TiffFile(path, **options) as tif:
            yield tif
    finally:
        log.removeFilter(silence)


def scan(path: Path) -> list[Page]:
    """Read the header of every page of a file.

    Raises:
      VolumeError: the list of pages is damaged or cut off.
    """
    with opened(path) as tif:
        tif.pages.useframes = False
        count = len(tif.pages)
        pages = [_page(tif, path, index) for index in range(count)]
        _check_end(tif, count)
    return [page for page in pages if page is not None]


def _page(tif: tifffile.TiffFile, path: Path, index: int) -> Page | None:
    """Read the header of a page; None if it is empty, as the last one of some microscopes is."""
    try:
        page = tif.pages.get(index)
    except Exception as error:
        raise VolumeError(f"page {index}: its header is damaged or cut off ({error})") from None
    _check_tags(tif, page)
    if not page.tags:
        return None
    if page.dtype is None:
        raise VolumeError(f"page {index}: got {page.bitspersample} bits a sample of no known type")
    start = page.dataoffsets[0] or None if page.is_final else None  # 0: there are no pixels
    strips = list(zip(page.dataoffsets, page.databytecounts, strict=False)) or [(0, 0)]
    empty = sum(not (first and length) for first, length in strips)
    if not start:
        _check_size(page, strips)
    # an uncompressed strip may be listed as longer than the rows that are left
    end = start + page.nbytes if start else max(sum(strip) for strip in strips)
    return Page(
        path, index, page.offset, _kind(page), tif.byteorder, page.is_reduced or page.is_mask,
        start, end <= tif.filehandle.size, (0 if start else empty, len(strips)), _codec(page),
    )  # fmt: skip


def _check_size(page: tifffile.TiffPage, strips: Sequence[tuple[int, int]]) -> None:
    """Raise if a page that is decoded, or what comes out of one of its strips, is too large."""
    name, itemsize = f"page {page.index}", page.dtype.itemsize
    check_fits(name, page.shaped, itemsize)
    chunk = [max(1, length) for length in page.chunks]
    check_fits(f"{name}: strip or tile", chunk, itemsize)
    check_packed(name, max(length for _, length in strips), math.prod(chunk) * itemsize)


def _check_tags(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Raise if a part of a header lies behind the end of the file: tifffile leaves it out."""
    form, file = tif.tiff, tif.filehandle
    file.seek(page.offset)
    (count,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    if len(page.tags) >= count:
        return
    layout = form.tagformat1 + form.tagformat2[1:]  # code, type, length; and value, or its place
    for _ in range(count):
        _, type_, length, value = struct.unpack(layout, file.read(form.tagsize))
        size = length * struct.calcsize(tifffile.TIFF.DATA_FORMATS.get(type_, ""))
        (first,) = struct.unpack(form.offsetformat, value)
        if size > form.tagoffsetthreshold and first + size > file.size:
            raise VolumeError(
                f"page {page.index}: its header is not all there, the file is cut off"
            )


def _kind(page: tifffile.TiffPage) -> Kind:
    lengths = (page.imagedepth, page.imagelength, page.imagewidth)
    shape = lengths if page.imagedepth > 1 else lengths[1:]
    # tifffile takes a page that does not say it for one whose white is zero
    photometric = int(page.photometric) if _PHOTOMETRIC in page.tags else 1
    palette = b"" if page.colormap is None else np.asarray(page.colormap, np.uint16).tobytes()
    if photometric != tifffile.PHOTOMETRIC.PALETTE:
        palette = b""
    bits = page.bitspersample
    return Kind(shape, page.dtype, page.samplesperpixel, bits, photometric, palette)


def _codec(page: tifffile.TiffPage) -> str:
    known = page.compression in tifffile.TIFF.DECOMPRESSORS
    if known and (page.predictor == 1 or page.predictor in tifffile.TIFF.UNPREDICTORS):
        return ""
    return str(getattr(page.compression, "name", page.compression))


def _check_end(tif: tifffile.TiffFile, count: int) -> None:
    """Raise unless the list of pages has an end: tifffile stops where a file is cut off."""
    if tif.is_lsm or tif.is_scanimage or tif.is_ndpi:  # whose lists tifffile mends
        return
    end = tif.pages.next_page_offset
    if count == 0 or end is None:
        raise VolumeError("got a TIFF without images, or the first part of one: wanted a stack")
    size = tif.tiff.offsetsize
    tif.filehandle.seek(end)
    if tif.filehandle.read(size).rjust(size, b"?").strip(b"\0"):
        raise VolumeError(
            f"the file is cut off: behind its {count} pages a further one is listed, but not there"
        )


def check_whole(pages: Sequence[Page]) -> None:
    """Raise VolumeError if the file ends before the pixels of a page do."""
    cut = [page.index for page in pages if not page.is_whole]
    if cut:
        raise VolumeError(
            f"got {len(pages) - len(cut)} whole pages of {len(pages)}: the file ends before the "
            f"pixels of page {cut[0]} do, it is cut off"
        )


def check_codecs(pages: Sequence[Page]) -> None:
    """Raise VolumeError if a page is compressed in a way that needs a further package."""
    codec = next((page.codec for page in pages if page.codec), "")
    if codec:
        raise VolumeError(f"TIFF compression {codec} needs imagecodecs: pip install imagecodecs")


def read_pages(pages: Sequence[Page], box: Sequence[slice]) -> np.ndarray:
    """Decode a box of pages of one kind.

    Every call opens the files, so that several threads can read.

    Args:
      pages: those to read.
      box: of each page, most often (y, x).

    Returns:
      [pages, H, W], stored values.
    """
    box = tuple(box)
    shape = [len(pages), *(part.stop - part.start for part in box)]
    result = np.empty(shape, pages[0].kind.dtype if pages else np.uint8)
    planes = iter(result)
    for path, group in groupby(pages, lambda page: page.path):
        with opened(path) as tif:
            for page in group:
                next(planes)[:] = _decoded(tif, page)[box] if page.strips[0] < page.strips[1] else 0
    return result


def _decoded(tif: tifffile.TiffFile, page: Page) -> np.ndarray:
    tif.filehandle.seek(page.header)
    return tifffile.TiffPage(tif, index=page.index).asarray().reshape(page.kind.shape)


def memory_mapped(
    pages: Sequence[Page], shape: tuple[int, ...], is_block: bool
) -> np.ndarray | None:
    """Map pages whose pixels lie in a file as they are, one page after another.

    Args:
      pages: those of a stack.
      shape: of the array, in stored order.
      is_block: all planes may lie behind the header of the only page.

    Returns:
      The array, or None where the pages lie otherwise.

    Raises:
      VolumeError: the file is shorter.
    """
    first, length = pages[0], int(np.prod(shape)) * pages[0].kind.dtype.itemsize
    starts = [page.start for page in pages]
    wanted = [first.start + i * first.nbytes for i in range(len(pages))] if first.start else None
    all_there = first.nbytes * len(pages) == length or (is_block and len(pages) == 1)
    if starts != wanted or not all_there or any(page.path != first.path for page in pages):
        return None
    held = first.path.stat().st_size - first.start
    if held < length:
        planes = max(held, 0) // first.nbytes
        raise VolumeError(
            f"got {planes} whole planes of the {length // first.nbytes} that the header promises: "
            "the file is cut off"
        )
    dtype = first.kind.dtype.newbyteorder(first.order)
    return np.memmap(first.path, dtype, mode="r", offset=first.start, shape=shape)
