"""Open the slices that the `data` section of a config names."""

import dataclasses
from typing import Any

import numpy as np

from emgauss_jax.data.array_volume import ArrayVolume
from emgauss_jax.data.doubts import count_absent, refuse_size_of_ones
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.phantom import VOXEL_NM, tissue
from emgauss_jax.data.simulate import degrade_plan, parse_crop
from emgauss_jax.data.slice_depths import read_depths, spacing_notes
from emgauss_jax.data.square_pixels import SquarePixels, squared
from emgauss_jax.data.stack import SliceStack, find_grey_range
from emgauss_jax.data.tiling import Box
from emgauss_jax.data.volume import open_volume, output_suffix

PHANTOM = "phantom"  # the `data.path` of a procedural volume without a file


def open_stack(
    config: Any,
    grey_range: IntensityRange | None = None,
    volume: Any = None,
    absent: tuple[int, int] = (0, 0),
) -> SliceStack:
    """Open a volume; its voxels are read only to find their range.

    Args:
      config: the `data` section of a config.
      grey_range: the range, if it is known already.
      volume: an opened one, to be used in place of the config's path.
      absent: where the range is known, how many chunks were found absent, and of how many.

    Raises:
      InputError: an input cannot be used; the message names the setting.
    """
    observed = open_unmeasured(config, volume)
    if grey_range:
        return dataclasses.replace(_of_range(observed, grey_range), absent=absent)
    return measured(with_chunks_counted(observed, config))


def open_unmeasured(config: Any, volume: Any = None) -> SliceStack:
    """Open a volume without reading voxels: its range of grey levels is not measured yet.

    The crop counts voxels of the file; px that are not square become so after it.
    """
    volume = _open(config) if volume is None else volume
    if not config.simulate_factor:
        refuse_size_of_ones(volume)
    form = volume.format if volume.format == "zarr2" else None
    box = parse_crop(config.crop, volume.shape)
    plan = degrade_plan(
        box.shape[0], config.simulate_factor, config.degradation, tuple(config.missing)
    )
    distance, depths = volume.voxel_nm[0] * max(plan.factor, 1), _depths(config, volume, box)
    if depths is not None:
        # those of a saved fit are there already
        notes = tuple(dict.fromkeys((*volume.notes, *spacing_notes(depths, distance))))
        volume, distance = dataclasses.replace(volume, notes=notes), float(np.diff(depths).mean())
    volume, box = squared(volume, box, distance)
    spacing = (distance, *volume.voxel_nm[1:])
    suffix, unknown = output_suffix(volume), IntensityRange(0.0, 255.0)
    return SliceStack(volume, box, plan, 0, unknown, spacing, suffix, form, depths_nm=depths)


def _depths(config: Any, volume: Any, box: Box) -> np.ndarray | None:
    """Read the depths of the slices of a crop, where a config has them."""
    given = config.z_nm
    if not given.strip():
        return None
    if config.simulate_factor:
        raise InputError(
            f"data.z_nm: got it with simulate_factor {config.simulate_factor}, wanted one of them: "
            "the planes of an isotropic volume are evenly spaced"
        )
    return read_depths(given, volume.shape[0])[box.slices[0]]


def with_chunks_counted(observed: SliceStack, config: Any) -> SliceStack:
    """Return the stack with the absent chunks of its crop counted; no chunk is read.

    Raises:
      InputError: all are absent, or any where `data.require_all_chunks` is set.
    """
    absent = count_absent(observed.volume, observed.box.slices, config.require_all_chunks)
    return dataclasses.replace(observed, absent=absent)


def measured(observed: SliceStack) -> SliceStack:
    """Return the stack with its range of grey levels measured, see `find_grey_range`."""
    volume, source = observed.volume, observed
    if isinstance(volume, SquarePixels):  # measured before its px are mixed
        box = volume.crop_of(observed.box)
        source = dataclasses.replace(observed, volume=volume.source, box=box)
    return _of_range(observed, find_grey_range(source))


def _of_range(observed: SliceStack, grey_range: IntensityRange) -> SliceStack:
    volume = observed.volume
    if isinstance(volume, SquarePixels):
        volume = volume.of_range(grey_range)
    return dataclasses.replace(observed, volume=volume, grey_range=grey_range)


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
