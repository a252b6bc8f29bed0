"""How good a reconstruction is: the report of a run, on as much of it as memory holds.

Letters: D H W output, K observed slices.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.intensity import to_unit
from emgauss_jax.data.stack import Observed
from emgauss_jax.data.tiling import Box, border_mask
from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation.report import write_gallery, write_report
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import TABLE, baselines
from emgauss_jax.pipeline.region import CONSTANTS, folder_of
from emgauss_jax.pipeline.run import Run, part_of
from emgauss_jax.pipeline.stitching import expected_error, open_fits
from emgauss_jax.pseudo_labels.source import obstacle
from emgauss_jax.pseudo_labels.store import read_trust
from emgauss_jax.pseudo_labels.weights import describe
from emgauss_jax.storage.network_file import read_learned
from emgauss_jax.storage.run_dir import read_damaged

SAMPLE = 2**23  # voxels of the output that are looked at; each method's copy takes 32 MiB


class Sample(NamedTuple):
    """A part of the output, and the slices it was made from."""

    observed: Observed  # of the part
    planes: slice  # of the output
    box: Box  # z in observed slices, y and x px
    whole: bool


def choose_sample(observed: Observed, z: np.ndarray) -> Sample:
    """Choose what to look at: all of it, or the middle of it.

    Args:
      observed: of the run.
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
    reach = 0.5 if observed.plan.averaged else 0.0  # a thick slice reaches so far
    span = np.searchsorted(z, [low - reach - 1e-6, high + reach + 1e-6])
    return Sample(observed.part(box), slice(*map(int, span)), box, False)


def assess(run: Run, z: np.ndarray, path: pathlib.Path, workdir: pathlib.Path) -> None:
    """Compare a written reconstruction with every interpolation, and with the reference if any.

    Args:
      run: finished.
      z: f64[D], depths of the planes written, input-slice units.
      path: the reconstruction.
      workdir: gets report/, with report.html and, where there is a reference, metrics.json.
    """
    folder = workdir / "report"
    sample = choose_sample(run.observed, z)
    observed, depths, (_, ys, xs) = sample.observed, z[sample.planes], sample.box.slices
    volume = open_volume(path)
    ours = to_unit(volume[sample.planes, ys, xs], observed.levels)
    block = Block(observed.unit_slices, observed.z, observed.plan.valid)
    title, notes = f"{run.config.method}: {path.name}", describe_run(run, workdir)
    if not sample.whole:
        notes["looked at here"] = " x ".join(
            f"{name} {a} to {b - 1}"
            for name, a, b in zip(
                "zyx", (sample.planes.start, ys.start, xs.start),
                (sample.planes.stop, ys.stop, xs.stop), strict=True,
            )
        )  # fmt: skip
    expected = _expected(run, workdir, depths, sample.box)
    reference = observed.reference() if observed.plan.factor else None
    if reference is not None and not np.isfinite(reference).all():
        notes["reference"], reference = "holds NaN or infinite voxels: not scored", None
    if reference is None:
        others = baselines(block, depths, ("nearest", "linear"))
        write_gallery(
            folder, ours, others["nearest"], others["linear"], _hidden(observed, depths),
            volume.voxel_nm, title, notes, expected, run.config.method,
        )  # fmt: skip
        return
    names = (*TABLE, "cubic_mean") if observed.plan.averaged else TABLE
    others = baselines(block, depths, names)
    seams = border_mask(run.grid, run.observed.shape[1:])[ys, xs]
    write_report(
        folder, reference, {**others, run.config.method: ours}, observed.plan.hidden,
        volume.voxel_nm, title, notes, seams if seams.any() else None, expected,
        run.config.method, observed.plan.lost,
    )  # fmt: skip


def _expected(run: Run, workdir: pathlib.Path, z: np.ndarray, box: Box) -> np.ndarray:
    """Estimate the standard error of planes of a box, slab by slab.

    The regions it takes are opened here, so that none is held while the planes are scored.
    """
    fits = open_fits(run, workdir)
    slabs = range(0, len(z), fits.slab)
    return np.concatenate([expected_error(fits, z[i : i + fits.slab], box) for i in slabs])


def _hidden(observed: Observed, z: np.ndarray) -> np.ndarray:
    """Mark the planes that are no observed slice, bool[D].

    A fractional anisotropy puts hardly a plane exactly on a slice: the nearest one counts as it.
    """
    hidden = np.ones(len(z), bool)
    hidden[np.abs(z[:, None] - observed.z_valid).argmin(axis=0)] = False
    return hidden


def describe_run(run: Run, workdir: pathlib.Path) -> dict[str, str]:
    """Say what the report's reader should know about a finished run."""
    observed, plan = run.observed, run.observed.plan
    notes = {
        "volume": str(getattr(observed.volume, "path", "procedural phantom")),
        "observed slices": f"{plan.valid.sum()} valid of {len(plan.valid)}",
        "observed voxel, nm (z, y, x)": " x ".join(f"{nm:g}" for nm in observed.voxel_nm),
        "blocks": f"{run.grid.count} of {' x '.join(map(str, run.grid.size))}",
        "steps": str(run.problem.settings.steps),
        "seed": str(run.config.seed),
    }
    if "prior" in run.config:
        notes["prior"] = _describe_prior(run, workdir)
    if len(run.regions) > 1:
        own = ", each with a prior of its own" if run.prior else ""
        notes["regions"] = f"{len(run.regions)}{own}"
    fitted = range(len(run.regions) if run.problem.method.per_block else 0)
    constant = sum(_constant_blocks(run, i, workdir) for i in fitted)
    if constant:
        notes["blocks of one intensity"] = f"{constant}, passed through"
    if not run.problem.method.per_block:
        notes["learned from"] = str(read_learned(workdir))
    if run.config.data.get("paths"):
        notes["learned from, too"] = ", ".join(run.config.data.paths)
    if not plan.valid.all():
        notes["missing slices"] = ", ".join(map(str, np.flatnonzero(~plan.valid)))
    damaged = read_damaged(workdir)
    if damaged:
        scored = " (in the reference, too, and scored as they are there)" if plan.factor else ""
        listed = "; ".join(f"{index} {reason}" for index, reason in damaged.items())
        notes["of these, found damaged"] = listed + scored
    if plan.factor:
        notes["simulated"] = f"{plan.degradation}, factor {plan.factor}"
    return notes


def _constant_blocks(run: Run, index: int, workdir: pathlib.Path) -> int:
    return int((~np.isnan(np.load(folder_of(run, index, workdir) / CONSTANTS))).sum())


def _describe_prior(run: Run, workdir: pathlib.Path) -> str:
    """Say what came of the prior, in the region in the middle where there are many."""
    middle = len(run.regions) // 2
    trust = read_trust(folder_of(run, middle, workdir))
    if trust:
        return describe(trust)
    why_not = obstacle(run.config, part_of(run.observed, run.regions[middle]))
    return f"none: {why_not or 'a region of one intensity'}"
