"""Open and create volumes of every format: open_volume and create_volume.

Arrays are zyx and voxel sizes (z, y, x) in nm, whatever a format stores. A format is recognised by
the suffix or by the files in a folder, and is one record of `formats.registry`.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emgauss_jax.data.chunk_shape import checked_chunks
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import (
    AT_ORIGIN,
    CHUNK,
    DTYPES,
    Format,
    Layout,
    Place,
    Reader,
    Slices,
    VolumeError,
    Voxel,
    no_voxel_size,
)
from emgauss_jax.data.formats.registry import BY_NAME, BY_SUFFIX
from emgauss_jax.data.handles import Volume, VolumeWriter, check_absent, one_line_errors
from emgauss_jax.data.recognition import format_for, format_of, is_pattern


def checked_voxel(voxel_nm: Sequence[float], path: Path | str) -> Voxel:
    """Check a voxel size, nm (z, y, x), of the volume at a path."""
    try:
        voxel = tuple(float(length) for length in voxel_nm)
    except (TypeError, ValueError):
        voxel = ()
    if len(voxel) != 3 or not all(math.isfinite(length) and length > 0 for length in voxel):
        raise InputError(
            f"{path}: voxel_nm: got {voxel_nm}, wanted three positive finite lengths (z, y, x)"
        )
    return voxel


def checked_dtype(dtype: Any, path: Path | str, dtypes: Sequence[str] = DTYPES) -> np.dtype:
    """Check a dtype of the volume at a path, and give it in native byte order."""
    try:
        native = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        native = None
    if native is None or native.name not in dtypes:
        raise InputError(f"{path}: dtype: got {dtype}, wanted one of {', '.join(dtypes)}")
    return native


def _read_as(reader: Reader, form: Format, path: Path) -> tuple[np.dtype, tuple[str, ...]]:
    """Choose the dtype that a volume is read in, one that its output can store, and say why."""
    name = np.dtype(reader.dtype).name
    if name == "bool":
        return np.dtype(np.uint8), ("bool is read as uint8, 0 and 255",)
    native = checked_dtype(reader.dtype, path)
    stored = BY_SUFFIX[Path(f"x{form.output_suffix}").suffix].dtypes
    wider = [each for each in stored if np.can_cast(native, each)]
    if not wider:
        raise InputError(f"{path}: dtype: got {name}, wanted one of {', '.join(stored)}")
    if name in wider:
        return native, ()
    return np.dtype(wider[0]), (f"{name} is read as {wider[0]}, which holds it exactly",)


def _converted(reader: Reader) -> Callable[[Slices], np.ndarray]:
    """Read bool voxels as 0 and 255; all others are converted where they are read."""
    if np.dtype(reader.dtype) != bool:
        return reader.read
    return lambda box: np.asarray(reader.read(box)).astype(np.uint8) * np.uint8(255)


def _dataset(form: Format, dataset: str, series: int | None) -> str:
    """Give the number of an image of a file as a dataset: the two settings are one."""
    if series is None:
        return dataset
    if not form.has_series:
        raise VolumeError(f"series: got {series}, wanted none: {form.name} does not number images")
    if dataset:
        raise VolumeError(f"series: got {series} beside dataset {dataset!r}, wanted one of them")
    return str(series)


def open_volume(
    path: str | Path,
    *,
    dataset: str = "",
    series: int | None = None,
    voxel_nm: Sequence[float] | None = None,
) -> Volume:
    """Open a volume, reading its metadata only.

    Args:
      path: TIFF, OME-Zarr or zarr, N5, precomputed, HDF5, MRC, NIfTI or NPY; or a folder of one
        TIFF or PNG per slice, or a pattern of their names, as `data/slice_*.png`.
      dataset: an array or level inside the container; "" is the format's own default.
      series: the number of an image of a TIFF file that holds several, from 0.
      voxel_nm: (z, y, x), nm; overrides the voxel size in the file.

    Returns:
      The volume, without singleton axes such as time and channel.

    Raises:
      InputError: the file does not exist, cannot be read as its format, is not three-dimensional,
        is empty, has a dtype that is not of DTYPES or bool, or has no voxel size.
    """
    path = Path(path)
    if not path.exists() and not is_pattern(path):
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise InputError(f"{path}: no such file{where}")
    form = format_of(path)
    with one_line_errors(path, f"read as {form.name}"):
        reader = form.read(path, _dataset(form, dataset, series))
    try:
        return _described(reader, form, path, voxel_nm)
    except BaseException:
        reader.close()
        raise


def _described(
    reader: Reader, form: Format, path: Path, voxel_nm: Sequence[float] | None
) -> Volume:
    """Check what an opened volume says of itself."""
    with one_line_errors(path, f"read as {form.name}"):
        voxel = reader.voxel_nm() if voxel_nm is None else voxel_nm
    shape = tuple(int(length) for length in reader.shape)
    if 0 in shape:
        raise InputError(f"{path}: got an empty volume of shape {shape}")
    dtype, words = _read_as(reader, form, path)
    if voxel is None:
        raise InputError(f"{path}: {no_voxel_size()}")
    voxel = checked_voxel(voxel, path)
    with one_line_errors(path, f"read as {form.name}"):
        place = reader.place(voxel)
    return Volume(
        path, shape, dtype, voxel, form.name, _converted(reader),
        place=place, notes=(*reader.notes, *words), voxel_given=voxel_nm is not None,
        _absent=reader.absent,
    )  # fmt: skip


def plan_volume(
    path: Path,
    shape: Sequence[int],
    dtype: Any,
    voxel_nm: Sequence[float],
    format: str | None = None,
    place: Place = AT_ORIGIN,
    chunk: Sequence[int] = (CHUNK,) * 3,
    shard: Sequence[int] = (0, 0, 0),
) -> tuple[str, Layout]:
    """Check the arguments of `create_volume` and lay out the volume; nothing is written.

    Returns:
      The format's name, and the layout.
    """
    check_absent(path)
    form = format_for(path, format)
    shape = tuple(int(length) for length in shape)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"{path}: shape: got {shape}, wanted three positive lengths (D, H, W)")
    native = checked_dtype(dtype, path, form.dtypes)
    voxel = checked_voxel(voxel_nm, path)
    with one_line_errors(path, f"laid out as {form.name}"):
        chunks = checked_chunks(form, chunk, shard)
    return form.name, Layout(path.name, shape, native, voxel, place, *chunks)


def create_volume(
    path: str | Path,
    shape: Sequence[int],
    dtype: Any,
    voxel_nm: Sequence[float],
    *,
    format: str | None = None,
    place: Place = AT_ORIGIN,
    chunk: Sequence[int] = (CHUNK,) * 3,
    shard: Sequence[int] = (0, 0, 0),
) -> VolumeWriter:
    """Prepare a new volume that is written box by box.

    Args:
      path: final path; must not exist. A missing parent folder is created.
      shape: (D, H, W), voxels.
      dtype: one that the format can store, see `Format.dtypes`.
      voxel_nm: (z, y, x), nm. NPY cannot store it.
      format: a `Volume.format`; by default the suffix decides. `.zarr` is zarr 3 (OME-Zarr 0.5);
        "zarr2" is OME-Zarr 0.4.
      place: where the volume lies. NPY cannot store it.
      chunk: edge lengths of a stored chunk (z, y, x), where there are chunks.
      shard: those of a file of several chunks, zarr 3 alone; (0, 0, 0): none.

    Returns:
      A context manager: `with create_volume(...) as writer: writer[z0:z1, y0:y1, x0:x1] = array`.
      Voxels that no box covers are 0.

    Raises:
      InputError: the path exists, its suffix or the format is unknown, or shape, dtype, voxel size,
        chunk or shard cannot be stored.
    """
    path = Path(path)
    form, layout = plan_volume(path, shape, dtype, voxel_nm, format, place, chunk, shard)
    return VolumeWriter(path, BY_NAME[form], layout)


def is_chunked(format: str) -> bool:
    """Tell whether many processes can write a format at once, box by box, with a pyramid.

    Args:
      format: a `Volume.format`.
    """
    return BY_NAME[format].is_chunked


def has_shards(format: str) -> bool:
    """Tell whether a file of a format can hold several chunks.

    Args:
      format: a `Volume.format`.
    """
    return BY_NAME[format].has_shards


def output_suffix(volume: Volume) -> str:
    """Return the suffix of an output in the input's format, or in one that stores a voxel size.

    Args:
      volume: the input.

    Returns:
      A suffix for create_volume, with its dots.
    """
    return BY_NAME[volume.format].output_suffix
