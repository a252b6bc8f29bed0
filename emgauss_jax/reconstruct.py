"""Render a fitted volume at any depths, block by block, and write it.

python -m emgauss_jax.reconstruct --workdir=DIR --output=PATH [--factor=F | --z_voxel_nm=F | --z=..]
    [--uncertainty=PATH]

Letters: K observed slices, Q planes of the output, H W lateral size in px.
"""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from absl import flags

from emgauss_jax import cli
from emgauss_jax.data.boxes import axis_weight, blend_weights, grid_starts
from emgauss_jax.data.intensity import from_unit
from emgauss_jax.data.observed import Observed
from emgauss_jax.data.volume import VolumeWriter, check_absent, create_volume
from emgauss_jax.experiment import Experiment, prepare, read_workdir
from emgauss_jax.training.fit import fit
from emgauss_jax.uncertainty import standard_error

SLAB = 64  # planes in memory at once: one chunk of the chunked formats


class Sampling(NamedTuple):
    """Where the planes of an output lie."""

    z: np.ndarray  # f64[Q], input-slice units
    voxel_nm: tuple[float, float, float]


def isotropic(observed: Observed) -> Sampling:
    """Sample at the lateral voxel size; in simulation, at the planes of the reference.

    Raises:
      ValueError: the slices lie no farther apart than the pixels.
    """
    z_nm, y_nm, x_nm = observed.voxel_nm
    plan = observed.plan
    if plan.factor:
        return Sampling(plan.z_reference, (z_nm / plan.factor, y_nm, x_nm))
    if z_nm < y_nm:
        raise ValueError(
            f"voxel_nm: got z {z_nm:g} and y {y_nm:g}, wanted z >= y: slices at least as far apart "
            "as pixels (set data.voxel_nm, or data.simulate_factor for an isotropic volume)"
        )
    return by_factor(observed, z_nm / y_nm)


def by_factor(observed: Observed, factor: float) -> Sampling:
    """Sample `factor` planes for every observed slice, from the first slice to the last.

    Raises:
      ValueError: a factor below 1.
    """
    if not np.isfinite(factor) or factor < 1:
        raise ValueError(f"factor: got {factor:g}, wanted 1 or more")
    z_nm, y_nm, x_nm = observed.voxel_nm
    count = int(np.floor((len(observed.slices) - 1) * factor + 1e-6)) + 1
    return Sampling(np.arange(count) / factor, (z_nm / factor, y_nm, x_nm))


def at_depths(observed: Observed, z: list[float]) -> Sampling:
    """Sample the depths asked for; the output's axial voxel size is their mean distance.

    Raises:
      ValueError: a depth outside the stack, or depths that do not rise.
    """
    last = len(observed.slices) - 1
    depths = np.asarray(z, np.float64)
    if not (np.all(depths >= 0) and np.all(depths <= last) and np.all(np.diff(depths) > 0)):
        raise ValueError(f"z: got {z}, wanted rising depths from 0 to {last}")
    z_nm, y_nm, x_nm = observed.voxel_nm
    step = float(np.diff(depths).mean()) if len(depths) > 1 else 1.0
    return Sampling(depths, (z_nm * step, y_nm, x_nm))


def reconstruct_volume(
    experiment: Experiment,
    params: Any,
    sampling: Sampling,
    path: pathlib.Path,
    format: str | None = None,
) -> None:
    """Render all planes, blend the blocks, and write the volume.

    Args:
      experiment: the opened volume and its blocks.
      params: of all blocks, numpy leaves [blocks, ...].
      sampling: the planes.
      path: must not exist.
      format: where the suffix leaves it open, see `create_volume`.

    Raises:
      ValueError: the path exists or has no known suffix.
    """
    observed = experiment.observed
    shape = (len(sampling.z), *observed.slices.shape[1:])
    predict = jax.jit(experiment.problem.method.predict)
    with create_volume(path, shape, observed.dtype, sampling.voxel_nm, format=format) as writer:
        slabs = range(0, shape[0], SLAB)
        for start in tqdm.tqdm(slabs, desc="reconstruct", unit="slab", disable=None):
            z = sampling.z[start : start + SLAB]
            planes = from_unit(
                render_planes(experiment, params, predict, z), observed.levels, observed.dtype
            )
            if experiment.keep_observed:
                paste_observed(observed, z, planes)
            writer[start : start + len(z), 0 : shape[1], 0 : shape[2]] = planes


