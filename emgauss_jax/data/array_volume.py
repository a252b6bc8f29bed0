"""Volumes in memory, behind the same door as files. Letters: D H W volume, K observed slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import AT_ORIGIN, Place, Voxel
from emgauss_jax.data.handles import resolve_box
from emgauss_jax.data.simulate import Plan
from emgauss_jax.data.volume import checked_dtype, checked_voxel


@dataclass(frozen=True, eq=False)
class ArrayVolume:
    """An array that is read like a `Volume`; a lazy one (dask, zarr, h5py) only where it is asked.

    Make one of a user's array by `of_array`.
    """

    array: Any  # [D, H, W], with `shape`, `dtype` and slicing
    voxel_nm: Voxel  # (z, y, x)
    path: str = "an array"  # in messages and reports
    format: str = "tiff"  # what it would be written as
    place: Place = AT_ORIGIN
    notes: tuple[str, ...] = ()
    voxel_given: bool = True  # no file says it

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return tuple(int(length) for length in self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        """In native byte order."""
        return _native(self.array, self.path)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a box as an array of its own; slices as numpy takes them, of step 1."""
        values = np.array(self.array[resolve_box(key, self.shape)])
        return values * np.uint8(255) if values.dtype == bool else values.astype(self.dtype)

    def absent_chunks(self, key: Any) -> tuple[int, int]:
        """Count chunks that are not there: an array has none."""
        return (0, 0)


def of_array(array: Any, voxel_nm: Sequence[float], name: str = "stack") -> ArrayVolume:
    """Take a user's array for a volume.

    Args:
      array: [D, H, W], of one of DTYPES or bool (taken as 0 and 255): numpy's, or any with `shape`,
        `dtype` and slicing.
      voxel_nm: (z, y, x), nm.
      name: of the argument, for messages.

    Raises:
      InputError: it is none, not three-dimensional, empty, masked, or of another dtype; or no voxel
        size.
    """
    lacks = [each for each in ("shape", "dtype", "__getitem__") if not hasattr(array, each)]
    if lacks:
        raise InputError(f"{name}: got a {type(array).__name__}, wanted an array with {lacks}")
    if np.ma.is_masked(array):
        raise InputError(
            f"{name}: got {np.ma.count_masked(array)} masked voxels, wanted none: a mask is not "
            "used; fill them, or leave whole slices out by data__missing"
        )
    if len(array.shape) != 3 or 0 in array.shape:
        raise InputError(f"{name}: got shape {tuple(array.shape)}, wanted (z, y, x) voxels")
    _native(array, name)
    return ArrayVolume(array, checked_voxel(voxel_nm, name), f"an array ({name})")


def _native(array: Any, name: str) -> np.dtype:
    dtype = np.dtype(getattr(array.dtype, "numpy_dtype", array.dtype))  # tensorstore has its own
    return np.dtype(np.uint8) if dtype.kind == "b" else checked_dtype(dtype, name)


@dataclass(frozen=True, eq=False)
class ObservedVolume:
    """Observed slices standing for the volume they come from, of which nothing else is kept."""

    slices: np.ndarray  # [K, H, W]
    plan: Plan  # which planes of the volume made them
    voxel_nm: Voxel  # of the volume
    dtype: np.dtype  # likewise; means of its planes are float32
    path: str
    format: str
    place: Place = AT_ORIGIN
    notes: tuple[str, ...] = ()
    voxel_given: bool = True  # by the user, not by a file

    def absent_chunks(self, key: Any) -> tuple[int, int]:
        """Count chunks that are not there: slices in memory have none."""
        return (0, 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) of the volume."""
        return (self.plan.depth, *self.slices.shape[1:])

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a box of planes that were observed: each looks like the slice it is in."""
        planes, ys, xs = resolve_box(key, self.shape)
        return self.slices[:, ys, xs][self._slices_of(planes)]

    def _slices_of(self, planes: slice) -> list[int]:
        made = {plane: j for j, source in enumerate(self.plan.sources) for plane in source}
        return [made[plane] for plane in range(planes.start, planes.stop)]
