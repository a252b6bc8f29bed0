"""One image per slice: a folder of TIFF or PNG files, or a pattern of their names.

An image says nothing of the distance of slices, unless ImageJ or OME has written it into each.
"""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from emgauss_jax.data.formats.file_names import in_order
from emgauss_jax.data.formats.grey import Grey, calibrated, of_kind
from emgauss_jax.data.formats.interface import (
    Format,
    Reader,
    Slices,
    VolumeError,
    Voxel,
    refuse_dataset,
)
from emgauss_jax.data.formats.tiff_contents import single_page
from emgauss_jax.data.formats.tiff_metadata import Header, place, voxel_nm
from emgauss_jax.data.formats.tiff_metadata import notes as header_notes
from emgauss_jax.data.formats.tiff_pages import (
    Kind,
    Page,
    check_codecs,
    check_whole,
    read_pages,
)
from emgauss_jax.data.formats.units_in_memory import check_fits

# modes of Pillow: type and bits of a sample; "I" is what older ones call "I;16"
_PNG = {
    "1": (np.bool_, 1), "L": (np.uint8, 8), "P": (np.uint8, 8),
    "I;16": (np.uint16, 16), "I": (np.uint16, 16),
}  # fmt: skip
_PALETTE = 3


class Image(NamedTuple):
    """The file of a slice."""

    path: Path
    kind: Kind
    page: Page | None = None  # of a TIFF
    header: Header = Header()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say in an error which of the files it is about."""
    try:
        yield
    except VolumeError as error:
        raise VolumeError(f"{path.name}: {error}") from None
    except Exception as error:
        raise VolumeError(f"{path.name}: cannot be read: {error}") from error


def _files(path: Path) -> list[Path]:
    """List the images of a folder or a pattern, in no order."""
    found = list(path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path))))
    files = [
        file
        for file in found
        if file.suffix.lower() in FORMAT.members and file.name[0] != "." and file.is_file()
    ]
    suffixes = sorted({file.suffix.lower() for file in files})
    if not files:
        hint = "; [ ] is part of the pattern: for a [ in a name write [[]"
        raise VolumeError(
            f"got {len(found) or 'no'} files and no image among them, wanted some with suffix "
            f"{', '.join(FORMAT.members)}{hint * (not found and '[' in str(path))}"
        )
    if len(suffixes) > 1:
        raise VolumeError(
            f"got images with suffix {' and '.join(suffixes)}, wanted one: name the files by a "
            f"pattern, as FOLDER/*{suffixes[0]}"
        )
    return files


def _image(path: Path) -> Image:
    """Read the header of an image."""
    with _named(path):
        if path.suffix.lower() == ".png":
            return Image(path, _png_kind(path))
        page, header = single_page(path)
        check_whole([page])
        check_codecs([page])
        if page.kind.samples > 1:
            raise VolumeError(f"got {page.kind}, wanted a grey image")
        return Image(path, page.kind, page, header)


def _png_kind(path: Path) -> Kind:
    with PngImageFile(path) as image:
        if image.mode not in _PNG:
            raise VolumeError(f"got a PNG of mode {image.mode}, wanted grey without transparency")
        dtype, bits = _PNG[image.mode]
        size = (image.height, image.width)
        check_fits("image", size, np.dtype(dtype).itemsize)
        if image.mode != "P":
            return Kind(size, np.dtype(dtype), 1, bits, 1, b"")
        colours = np.array(image.getpalette("RGB"), np.uint16).reshape(-1, 3)
        # a TIFF's palette has 16 bits
        return Kind(size, np.dtype(dtype), 1, bits, _PALETTE, (colours.T * 257).tobytes())


def _check_alike(images: Sequence[Image]) -> None:
    """Raise VolumeError naming the first image that is unlike most."""
    (usual, count), *others = Counter(image.kind for image in images).most_common()
    if others:
        odd = next(image for image in images if image.kind != usual)
        raise VolumeError(
            f"{odd.path.name}: got {odd.kind}, wanted {usual} as in {count} of {len(images)} images"
        )


def _grey(images: Sequence[Image]) -> Grey:
    """Tell how images of one kind are read; ImageJ may have calibrated each of them."""
    greys = [calibrated(of_kind(image.kind), image.header.imagej) for image in images]
    first = greys[0]
    for image, grey in zip(images, greys, strict=True):
        if grey.dtype != first.dtype:
            raise VolumeError(
                f"{image.path.name}: got {grey.dtype} by ImageJ's calibration, wanted "
                f"{first.dtype} as in {images[0].path.name}"
            )
    others = sum(grey.notes != first.notes for grey in greys)
    if not others:
        return first
    note = f"{others} images have another calibration by ImageJ than {images[0].path.name}"
    return first._replace(notes=(*first.notes, f"{note}: raw values are read"))


def _voxel_nm(images: Sequence[Image]) -> Voxel | None:
    """Return the voxel size that all images state."""
    sizes = set()
    for image in images:
        with _named(image.path):
            sizes.add(voxel_nm(image.header, "Z"))
    return sizes.pop() if len(sizes) == 1 else None


def _read(images: Sequence[Image], grey: Grey, box: Slices) -> np.ndarray:
    """Read a box; the images of other slices are not opened."""
    shape = [part.stop - part.start for part in box]
    result = np.empty(shape, grey.dtype)
    for plane, image in zip(result, images[box[0]], strict=True):
        with _named(image.path):
            plane[:] = grey.levels(_stored(image, box[1:]))
    return result


def _stored(image: Image, yx: tuple[slice, slice]) -> np.ndarray:
    if image.page is not None:
        return read_pages([image.page], yx)[0]
    with PngImageFile(image.path) as png:
        return np.asarray(png)[yx].astype(image.kind.dtype)


def read(path: Path, dataset: str) -> Reader:
    """Open a folder of images, or those that a pattern names; every header is read.

    Args:
      path: the folder or the pattern.
      dataset: must be "".

    Returns:
      The volume, slices in the order of the numbers in the files' names; it lies where the first
      file says.
    """
    refuse_dataset("a folder of images", dataset)
    files, notes = in_order(_files(path), chosen=not path.is_dir())
    images = [_image(file) for file in files]
    _check_alike(images)
    grey = _grey(images)
    shape = (len(images), *images[0].kind.shape)
    return Reader(
        shape,
        grey.dtype,
        partial(_voxel_nm, images),
        partial(_read, images, grey),
        partial(place, images[0].header),
        (*notes, *grey.notes, *header_notes(images[0].header)),
    )


FORMAT = Format(
    name="images",
    suffixes=(),
    read=read,
    create=None,
    output_suffix=".ome.tif",
    members=(".tif", ".tiff", ".png"),
)
