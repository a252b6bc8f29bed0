"""What OME-Zarr metadata of any version say of a level: axes, voxel size and place.

Up to 0.5 axes belong to the multiscale, and transforms of level and group are applied one after
another. From 0.6 on axes are those of the coordinate system that the level's transform leads to,
and the group's transforms lead on from there to other systems, which are not asked for.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.formats.interface import AT_ORIGIN, Place, VolumeError, Voxel
from emgauss_jax.data.formats.units import to_nm

_FLAGS = "--config.data.voxel_nm=z,y,x (train), --input_voxel_nm=z,y,x (reconstruct)"


class Level(NamedTuple):
    """A level of an image, and the metadata that tell what it is."""

    multiscale: dict[str, Any]
    entry: dict[str, Any]  # the level's own, under `datasets`

    def axes(self, ndim: int) -> list[dict[str, Any]]:
        """List the axes of an array of `ndim` axes: their names, and maybe types and units."""
        system = _system(self)
        # axes are objects since 0.4, names in 0.3, and implied before
        axes = system["axes"] if system else self.multiscale.get("axes", list("tczyx"[-ndim:]))
        return [{"name": axis} if isinstance(axis, str) else axis for axis in axes]

    def has_size(self, zyx: Sequence[int], ndim: int) -> bool:
        """Tell whether a scale is given, and a unit for z, y and x."""
        axes, (scale, _) = self.axes(ndim), self._affine(ndim)
        return scale is not None and all(axes[axis].get("unit") for axis in zyx)

    def voxel_nm(self, zyx: Sequence[int], ndim: int) -> Voxel | None:
        """Give the voxel size, nm; None where a scale or a unit is not given.

        Args:
          zyx: the array's axes that are z, y and x.
          ndim: number of axes of the array.

        Raises:
          VolumeError: a scale along z, y or x is not positive.
        """
        if not self.has_size(zyx, ndim):
            return None
        axes, (scale, _) = self.axes(ndim), self._affine(ndim)
        odd = [scale[axis] for axis in zyx if not 0 < scale[axis] < np.inf]
        if odd:
            raise VolumeError(
                f"scale: got {', '.join(f'{length:g}' for length in odd)} in the file, wanted "
                f"positive lengths, or {_FLAGS}"
            )
        return tuple(to_nm(scale[axis], axes[axis]["unit"]) for axis in zyx)

    def place(self, voxel_nm: Voxel, zyx: Sequence[int], ndim: int) -> Place:
        """Place the level; its translation counts in the file's voxels, of whatever size they are.

        Args:
          voxel_nm: (z, y, x), that of the file or a better one.
          zyx: the array's axes that are z, y and x.
          ndim: number of axes of the array.
        """
        scale, shift = self._affine(ndim)
        if scale is None:
            return AT_ORIGIN
        in_voxels = [shift[axis] / scale[axis] if scale[axis] else 0.0 for axis in zyx]
        return Place(tuple(float(n * nm) for n, nm in zip(in_voxels, voxel_nm, strict=True)))

    def _affine(self, ndim: int) -> tuple[np.ndarray | None, np.ndarray]:
        """Give the scale (None: none is stated) and the translation of every axis, in its unit."""
        transforms = list(self.entry.get("coordinateTransformations") or ())
        if transforms and not _system(self):
            transforms += self.multiscale.get("coordinateTransformations") or ()
        scale, shift = np.ones(ndim), np.zeros(ndim)
        for each in _flat(transforms):
            scale, shift = _applied(each, scale, shift)
        scaled = any(each["type"] == "scale" for each in _flat(transforms))
        return (scale if scaled else None), shift


def _flat(transforms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """List transforms one after another, those inside a sequence too."""
    flat = []
    for each in transforms:
        flat += _flat(each["transformations"]) if each["type"] == "sequence" else [each]
    return flat


def _applied(
    transform: dict[str, Any], scale: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    kind = transform["type"]
    if kind == "identity":
        return scale, shift
    if kind not in ("scale", "translation") or kind not in transform:
        raise VolumeError(
            f"coordinateTransformations: got {kind} with {sorted(transform)}, wanted scale, "
            "translation, identity or a sequence of them, with their numbers"
        )
    values = np.asarray(transform[kind], np.float64)
    if values.shape != scale.shape:
        raise VolumeError(f"{kind}: got {values.size} numbers for {scale.size} axes")
    return (scale * values, shift * values) if kind == "scale" else (scale, shift + values)


def _system(level: Level) -> dict[str, Any] | None:
    """Find the coordinate system of 0.6 that a level's transform leads to; None before 0.6."""
    systems = level.multiscale.get("coordinateSystems") or ()
    if not systems:
        return None
    outputs = [each.get("output") for each in level.entry.get("coordinateTransformations") or ()]
    name = outputs[-1] if outputs else None
    name = name.get("name") if isinstance(name, dict) else name
    found = [system for system in systems if system["name"] == name]
    if name and not found:
        names = [system["name"] for system in systems]
        raise VolumeError(f"coordinateTransformations: got output {name!r}, wanted one of {names}")
    return found[0] if found else systems[0]


def notes_on(level: Level, count: int) -> tuple[str, ...]:
    """Say what else an image holds: images beside this one, or finer levels.

    Args:
      level: the one that is read.
      count: of the images (`multiscales`) in its group.
    """
    said = [f"the first of {count} images in the group is read"] if count > 1 else []
    sizes = {}
    for entry in level.multiscale["datasets"]:
        numbers = [each["scale"] for each in _flat(entry.get("coordinateTransformations") or ())
                   if "scale" in each]  # fmt: skip
        sizes[entry["path"]] = float(np.prod(numbers)) if numbers else np.inf
    path = level.entry["path"]
    finer = [other for other, size in sizes.items() if size < sizes[path] * 0.999]
    if finer and path == level.multiscale["datasets"][0]["path"]:
        said.append(f"level {path} is read, the first one listed, though {finer[0]} is finer")
    return tuple(said)
