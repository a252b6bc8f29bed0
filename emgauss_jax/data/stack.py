"""The input of a run: the observed slices of a volume, or of a part of it.

Letters: K observed slices, V valid ones, D H W volume. Depth z is in input-slice units.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.hot_pixels import REACH
from emgauss_jax.data.intensity import (
    SAMPLE,
    IntensityRange,
    images_to_unit,
    range_of,
    sampled,
)
from emgauss_jax.data.simulate import Plan, plan_part, read_observed
from emgauss_jax.data.slice_depths import to_nm
from emgauss_jax.data.tiling import Box, block_grid
from emgauss_jax.data.volume import is_chunked

SCAN = 2**25  # most voxels held in memory while a whole stack is read
LOOKED_AT = 2**28  # voxels of integers that are read to find their range of grey levels
FEWEST = 8  # parts of them, however large a plane is


@dataclasses.dataclass(frozen=True, eq=False)
class SliceStack:
    """The observed slices of a crop, read on first access. Held-out planes are not read."""

    volume: Any  # sliceable, zyx
    box: Box  # the crop, voxels of the volume; in z all planes of the plan
    plan: Plan
    first: int  # depth of the first slice
    grey_range: IntensityRange  # of the whole run
    voxel_nm: tuple[float, float, float]  # of the observed slices: z is their distance
    suffix: str  # of an output in the same format
    format: str | None  # of that output, where the suffix fits several
    # f64[K], nm from the first slice of the volume; None: the slices are evenly spaced
    depths_nm: np.ndarray | None = None
    absent: tuple[int, int] = (0, 0)  # chunks of the crop that are not stored, and all of them

    @property
    def shape(self) -> tuple[int, int, int]:
        """K, H, W."""
        return (len(self.plan.sources), *self.box.shape[1:])

    @functools.cached_property
    def slices(self) -> np.ndarray:
        """[K, H, W], the volume's own grey levels; missing slices are 0."""
        return read_observed(self.volume, self.plan, self.box)

    @property
    def z(self) -> np.ndarray:
        """f32[K], depth of the observed slices."""
        return self.first + np.arange(self.shape[0], dtype=np.float32)

    @property
    def z_valid(self) -> np.ndarray:
        """f32[V], depth of the valid slices."""
        return self.z[self.plan.valid]

    @property
    def valid_slices(self) -> np.ndarray:
        """[V, H, W], the volume's own grey levels."""
        return self.slices if self.plan.valid.all() else self.slices[self.plan.valid]

    @property
    def unit_valid(self) -> np.ndarray:
        """f32[V, H, W], intensity of the valid slices in [0, 1]."""
        return images_to_unit(self.valid_slices, self.grey_range)

    @property
    def unit_slices(self) -> np.ndarray:
        """f32[K, H, W], intensity in [0, 1]; missing slices are 0."""
        return images_to_unit(self.slices, self.grey_range) * self.plan.valid[:, None, None]

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the volume and of every output."""
        return np.dtype(self.volume.dtype)

    @property
    def corner(self) -> Place:
        """Where the first voxel of the crop lies, one of the volume's own."""
        z, y, x = np.multiply(self.box.start, self.volume.voxel_nm)
        return self.volume.place.moved((z if self.depths_nm is None else self.depths_nm[0], y, x))

    def place_at(self, z: float) -> Place:
        """Tell where the first px of a plane lies.

        Args:
          z: depth of the plane, input-slice units; the first slice lies at `first`.
        """
        planes, depths = self.plan.sources[0], self.depths_nm
        if depths is not None:
            along = to_nm(z - self.first, depths, self.plan.valid) - depths[0]
        else:  # a slice lies in the middle of the planes that it shows
            middle = (planes[0] + planes[-1]) / 2 * self.volume.voxel_nm[0]
            along = middle + (z - self.first) * self.voxel_nm[0]
        return self.corner.moved((along, 0.0, 0.0))

    def part(self, box: Box) -> "SliceStack":
        """Cut out a part that is read on its own.

        Args:
          box: z in observed slices, y and x in px, from the start of this crop.
        """
        z, y, x = self.box.start
        start = (z, y + box.start[1], x + box.start[2])
        depths = self.depths_nm
        return dataclasses.replace(
            self,
            box=Box(start, (self.plan.depth, *box.shape[1:])),
            plan=plan_part(self.plan, box.start[0], box.stop[0]),
            first=self.first + box.start[0],
            depths_nm=depths if depths is None else depths[box.slices[0]],
        )

    @property
    def reference_shape(self) -> tuple[int, int, int]:
        """D, H, W: planes that the plan has a reference for, and px."""
        return (len(self.plan.z_reference), *self.box.shape[1:])

    def reference(self, box: Box | None = None) -> np.ndarray:
        """Read reference planes, f32[D, H, W] in [0, 1].

        Args:
          box: z in planes of the reference; the same voxels come out whichever box they are in.
            None: all.
        """
        box = box or Box((0, 0, 0), self.reference_shape)
        wide = box.grown((0, REACH, REACH), self.reference_shape)
        first = (self.plan.sources[0].start, 0, 0)
        planes = self.volume[wide.moved(self.box.start).moved(first).slices]
        inner = box.moved([-n for n in wide.start]).slices
        return images_to_unit(planes, self.grey_range)[inner]


