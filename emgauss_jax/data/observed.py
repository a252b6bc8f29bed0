"""What a run is given: the observed slices of a volume, and what is known about them.

Letters: K observed slices, V valid ones, D H W volume. Depth z is in input-slice units.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from emgauss_jax.data.boxes import Box
from emgauss_jax.data.degrade import Plan, degrade_plan, parse_crop, read_observed
from emgauss_jax.data.intensity import IntensityRange, find_range, to_unit
from emgauss_jax.data.phantom import tissue
from emgauss_jax.data.volume import open_volume, output_suffix

PHANTOM = "phantom"  # as `data.path`: a procedural volume, no file
PHANTOM_NM = 10.0


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
    """The observed slices of a crop. Held-out planes have not been read."""

    volume: Any  # sliceable, zyx
    box: Box  # the crop, voxels of the volume
    plan: Plan
    slices: np.ndarray  # [K, H, W], the volume's own grey levels
    levels: IntensityRange
    voxel_nm: tuple[float, float, float]  # of the observed slices: z is their distance
    suffix: str  # of an output in the same format
    format: str | None  # of that output, where the suffix leaves it open

    @property
    def z(self) -> np.ndarray:
        """f32[K], depth of the observed slices."""
        return np.arange(len(self.slices), dtype=np.float32)

    @property
    def z_valid(self) -> np.ndarray:
        """f32[V], depth of the valid slices."""
        return self.z[self.plan.valid]

    @functools.cached_property
    def unit_valid(self) -> np.ndarray:
        """f32[V, H, W], intensity of the valid slices in [0, 1]."""
        return to_unit(self.slices[self.plan.valid], self.levels)

    @property
    def unit_slices(self) -> np.ndarray:
        """f32[K, H, W], intensity in [0, 1]; missing slices are 0."""
        return to_unit(self.slices, self.levels) * self.plan.valid[:, None, None]

    @property
    def dtype(self) -> np.dtype:
        """Of the volume, and so of every output."""
        return np.dtype(self.volume.dtype)

    @property
    def thickness(self) -> tuple[float, ...]:
        """Depths of the planes averaged in one slice, from its middle, input-slice units."""
        if not self.plan.averaged:
            return (0.0,)
        k = self.plan.factor
        return tuple((i - (k - 1) / 2) / k for i in range(k))

    def reference(self) -> np.ndarray:
        """Read all planes the plan scores against, f32[D, H, W] in [0, 1]."""
        (z, y, x), (_, height, width) = self.box.start, self.box.shape
        depth = len(self.plan.z_reference)
        planes = self.volume[z : z + depth, y : y + height, x : x + width]
        return to_unit(planes, self.levels)


@dataclasses.dataclass(frozen=True, eq=False)
class _Phantom:
    """A procedural volume behind the same door."""

    array: np.ndarray
    voxel_nm: tuple[float, float, float] = (PHANTOM_NM,) * 3

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.array[index]


def load_observed(config: Any) -> Observed:
    """Open a volume and read its observed slices.

    Args:
      config: the `data` section of a config.

    Returns:
      The observed slices; what is held out stays unread.

    Raises:
      ValueError: for every input that cannot be used, naming the setting.
    """
    if not config.path:
        raise ValueError("data.path: got nothing, wanted a volume (or 'phantom')")
    if config.path == PHANTOM:
        if len(config.phantom_shape) != 3 or min(config.phantom_shape) < 1:
            raise ValueError(f"data.phantom_shape: got {config.phantom_shape}, wanted (z, y, x)")
        volume = _Phantom(tissue(tuple(config.phantom_shape), config.phantom_seed))
        suffix, form = ".ome.tif", None
    else:
        voxel_nm = tuple(config.voxel_nm) if any(config.voxel_nm) else None
        volume = open_volume(config.path, dataset=config.dataset, voxel_nm=voxel_nm)
        suffix = output_suffix(volume)
        form = volume.format if volume.format == "zarr2" else None
    box = parse_crop(config.crop, volume.shape)
    plan = degrade_plan(
        box.shape[0], config.simulate_factor, config.degradation, tuple(config.missing)
    )
    slices = read_observed(volume, plan, box)
    levels = find_range(slices[plan.valid], volume.dtype)
    z_nm, y_nm, x_nm = volume.voxel_nm
    spacing = (z_nm * max(plan.factor, 1), y_nm, x_nm)
    return Observed(volume, box, plan, slices, levels, spacing, suffix, form)
