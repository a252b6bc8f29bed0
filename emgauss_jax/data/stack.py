"""The input of a run: the observed slices of a volume, or of a part of it.

Letters: K observed slices, V valid ones, D H W volume. Depth z is in input-slice units.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from emgauss_jax.data.array_volume import ArrayVolume
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.intensity import IntensityRange, spanning, to_unit
from emgauss_jax.data.phantom import VOXEL_NM, tissue
from emgauss_jax.data.simulate import Plan, degrade_plan, parse_crop, plan_part, read_observed
from emgauss_jax.data.tiling import Box, block_grid
from emgauss_jax.data.volume import is_chunked, open_volume, output_suffix

PHANTOM = "phantom"  # the `data.path` of a procedural volume without a file
SCAN = 2**25  # most voxels held in memory while a whole stack is read


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
        return to_unit(self.valid_slices, self.grey_range)

    @property
    def unit_slices(self) -> np.ndarray:
        """f32[K, H, W], intensity in [0, 1]; missing slices are 0."""
        return to_unit(self.slices, self.grey_range) * self.plan.valid[:, None, None]

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the volume and of every output."""
        return np.dtype(self.volume.dtype)

    def part(self, box: Box) -> "SliceStack":
        """Cut out a part that is read on its own.

        Args:
          box: z in observed slices, y and x in px, from the start of this crop.
        """
        z, y, x = self.box.start
        start = (z, y + box.start[1], x + box.start[2])
        return dataclasses.replace(
            self,
            box=Box(start, (self.plan.depth, *box.shape[1:])),
            plan=plan_part(self.plan, box.start[0], box.stop[0]),
            first=self.first + box.start[0],
        )

    def reference(self) -> np.ndarray:
        """Read all reference planes of the plan, f32[D, H, W] in [0, 1]."""
        (z, y, x), (_, height, width) = self.box.start, self.box.shape
        start = z + self.plan.sources[0].start
        stop = start + len(self.plan.z_reference)
        return to_unit(self.volume[start:stop, y : y + height, x : x + width], self.grey_range)


def open_stack(
    config: Any, grey_range: IntensityRange | None = None, volume: Any = None
) -> SliceStack:
    """Open a volume; its voxels are read only to find their range, and not if they are uint8.

    Args:
      config: the `data` section of a config.
      grey_range: the range, if it is known already.
      volume: an opened one, to be used in place of the config's path.

    Raises:
      InputError: an input cannot be used; the message names the setting.
    """
    observed = open_unmeasured(config, volume)
    return (
        dataclasses.replace(observed, grey_range=grey_range) if grey_range else measured(observed)
    )


def open_unmeasured(config: Any, volume: Any = None) -> SliceStack:
    """Open a volume without reading voxels: unless it is uint8, its range is not measured yet."""
    volume = _open(config) if volume is None else volume
    form = volume.format if volume.format == "zarr2" else None
    box = parse_crop(config.crop, volume.shape)
    plan = degrade_plan(
        box.shape[0], config.simulate_factor, config.degradation, tuple(config.missing)
    )
    z_nm, y_nm, x_nm = volume.voxel_nm
    spacing = (z_nm * max(plan.factor, 1), y_nm, x_nm)
    suffix = output_suffix(volume)
    return SliceStack(volume, box, plan, 0, IntensityRange(0.0, 255.0), spacing, suffix, form)


def measured(observed: SliceStack) -> SliceStack:
    """Return the stack with its range of grey levels measured; unless uint8, all of it is read."""
    if observed.dtype == np.uint8:
        return observed
    return dataclasses.replace(observed, grey_range=find_grey_range(observed))


def _open(config: Any) -> Any:
    """Open the volume a config names, or make the phantom."""
    if not config.path:
        raise InputError("data.path: got nothing, wanted a volume (or 'phantom')")
    if config.path != PHANTOM:
        voxel_nm = tuple(config.voxel_nm) if any(config.voxel_nm) else None
        series = config.series if config.series >= 0 else None
        return open_volume(config.path, dataset=config.dataset, series=series, voxel_nm=voxel_nm)
    if len(config.phantom_shape) != 3 or min(config.phantom_shape) < 1:
        raise InputError(f"data.phantom_shape: got {config.phantom_shape}, wanted (z, y, x)")
    phantom = tissue(tuple(config.phantom_shape), config.phantom_seed)
    return ArrayVolume(phantom, (VOXEL_NM,) * 3, "procedural phantom")


def find_grey_range(observed: SliceStack) -> IntensityRange:
    """Find the grey-level range of all valid slices, reading at most SCAN voxels at a time.

    Raises:
      InputError: a voxel is NaN or infinite.
    """
    found = [
        _extremes(part, box.start[0]) for box, part in scanned(observed) if part.plan.valid.any()
    ]
    return spanning(min(low for low, _ in found), max(high for _, high in found))


def _extremes(part: SliceStack, first: int) -> tuple[float, float]:
    """Find the range of a part's valid slices, or raise naming the slices with NaN or infinity."""
    values = part.slices[part.plan.valid]
    bad = np.flatnonzero(part.plan.valid)[~np.isfinite(values).all(axis=(1, 2))]
    if bad.size:
        listed = ", ".join(str(first + i) for i in bad)
        raise InputError(
            f"{part.volume.path}: slices {listed}: got NaN or infinite voxels, wanted finite ones; "
            "leave slices out by data.missing or --detect_missing (of data.path), by "
            "--input_missing or --input_detect_missing (of --input)"
        )
    return float(values.min()), float(values.max())


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
    z_nm, y_nm, x_nm = observed.voxel_nm
    if whole_factor(observed) >= 2 and np.isclose(y_nm, x_nm, rtol=1e-3):  # float32 headers
        return ""
    return f"voxels of {z_nm:g} x {y_nm:g} x {x_nm:g} nm, wanted y = x and z 1.5 times y or more"
