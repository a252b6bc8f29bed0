"""NIfTI 1 and 2: axes x, y, z and a transform to a world in mm, micrometres or m."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from emgauss_jax.data.formats.interface import (
    AT_ORIGIN,
    DTYPES,
    Format,
    Layout,
    Place,
    Reader,
    Slices,
    VolumeError,
    Voxel,
    Writer,
    array_reader,
    refuse_dataset,
)
from emgauss_jax.data.formats.units import to_nm
from emgauss_jax.data.formats.units_in_memory import check_fits

_LONGEST = 32767  # voxels along an axis that NIfTI 1 can count
_NM = 1e6  # in a mm


def _nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError:
        raise VolumeError("NIfTI needs nibabel: pip install 'emgauss_jax[formats]'") from None
    return nibabel


def _affine(header: Any) -> np.ndarray | None:
    """Return the transform from (i, j, k) to the world: sform, else qform, else None."""
    for stored in (header.get_sform, header.get_qform):
        affine, code = stored(coded=True)
        if code:
            return affine
    return None


def _lengths(affine: np.ndarray) -> np.ndarray:
    """Return the lengths of a voxel's edges along i, j and k, in the unit of the world."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not lengths.all() or not np.linalg.det(affine[:3, :3]):
        raise VolumeError(f"affine: got {affine[:3].tolist()}, wanted one that can be inverted")
    return lengths


def _sizes(header: Any) -> Voxel | None:
    """Return the voxel size (z, y, x) in the header's unit; None where it has none.

    Raises:
      VolumeError: the transform and `pixdim` contradict each other.
    """
    sizes, affine = np.abs(header["pixdim"][1:4].astype(float)), _affine(header)
    if affine is not None:
        lengths = _lengths(affine)
        if sizes.all() and not np.allclose(sizes, lengths, rtol=0.01):
            got = f"{sizes.tolist()} in pixdim, {lengths.tolist()} in the affine"
            raise VolumeError(f"voxel size (x, y, z): got {got}, wanted the same in both")
        sizes = lengths if not sizes.all() else sizes
    known = all(math.isfinite(size) and size > 0 for size in sizes)
    return tuple(sizes[::-1].tolist()) if known else None


def _voxel_nm(header: Any) -> Voxel | None:
    sizes, unit = _sizes(header), header.get_xyzt_units()[0]
    if sizes is not None and unit == "unknown":
        text = ",".join(f"{size:g}" for size in sizes)
        raise VolumeError(
            f"voxel size: got {text} (z, y, x) without a unit, wanted one in nm: "
            "--config.data.voxel_nm=z,y,x (train) or --input_voxel_nm=z,y,x (reconstruct)"
        )
    # the header is float32: 8e-6 mm are 8 nm, not 7.9999998
    return sizes and tuple(float(f"{to_nm(size, unit):.7g}") for size in sizes)


def _place(header: Any, voxel: Voxel) -> Place:
    """Return where the volume lies, in a world as large as the voxel size that is used.

    A voxel size of the user's own stands for the one in the file, whatever unit that has.
    """
    affine = _affine(header)
    if affine is None:
        return AT_ORIGIN
    lengths = _lengths(affine)
    axes = (affine[:3, :3] / lengths)[::-1, ::-1].T
    factors = np.asarray(voxel) / lengths[::-1]
    if not np.allclose(factors, factors.mean(), rtol=0.01):
        unit = header.get_xyzt_units()[0]
        factors = np.array([0.0 if unit == "unknown" else to_nm(1, unit)])
    centre = affine[2::-1, 3] * factors.mean()
    return Place(tuple(centre.tolist()), tuple(map(tuple, axes.tolist())))


def _shear_note(header: Any) -> tuple[str, ...]:
    affine = _affine(header)
    if affine is None:
        return ()
    turn = affine[:3, :3] / _lengths(affine)
    cosine = np.abs(turn.T @ turn - np.eye(3)).max()
    if cosine < 1e-3:
        return ()
    degrees = math.degrees(math.acos(min(1.0, cosine)))
    return (f"the axes are sheared ({degrees:.1f} degrees apart): voxels are taken as cuboids",)


