"""The report of a run: how good its reconstruction is, judged on a part if it is large.

Letters: D H W output, K observed slices.
"""

import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.array_volume import ObservedVolume
from emgauss_jax.data.intensity import to_unit
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box, border_mask
from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation.report import write_gallery
from emgauss_jax.evaluation.rivals import missing_note, report_beside_rivals
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
SAMPLE = 2**23  # at most so many voxels of the output; each method's copy takes 32 MiB


class Sample(NamedTuple):
    """The part of the output that is reported on, and the slices it was made from."""

    observed: SliceStack  # cut to the part
    planes: slice  # of the output
    box: Box  # of the part; z in observed slices, y and x in px
    whole: bool  # whether the part is all of the output

    def describe(self) -> dict[str, str]:
        """Name the part in a note for the report; no note if it is the whole output."""
        if self.whole:
            return {}
        parts = zip("zyx", (self.planes, *self.box.slices[1:]), strict=True)
        text = " x ".join(f"{axis} {part.start} to {part.stop - 1}" for axis, part in parts)
        return {"looked at here": text}


def choose_sample(observed: SliceStack, z: np.ndarray) -> Sample:
    """Choose the whole output, or its middle if it has more than `SAMPLE` voxels.

    Args:
      observed: the slices of the run.
      z: f64[D], depths of the output, input-slice units.
    """
    height, width = observed.shape[1:]
    if len(z) * height * width <= SAMPLE:
        return Sample(observed, slice(0, len(z)), Box((0, 0, 0), observed.shape), True)
    edge = int((SAMPLE / min(len(z), 256)) ** 0.5)
    shape = (min(edge, height), min(edge, width))
    planes = SAMPLE // (shape[0] * shape[1])
    valid = np.flatnonzero(observed.plan.valid)
    slices = max(2, min(len(valid), int(len(valid) * planes / len(z))))
    first = (len(valid) - slices) // 2
    low, high = int(valid[first]), int(valid[first + slices - 1])
    start = (low, (height - shape[0]) // 2, (width - shape[1]) // 2)
    box = Box(start, (high - low + 1, *shape))
    reach = observed.plan.profile.reach + 1e-6
    span = np.searchsorted(z, [low - reach, high + reach])
    return Sample(observed.part(box), slice(*map(int, span)), box, False)


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
    z = isotropic(run.observed).z
    sample = choose_sample(run.observed, z)
    observed, depths, (_, ys, xs) = sample.observed, z[sample.planes], sample.box.slices
    ours = to_unit(volume[sample.planes, ys, xs], observed.grey_range)
    block = Block(observed.unit_slices, observed.z, observed.plan.valid)
    reference, unscored = _reference(observed)
    told = {
        "voxel_nm": volume.voxel_nm,
        "title": f"{run.config.method}: {name}",
        "notes": describe_run(run, store, damaged) | sample.describe() | unscored,
        "expected": _expected(run, store, depths, sample.box),
        "method": run.config.method,
    }
    if reference is None:
        others = baselines(block, depths, ("nearest", "linear"))
        hidden = _hidden(observed, depths)
        why = f"There is no score: the reference {unscored['reference']}." if unscored else ""
        three = (ours, others["nearest"], others["linear"])
        write_gallery(folder, *three, hidden, verdict=why, **told)
        return
    seams = border_mask(run.grid, run.observed.shape[1:])[ys, xs]
    seams = seams if seams.any() else None
    told |= {"seams": seams, "grey_range": observed.grey_range}
    report_beside_rivals(folder, block, observed.plan, ours, reference, **told)


def _reference(observed: SliceStack) -> tuple[np.ndarray | None, dict[str, str]]:
    """Read the planes to score against; if they cannot be used, None and a note why."""
    if not observed.plan.factor:
        return None, {}
    if isinstance(observed.volume, ObservedVolume):
        return None, {"reference": "was not kept with the fit: not scored"}
    reference = observed.reference()
    if not np.isfinite(reference).all():
        return None, {"reference": "holds NaN or infinite voxels: not scored"}
    return reference, {}


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
