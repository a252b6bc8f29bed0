"""Score planes beside the interpolations, for the report of a run and for `evaluate`.

Letters: D H W output.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from emgauss_jax.data.simulate import Plan
from emgauss_jax.evaluation.report import write_report
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import baselines, rivals


def missing_note(missing: Sequence[int]) -> dict[str, str]:
    """List the missing slices as a note for the report; no note if there are none."""
    return {"missing slices": ", ".join(map(str, missing))} if len(missing) else {}


def report_beside_rivals(
    folder: pathlib.Path | None,
    slices: Block,
    plan: Plan,
    ours: np.ndarray,
    reference: np.ndarray,
    method: str,
    **told: Any,
) -> dict:
    """Score planes, and every interpolation of the slices they were made from.

    Args:
      folder: for metrics.json and report.html; None: no file is written.
      slices: the observed slices, missing ones included.
      plan: which planes of the reference are hidden or lost, and where they lie.
      ours: f32[D, H, W], the planes to score, intensity.
      reference: f32[D, H, W], intensity.
      method: the name of the method that made the planes.
      told: further arguments of `write_report`.

    Returns:
      What metrics.json holds.
    """
    volumes = {**baselines(slices, plan.z_reference, rivals(plan.profile)), method: ours}
    hidden = {"hidden": plan.hidden, "lost": plan.lost}
    return write_report(folder, reference, volumes, method=method, **hidden, **told)