def _voxels(image: Any, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the stored voxels (i, j, k), mapped or decompressed into memory, and a note."""
    shape, dtype = image.header.get_data_shape(), image.header.get_data_dtype()
    if dtype.names:
        raise VolumeError("got a colour image (RGB), wanted a grey one")
    if len(shape) < 3 or any(length != 1 for length in shape[3:]):
        raise VolumeError(f"got shape {shape}, wanted (x, y, z) and no further axis longer than 1")
    if 0 in shape:
        return np.empty(shape[:3], dtype), ()
    size, needed = path.stat().st_size, image.dataobj.offset + math.prod(shape) * dtype.itemsize
    is_plain = path.suffix.lower() != ".gz"
    if is_plain and size < needed:
        raise VolumeError(f"got {size:,} bytes, wanted {needed:,}: the file is truncated")
    if not is_plain:
        check_fits("decompressed file", shape[:3], dtype.itemsize, copies=1)
    voxels = image.dataobj.get_unscaled().reshape(shape[:3], order="F")
    return voxels, () if is_plain else (f"decompressed into memory: {needed / 2**20:,.1f} MiB",)


def _scaled(reader: Reader, slope: float, inter: float) -> tuple[Reader, tuple[str, ...]]:
    """Scale the voxels as the header says, and say so; most headers leave them as they are."""
    if (slope, inter) == (1.0, 0.0):
        return reader, ()
    dtype = np.result_type(reader.dtype, np.float32)

    def read(box: Slices) -> np.ndarray:
        return (reader.read(box) * slope + inter).astype(dtype)

    note = f"voxels are scaled as the header says, times {slope:g} plus {inter:g}, to {dtype}"
    return reader._replace(dtype=dtype, read=read), (note,)


def read(path: Path, dataset: str) -> Reader:
    """Open a NIfTI file, memory-mapped; a compressed one is read into memory.

    Args:
      path: the file.
      dataset: must be "".

    Returns:
      The volume: the last of the stored axes is z, the first is x. Voxels are those stored, unless
      the header scales them (`scl_slope`, `scl_inter`).
    """
    refuse_dataset("NIfTI", dataset)
    image = _nibabel().load(path)
    voxels, notes = _voxels(image, path)
    reader = array_reader(voxels.T, lambda axes: _voxel_nm(image.header))
    reader, scaled = _scaled(reader, float(image.dataobj.slope), float(image.dataobj.inter))
    return reader._replace(
        place=lambda voxel: _place(image.header, voxel),
        notes=(*notes, *_shear_note(image.header), *scaled),
    )


def create(path: Path, layout: Layout) -> Writer:
    """Create a NIfTI file, uncompressed: NIfTI 1, or 2 where an axis is too long for it.

    Args:
      path: the file to write.
      layout: the volume to write.

    Returns:
      The writer, memory-mapped. Sizes are in mm; qform and sform say where the volume lies.
    """
    nibabel, z = _nibabel(), slice(None, None, -1)
    short = max(layout.shape) <= _LONGEST
    header = (nibabel.Nifti1Header if short else nibabel.Nifti2Header)()
    header.set_data_dtype(layout.dtype)
    header.set_data_shape(layout.shape[z])
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(layout.place.axes).T[z, z] * np.asarray(layout.voxel_nm[z]) / _NM
    affine[:3, 3] = np.asarray(layout.place.centre_nm[z]) / _NM
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    header["vox_offset"] = header.single_vox_offset
    with path.open("wb") as file:
        header.write_to(file)
    offset = header.single_vox_offset
    array = np.memmap(path, layout.dtype, mode="r+", offset=offset, shape=layout.shape)
    return Writer(array.__setitem__, array.flush)


FORMAT = Format(
    name="nifti",
    suffixes=(".nii",),
    read=read,
    create=create,
    output_suffix=".nii",
    dtypes=tuple(name for name in DTYPES if name != "float16"),
    read_suffixes=(".nii.gz",),
)
