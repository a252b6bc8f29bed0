"""TIFF: OME, ImageJ and plain stacks.

The voxel size is OME's PhysicalSize (micrometres unless a unit is given), or ImageJ's resolution
and spacing. A plain TIFF states no size along z, so it has no voxel size.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from emgauss_jax.data.formats.interface import (
    DTYPES,
    Format,
    Layout,
    Reader,
    Slices,
    VolumeError,
    Voxel,
    Writer,
    refuse_dataset,
    spatial_axes,
)
from emgauss_jax.data.formats.units import to_nm

# leaves the classic format's 32-bit offsets room for the metadata
_CLASSIC_LIMIT = 2**32 - 2**25


def _ome_voxel_nm(xml: str) -> Voxel | None:
    nodes = ElementTree.fromstring(xml).iter()
    pixels = next(node for node in nodes if node.tag.endswith("Pixels"))
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
    if None in sizes:
        return None
    return tuple(to_nm(float(size), unit) for size, unit in zip(sizes, units, strict=True))


def _imagej_voxel_nm(tif: tifffile.TiffFile) -> Voxel | None:
    metadata, tags = tif.imagej_metadata or {}, tif.pages[0].tags
    unit, spacing = metadata.get("unit"), metadata.get("spacing")
    pixels = [tags.valueof(f"{axis}Resolution") for axis in "YX"]
    if not unit or unit.startswith("pixel") or not spacing:
        return None
    if any(rational is None or 0 in rational for rational in pixels):
        return None
    # ImageJ lets the spacing be negative for a stack that runs downwards
    lengths = [abs(spacing), *(below / above for above, below in pixels)]
    return tuple(to_nm(length, unit) for length in lengths)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPageSeries]]:
    """Open a file and its first series; on leaving, close it and the files it refers to."""
    with ExitStack() as stack:
        tif = stack.enter_context(tifffile.TiffFile(path))
        if tif.series and tif.series[0].kind == "shaped" and tif.series[0].ndim == 2:
            # a stack written page by page describes each page as an image of its own
            tif = stack.enter_context(tifffile.TiffFile(path, is_shaped=False))
        if not tif.series:
            raise VolumeError("got a TIFF without images, wanted a stack")
        yield tif, tif.series[0]


def _voxel_nm(path: Path) -> Voxel | None:
    with _opened(path) as (tif, _):
        if tif.is_ome:
            return _ome_voxel_nm(tif.ome_metadata)
        return _imagej_voxel_nm(tif) if tif.is_imagej else None


def _spatial_shape(series: tifffile.TiffPageSeries) -> tuple[int, int, int]:
    sizes = list(zip(series.axes, series.shape, strict=True))
    samples = max((length for axis, length in sizes if axis == "S"), default=1)
    if samples > 1:
        raise VolumeError(f"got a colour image ({samples} samples per pixel), wanted a grey one")
    grey = [length for axis, length in sizes if axis != "S"]
    if series.kind in ("ome", "imagej"):
        # tifffile drops singleton axes, but a stack of a single slice or row still has them
        stack = [length for axis, length in sizes if axis not in "YXS"]
        lateral = dict(sizes)
        grey = [*(stack or [1]), lateral.get("Y", 1), lateral.get("X", 1)]
    return tuple(grey[axis] for axis in spatial_axes(grey))


def _check_codec(page: tifffile.TiffPage) -> None:
    known = page.compression in tifffile.TIFF.DECOMPRESSORS
    if not known or (page.predictor != 1 and page.predictor not in tifffile.TIFF.UNPREDICTORS):
        code = getattr(page.compression, "name", page.compression)
        raise VolumeError(f"TIFF compression {code} needs imagecodecs: pip install imagecodecs")


def _read_pages(path: Path, shape: tuple[int, int, int], box: Slices) -> np.ndarray:
    """Decode the pages of a box, or the whole stack if a page is not one plane.

    Each call opens the file, so that several threads can read boxes.
    """
    with _opened(path) as (_, series):
        if len(series.pages) != shape[0] or series.keyframe.size != shape[1] * shape[2]:
            return series.asarray().reshape(shape)[box]
        result = np.empty([part.stop - part.start for part in box], series.dtype)
        for plane, z in enumerate(range(box[0].start, box[0].stop)):
            page = series.pages[z]
            if page is None:
                raise VolumeError(f"slice {z} is listed in the metadata, but no page holds it")
            page.parent.filehandle.open()  # the page may be in another file of the image
            result[plane] = page.asarray().reshape(shape[1:])[box[1:]]
        return result


def read(path: Path, dataset: str) -> Reader:
    """Open the first series of a TIFF file at full resolution.

    Contiguous uncompressed data are memory-mapped, others decoded page by page.

    Args:
      path: the file.
      dataset: must be "".

    Returns:
      The volume.
    """
    refuse_dataset("TIFF", dataset)
    with _opened(path) as (tif, series):
        shape = _spatial_shape(series)
        _check_codec(series.keyframe)
        dtype = series.dtype.newbyteorder(tif.byteorder)
        # in a multi-file OME-TIFF the pages of other files may seem to continue this one's
        own = all(page is not None and page.parent is tif for page in series.pages)
        offset = series.dataoffset if own else None
    if offset is None:
        read_box = partial(_read_pages, path, shape)
    else:
        read_box = np.memmap(path, dtype, mode="r", offset=offset, shape=shape).__getitem__
    return Reader(shape, dtype, lambda: _voxel_nm(path), read_box)


def create(path: Path, layout: Layout) -> Writer:
    """Create an uncompressed TIFF stack, memory-mapped.

    Args:
      path: the file to write.
      layout: the volume to write. A name in `.ome.tif` or `.ome.tiff` gets OME metadata, any other
        ImageJ's, but above 4 GiB always OME's: a BigTIFF cannot hold ImageJ's.

    Returns:
      The writer.
    """
    z, y, x = layout.voxel_nm
    big = np.prod(layout.shape, dtype=float) * layout.dtype.itemsize > _CLASSIC_LIMIT
    common = {"shape": layout.shape, "dtype": layout.dtype, "photometric": "minisblack"}
    if big or layout.name.lower().endswith((".ome.tif", ".ome.tiff")):
        sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)}
        units = {f"{key}Unit": "nm" for key in sizes}
        array = tifffile.memmap(
            path,
            **common,
            ome=True,
            bigtiff=bool(big),
            metadata={"axes": "ZYX", **sizes, **units},
            resolution=(1e7 / x, 1e7 / y),
            resolutionunit="CENTIMETER",
        )
    else:
        array = tifffile.memmap(
            path,
            **common,
            imagej=True,
            metadata={"axes": "ZYX", "spacing": z, "unit": "nm"},
            resolution=(1 / x, 1 / y),
        )
    array = array.reshape(layout.shape)
    return Writer(array.__setitem__, array.flush)


FORMAT = Format(
    name="tiff",
    suffixes=(".tif", ".tiff"),
    read=read,
    create=create,
    output_suffix=".ome.tif",
    dtypes=tuple(name for name in DTYPES if name != "float16"),  # which OME has no name for
)
