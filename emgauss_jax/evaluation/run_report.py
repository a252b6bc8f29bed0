"""The report of a run: how good its reconstruction is, with pictures of its middle.

Letters: D H W output, K observed slices.
"""

import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from emgauss_jax.data.array_volume import ObservedVolume
from emgauss_jax.data.intensity import to_unit
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box, border_lines
from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation.beside_rivals import (
    choose_sample,
    missing_note,
    report_beside_rivals,
    sample_note,
    score_beside_rivals,
)
from emgauss_jax.evaluation.comparison import compare
from emgauss_jax.evaluation.report import Pictured, write_gallery
from emgauss_jax.evaluation.scoring import Expected, boxes_of
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import baselines
from emgauss_jax.pipeline.cutting import part_of
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.input_summary import summarise
from emgauss_jax.pipeline.output_grid import isotropic
from emgauss_jax.pipeline.region import FitStore
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.stitching import expected_error, open_fits
from emgauss_jax.pseudo_labels.template import why_no_pseudo_labels
from emgauss_jax.pseudo_labels.weights import describe
from emgauss_jax.storage.run_dir import read_damaged

NONE: Mapping[str, str] = MappingProxyType({})


def report_run(run: Run, path: pathlib.Path, workdir: pathlib.Path) -> None:
    """Write the report of a workdir's run into its report/, see `report_fits`.

    Args:
      run: a finished run.
      path: the reconstruction, of isotropic voxels.
      workdir: of the run.
    """
    store = fitting_of(run.template.method).fits_in(run, workdir)
    damaged = read_damaged(workdir)
    report_fits(run, store, open_volume(path), workdir / "report", path.name, damaged)


def report_fits(
    run: Run,
    store: FitStore,
    volume: Any,
    folder: pathlib.Path,
    name: str,
    damaged: Mapping[str, str] = NONE,
) -> None:
    """Write the report of a run.

    With a reference the reconstruction is scored beside every interpolation; without one, the page
    shows it beside nearest and linear interpolation.

    Args:
      run: a finished run.
      store: its fits.
      volume: the reconstruction, of isotropic voxels: has `voxel_nm`, slicing reads a box.
      folder: gets report.html and, where there is a reference, metrics.json.
      name: of the reconstruction, for the heading.
      damaged: index of a slice that was found damaged -> reason.
    """
    observed, z = run.observed, isotropic(run.observed).z
    shape = (len(z), *observed.shape[1:])
    sample, slices = choose_sample(observed, z)
    expected = _expected(run, store, z[sample.slices[0]], sample)
    why = _why_not_scored(observed)
    notes = describe_run(run, store, damaged) | sample_note(sample, shape)
    notes |= {"reference": why} if why else {}
    title, voxel_nm = f"{run.config.method}: {name}", np.array(volume.voxel_nm)
    if why or not observed.plan.factor:
        pictured = _gallery(observed.part(slices), volume, z, sample, expected, run.config.method)
        verdict = f"There is no score: the reference {why}." if why else ""
        write_gallery(folder, pictured, voxel_nm, title, notes, run.config.method, verdict)
        return
    if sample.shape != shape:
        notes["expected error"] = "judged where pictures are from"
    errors = Expected(sample, lambda box: expected[box.moved([-n for n in sample.start]).slices])
    compared = compare(observed, volume, run.config.method)
    lines = border_lines(run.grid, observed.shape[1:])
    result = score_beside_rivals(compared, voxel_nm, notes, lines, errors)
    report_beside_rivals(folder, compared, result, voxel_nm, title, errors)


def _gallery(
    observed: SliceStack,
    volume: Any,
    z: np.ndarray,
    sample: Box,
    expected: np.ndarray,
    method: str,
) -> Pictured:
    """Put a part of a volume beside the interpolations of its slices."""
    block = Block(observed.unit_slices, observed.z, observed.plan.valid)
    depths = z[sample.slices[0]]
    others = baselines(block, depths, ("nearest", "linear"))
    columns = {"input (nearest)": others["nearest"], "linear": others["linear"]}
    columns[method] = to_unit(volume[sample.slices], observed.grey_range)
    return Pictured(columns, _hidden(observed, depths), expected)


def _why_not_scored(observed: SliceStack) -> str:
    """Say why the reference cannot be used; "" if it can, or if there is none."""
    if not observed.plan.factor:
        return ""
    if isinstance(observed.volume, ObservedVolume):
        return "was not kept with the fit: not scored"
    whole = np.issubdtype(observed.dtype, np.integer)
    boxes = () if whole else boxes_of(observed.reference_shape)
    if all(np.isfinite(observed.reference(box)).all() for box in boxes):
        return ""
    return "holds NaN or infinite voxels: not scored"


def _expected(run: Run, store: FitStore, z: np.ndarray, box: Box) -> np.ndarray:
    """Estimate the standard error of the planes of a box, slab by slab, f32[D, H, W].

    Regions are opened in here and freed at its end, before scoring needs the memory.
    """
    fits = open_fits(run, store)
    slabs = range(0, len(z), fits.slab)
    return np.concatenate([expected_error(fits, z[i : i + fits.slab], box) for i in slabs])


def _hidden(observed: SliceStack, z: np.ndarray) -> np.ndarray:
    """Mark the planes that were not observed, bool[D].

    With a fractional anisotropy few planes lie exactly on a slice, so the plane nearest to each
    slice counts as observed.
    """
    hidden = np.ones(len(z), bool)
    hidden[np.abs(z[:, None] - observed.z_valid).argmin(axis=0)] = False
    return hidden


def describe_run(run: Run, store: FitStore, damaged: Mapping[str, str] = NONE) -> dict[str, str]:
    """Describe a finished run for the notes of its report."""
    observed, plan = run.observed, run.observed.plan
    notes = {
        "volume": str(observed.volume.path),
        **summarise(observed).notes(),
        "observed slices": f"{plan.valid.sum()} valid of {len(plan.valid)}",
        "observed voxel, nm (z, y, x)": " x ".join(f"{nm:g}" for nm in observed.voxel_nm),
        "blocks": f"{run.grid.count} of {' x '.join(map(str, run.grid.size))}",
        "steps": str(run.template.settings.steps),
        "seed": str(run.config.seed),
    }
    if "prior" in run.config:
        notes["prior"] = _describe_labels(run, store)
    if len(run.regions) > 1:
        own = ", each with a prior of its own" if run.label_template else ""
        notes["regions"] = f"{len(run.regions)}{own}"
    notes |= store.notes()
    notes |= missing_note(np.flatnonzero(~plan.valid))
    if damaged:
        scored = " (in the reference, too, and scored as they are there)" if plan.factor else ""
        listed = "; ".join(f"{index} {reason}" for index, reason in damaged.items())
        notes["of these, found damaged"] = listed + scored
    if plan.factor:
        notes["simulated"] = f"{plan.profile.name}, factor {plan.factor}"
    return notes


def _describe_labels(run: Run, store: FitStore) -> str:
    """Describe the weights of the pseudo-label sources; of several regions, in the middle one."""
    middle = len(run.regions) // 2
    judged = store.weights(middle)
    if judged:
        return describe(judged)
    why_not = why_no_pseudo_labels(run.config, part_of(run.observed, run.regions[middle]))
    return f"none: {why_not or 'a region of one intensity'}"