def find_grey_range(observed: SliceStack) -> IntensityRange:
    """Find the range of grey levels of the valid slices, reading at most SCAN voxels at a time.

    Of integers about LOOKED_AT voxels are read, in parts at random places that are the same in
    every run. Floats are all read, because any of them may be NaN.

    Raises:
      InputError: a voxel is NaN or infinite.
    """
    parts = [(box, part) for box, part in scanned(observed) if part.plan.valid.any()]
    most = max(FEWEST, LOOKED_AT // max(int(np.prod(part.shape)) for _, part in parts))
    if np.issubdtype(observed.dtype, np.integer) and len(parts) > most:
        chosen = np.random.default_rng(0).permutation(len(parts))[:most]  # not all in one column
        parts = [parts[i] for i in sorted(chosen)]
    share = min(1.0, SAMPLE / sum(int(np.prod(part.shape)) for _, part in parts))
    read = (_finite(part, box.start[0]) for box, part in parts)
    found = [sampled(values, int(np.ceil(values.size * share))) for values in read]
    return range_of(np.concatenate(found), observed.dtype)


def _finite(part: SliceStack, first: int) -> np.ndarray:
    """Read a part's valid slices, or raise naming the slices with NaN or infinity."""
    values = part.valid_slices
    bad = ~np.isfinite(values)
    if bad.any():
        slices = np.flatnonzero(part.plan.valid)[bad.any(axis=(1, 2))]
        listed = ", ".join(str(first + i) for i in slices)
        raise InputError(
            f"{part.volume.path}: slices {listed}: got {bad.sum()} NaN or infinite voxels, wanted "
            "finite ones; crop them away (data.crop), fill them, or leave slices out by "
            "data.missing or --detect_missing (of data.path), by --input_missing or "
            "--input_detect_missing (of --input)"
        )
    return values


def scanned(observed: SliceStack) -> Iterator[tuple[Box, SliceStack]]:
    """Cut a stack into parts of SCAN voxels at most: whole planes, or boxes of chunked formats.

    Yields:
      The box of a part, z in observed slices, and the part, which is not read yet.
    """
    count, height, width = observed.shape
    if is_chunked(observed.volume.format):
        height, width = min(height, 1024), min(width, 1024)
    each = max(1, SCAN // (height * width * max(1, observed.plan.factor)))
    size = (min(each, count), height, width)
    for box in block_grid(observed.shape, size, (0, 0, 0)).boxes:
        yield box, observed.part(box)


def whole_factor(observed: SliceStack) -> int:
    """Round the lateral px from slice to slice to a whole number."""
    return round(observed.voxel_nm[0] / observed.voxel_nm[1])


def why_axes_differ(observed: SliceStack) -> str:
    """Say why lateral images cannot resemble xz and yz planes; "" if they can."""
    if whole_factor(observed) >= 2:
        return ""
    z_nm, y_nm, x_nm = observed.voxel_nm
    return f"voxels of {z_nm:g} x {y_nm:g} x {x_nm:g} nm, wanted z 1.5 times y or more"
