"""Voxel size and place in the attributes of an array: the dialects of N5, and of zarr beside OME.

Fiji writes `pixelResolution`, Paintera, neuroglancer and funlib `resolution` or `voxel_size` with
`units` and `offset`, COSEM `transform`. Lists run in the order of the array's axes: N5 counts them
from the fastest one. Only COSEM names the axis of each value.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.formats.interface import Place, VolumeError, Voxel
from emgauss_jax.data.formats.units import to_nm

_FLAGS = "--config.data.voxel_nm=z,y,x (train), --input_voxel_nm=z,y,x (reconstruct)"
_ALIKE = 1.1  # sizes along y and x that differ by less are of one kind of pixel

Words = tuple[str, str, str]


class Order(NamedTuple):
    """In which order the lists of a file name the axes of an array."""

    ndim: int
    zyx: tuple[int, ...]  # indices of z, y, x in the array, slowest axis first
    fastest_first: bool  # whether lists count from the fastest axis
    named: bool  # whether the file names the axes


class Stated(NamedTuple):
    """What the attributes of an array say of its voxels, (z, y, x), in the file's units."""

    name: str  # of the attribute that holds the sizes
    sizes: Voxel | None
    offset: Voxel | None  # of the first voxel
    units: tuple[Words, ...]  # of every attribute that states them; (): nm
    at_corner: bool = False  # whether the offset is that of the voxel's corner, not its centre
    sure: bool = True  # whether the file says which size is that of z
    fault: str = ""  # why the sizes cannot be used

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what is assumed where this voxel size is used."""
        if self.units or self.fault or not self.sizes:
            return ()
        return (f"`{self.name}` of the file has no unit: nm",)

    def voxel_nm(self) -> Voxel | None:
        """Give the voxel size, nm (z, y, x), or None.

        Raises:
          VolumeError: sizes or units contradict each other, units are no lengths or lacking, or
            the sizes of z and x may be swapped.
        """
        if self.fault:
            raise VolumeError(self.fault)
        if self.sizes is None:
            return None
        found = {_in_nm((1, 1, 1), words) for words in self.units}
        if len(found) > 1:
            raise VolumeError(
                f"units: got {' and '.join(map(str, self.units))}, wanted one of them"
            )
        z, y, x = self.sizes
        if not self.sure and _differ(y, x) and not _differ(z, y):
            raise VolumeError(
                f"{self.name}: got {z:g}, {y:g}, {x:g} for z, y, x as the format counts, so that "
                "pixels are not square; the other way round they are. Wanted the voxel size: "
                f"{_FLAGS}"
            )
        return _in_nm(self.sizes, self.units[0]) if self.units else self.sizes

    def place(self, voxel_nm: Voxel, factors: Sequence[float] = (1, 1, 1)) -> Place:
        """Place a volume whose voxels are a mean over `factors` of those that are spoken of.

        Args:
          voxel_nm: of the volume (z, y, x). The file's offset counts in the file's voxels: a user
            who corrects their size corrects the unit of both, or the order.
          factors: voxels that are averaged, (z, y, x).
        """
        fine = np.asarray(voxel_nm, np.float64) / factors
        centre = (np.asarray(factors) - 1) / 2 * fine
        if self.offset is not None:
            centre = centre + self._offset_nm(fine) + (0.5 * fine if self.at_corner else 0.0)
        return Place(tuple(centre.tolist()))

    def _offset_nm(self, voxel_nm: np.ndarray) -> np.ndarray:
        offset = np.asarray(self.offset, np.float64)
        if self.sizes is None:
            return np.asarray(_in_nm(self.offset, self.units[0]) if self.units else offset)
        sizes = np.asarray(self.sizes, np.float64)
        if 0 in sizes:
            return np.zeros(3)
        if not self.sure and np.ptp(voxel_nm / sizes) > np.ptp(voxel_nm / sizes[::-1]):
            sizes, offset = sizes[::-1], offset[::-1]
        return offset * (voxel_nm / sizes)


def _in_nm(lengths: Sequence[float], units: Words) -> Voxel:
    return tuple(to_nm(length, unit) for length, unit in zip(lengths, units, strict=True))


def _differ(a: float, b: float) -> bool:
    return min(a, b) <= 0 or max(a, b) / min(a, b) > _ALIKE


def ordered(values: Any, order: Order) -> tuple[Any, Any, Any] | None:
    """Give z, y and x of a list of a value for each axis, or for each spatial one.

    Args:
      values: a list in the file's order, one word for all axes, or nothing.
      order: of the file's lists.

    Returns:
      The values, or None where their count fits neither.
    """
    if isinstance(values, str):
        return (values,) * 3
    values = list(values or ())
    if order.fastest_first:
        values = values[::-1]
    if len(values) == order.ndim:
        return tuple(values[axis] for axis in order.zyx)
    stored = sorted(order.zyx)
    return tuple(values[stored.index(axis)] for axis in order.zyx) if len(values) == 3 else None


def _units(attributes: dict[str, Any], order: Order) -> tuple[Words, ...]:
    found = (ordered(attributes.get(name), order) for name in ("units", "unit"))
    return tuple(units for units in found if units and all(units))


def _cosem(transform: dict[str, Any]) -> Stated:
    """Read `transform`: this level's own scale, axes by name."""
    axes = {str(axis).lower(): i for i, axis in enumerate(transform["axes"])}
    zyx = [axes[axis] for axis in "zyx"]
    scale, units, shift = (transform.get(name) for name in ("scale", "units", "translate"))
    return Stated(
        "transform",
        tuple(scale[i] for i in zyx),
        tuple(shift[i] for i in zyx) if shift else None,
        (tuple(units[i] for i in zyx),),
    )