def error_slabs(experiment: Experiment, z: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Estimate the standard error of planes f64[Q], slab by slab.

    Yields:
      The index of a slab's first plane, and f32[planes, H, W], intensity.
    """
    estimate = standard_error(experiment.observed, experiment.labels)
    for start in range(0, len(z), SLAB):
        yield start, estimate(z[start : start + SLAB])


def write_uncertainty(experiment: Experiment, z: np.ndarray, volume: VolumeWriter) -> None:
    """Write the standard error of every voxel in the volume's own grey levels.

    Args:
      experiment: with the labels of its prior, if it had one.
      z: f64[Q], the planes.
      volume: float32, of their number.
    """
    observed = experiment.observed
    height, width = observed.slices.shape[1:]
    span = np.float32(observed.levels.high - observed.levels.low)
    with volume as writer:
        for start, planes in error_slabs(experiment, z):
            writer[start : start + len(planes), 0:height, 0:width] = span * planes


def render_planes(experiment: Experiment, params: Any, predict: Any, z: np.ndarray) -> np.ndarray:
    """Render planes of the whole field from all blocks that reach them.

    Args:
      z: f64[Q], at most SLAB depths; padded to SLAB, so that one program serves all slabs.

    Returns:
      f32[Q, H, W], intensity in [0, 1] or a little beyond.
    """
    boxes, blocks = experiment.boxes, experiment.problem.blocks
    total = np.zeros((len(z), *experiment.observed.slices.shape[1:]), np.float32)
    starts, size = grid_starts(boxes, 0), boxes[0].shape[0]
    z_valid = experiment.observed.z_valid
    place = np.interp(z, z_valid, np.arange(len(z_valid)))  # boxes count valid slices
    padded = np.concatenate([z, np.full(SLAB - len(z), z[-1])]).astype(np.float32)
    for i, box in enumerate(boxes):
        along_z = axis_weight(place, box.start[0], starts, size)
        if not along_z.any():
            continue
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (params, blocks))
        planes = np.asarray(predict(*one, padded))[: len(z)]
        if not np.isfinite(planes).all():
            raise FloatingPointError(
                f"block {i}: got planes that could not be drawn, wanted finite ones: "
                "raise emgauss.render.capacity"
            )
        _, along_y, along_x = blend_weights(box, boxes)
        weight = along_z[:, None, None] * (along_y[:, None] * along_x)
        total[:, *box.slices[1:]] += (weight * planes).astype(np.float32)
    return total


def paste_observed(observed: Observed, z: np.ndarray, planes: np.ndarray) -> None:
    """Put the valid observed slices where a plane has exactly their depth, in place."""
    if observed.plan.averaged:
        return  # a mean of planes is not a plane
    near = np.rint(z).astype(int).clip(0, len(observed.slices) - 1)
    here = (np.abs(z - near) < 1e-6) & observed.plan.valid[near]
    planes[here] = observed.slices[near[here]]


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    flags.DEFINE_string("workdir", None, "Folder of a finished train.")
    flags.DEFINE_string("output", None, "Volume to write; the suffix names the format.")
    flags.DEFINE_string("uncertainty", None, "A second volume: standard errors, float32.")
    flags.DEFINE_float("factor", None, "Output planes for every observed slice.")
    flags.DEFINE_float("z_voxel_nm", None, "Distance of the output planes, nm.")
    flags.DEFINE_list("z", None, "Depths to render, in input-slice units: 1.5,2.25")


def sampling_of_flags(observed: Observed, values: Any) -> Sampling:
    """Choose the sampling that --factor, --z_voxel_nm or --z asks for; isotropic without them.

    Raises:
      ValueError: more than one of them, or a value that cannot work.
    """
    asked = [name for name in ("factor", "z_voxel_nm", "z") if values[name].value is not None]
    if len(asked) > 1:
        raise ValueError(f"flags: got {asked}, wanted at most one of them")
    if values.factor is not None:
        return by_factor(observed, values.factor)
    if values.z_voxel_nm is not None:
        if not 0 < values.z_voxel_nm <= observed.voxel_nm[0]:
            raise ValueError(
                f"z_voxel_nm: got {values.z_voxel_nm:g}, wanted more than 0 and at most "
                f"{observed.voxel_nm[0]:g}, the distance of the slices"
            )
        return by_factor(observed, observed.voxel_nm[0] / values.z_voxel_nm)
    if values.z is not None:
        try:
            depths = [float(z) for z in values.z]
        except ValueError:
            raise ValueError(f"z: got {values.z}, wanted numbers like 1.5,2.25") from None
        return at_depths(observed, depths)
    return isotropic(observed)


def main() -> None:
    """Read the flags and render."""
    values = flags.FLAGS
    if not values.workdir or not values.output:
        raise ValueError("flags: wanted --workdir=DIR and --output=PATH")
    workdir, output = pathlib.Path(values.workdir), pathlib.Path(values.output)
    uncertainty = pathlib.Path(values.uncertainty) if values.uncertainty else None
    check_absent(output)
    if uncertainty == output:
        raise ValueError(f"uncertainty: got {uncertainty}, wanted another path than the output's")
    experiment = prepare(read_workdir(workdir))
    sampling = sampling_of_flags(experiment.observed, values)
    errors = None
    if uncertainty:  # prepared before anything is written, so that a bad path costs nothing
        shape = (len(sampling.z), *experiment.observed.slices.shape[1:])
        errors = create_volume(uncertainty, shape, np.float32, sampling.voxel_nm)
    experiment = experiment.taught(workdir, train=False)
    params = fit(experiment.problem, workdir, train=False)
    reconstruct_volume(experiment, params, sampling, output)
    if errors:
        write_uncertainty(experiment, sampling.z, errors)
    print(f"{output}: {len(sampling.z)} planes, voxel {sampling.voxel_nm} nm (z, y, x)")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