def _fiji(attributes: dict[str, Any], order: Order) -> Stated | None:
    """Read `pixelResolution`, whose lists count from the fastest axis in zarr, too."""
    pixel, order = attributes.get("pixelResolution"), order._replace(fastest_first=True)
    if isinstance(pixel, dict):
        lengths, units = pixel.get("dimensions"), _units(pixel, order)
    else:
        lengths, units = pixel, _units(attributes, order)
    sizes = ordered(lengths, order)
    fault = "" if units else f"pixelResolution: got {pixel} without a unit, wanted {_FLAGS}"
    return Stated("pixelResolution", sizes, None, units, fault=fault) if sizes else None


def _plain(attributes: dict[str, Any], order: Order) -> Stated | None:
    """Read `resolution` or `voxel_size`, which must not contradict each other, and `offset`."""
    found = {name: ordered(attributes.get(name), order) for name in ("resolution", "voxel_size")}
    found = {name: sizes for name, sizes in found.items() if sizes}
    offset, units = ordered(attributes.get("offset"), order), _units(attributes, order)
    if not found and offset is None:
        return None
    name, sizes = next(iter(found.items()), ("offset", None))
    # Paintera's offset is that of a group of levels, and of a centre; funlib's that of a corner
    at_corner = not attributes.get("multiScale")
    differ = len(set(found.values())) > 1
    fault = f"voxel size: got {found} (z, y, x), wanted the same in both" if differ else ""
    return Stated(name, sizes, offset, units, at_corner, order.named, fault)


def read_stated(attributes: dict[str, Any], order: Order) -> Stated | None:
    """Read what attributes say of voxel size and place.

    Args:
      attributes: of an array, or of its group.
      order: of the array's axes.

    Returns:
      The first of COSEM's, Fiji's and the others' dialect that is there, or None.
    """
    transform = attributes.get("transform")
    if isinstance(transform, dict) and {"axes", "scale", "units"} <= transform.keys():
        return _cosem(transform)
    found = [each for each in (_fiji(attributes, order), _plain(attributes, order)) if each]
    return min(found, key=lambda each: bool(each.fault), default=None)
