"""Simulated anisotropy: which planes of an isotropic volume are observed, which are held out.

Letters: K observed slices, D planes of the reference, H W lateral size, k the factor.
Depth z is in input-slice units: observed slice j lies at z = j. A plan is made before anything is
read, and `read_observed` reads only the planes in the plan: no held-out plane is read.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.slice_profile import SliceProfile, slice_profile
from emgauss_jax.data.tiling import Box

DEGRADATIONS = ("subsample", "average")


@dataclass(frozen=True, eq=False)
class Plan:
    """Which planes are observed and which are scored, counted from the start of the crop."""

    depth: int  # planes of the crop
    factor: int  # k; 0: nothing is simulated and there is no reference
    profile: SliceProfile  # which planes a slice shows
    sources: tuple[range, ...]  # [K], the planes averaged in each observed slice
    valid: np.ndarray  # bool[K], False where a slice is missing
    z_reference: np.ndarray  # f64[D], depth of each reference plane, input-slice units
    hidden: np.ndarray  # bool[D], True where a reference plane is scored
    lost: np.ndarray  # bool[D], True where a reference plane belongs to a missing slice


def degrade_plan(
    depth: int, factor: int = 0, degradation: str = "subsample", missing: Sequence[int] = ()
) -> Plan:
    """Plan a simulated degradation along z.

    Args:
      depth: planes of the volume, or of its crop.
      factor: k. 0 observes every plane and has no reference (D = 0).
      degradation: "subsample": planes 0, k, .. n k are observed and the reference is cut to
        n k + 1 planes at z = i / k; "average": the means of k planes are observed and the n k
        reference planes lie at z = (i - (k - 1) / 2) / k.
      missing: indices of observed slices to treat as missing.

    Returns:
      The plan. It scores all planes except valid observed slices; with "average", all planes.

    Raises:
      InputError: a setting cannot work; the message names it.
    """
    factor = _checked_factor(factor, degradation)
    profile, step = slice_profile(degradation, factor), max(factor, 1)
    width = len(profile.offsets)
    count = (depth - width) // step + 1
    if count < 2:
        hint = f", one for every {factor} ({degradation})" if factor else ""
        raise InputError(
            f"observed slices: got {max(count, 0)} from {depth} planes{hint}, wanted 2 or more"
        )
    valid = _valid_slices(count, missing)
    sources = tuple(range(j * step, j * step + width) for j in range(count))
    planes = np.arange(profile.plane_count(count, step) if factor else 0)
    hidden, lost = np.ones(planes.shape, bool), np.zeros(planes.shape, bool)
    if factor:
        lost[np.concatenate(sources)] = np.repeat(~valid, width)
        if profile.is_plane:  # an observed plane is not scored
            hidden[::factor] = ~valid
    return Plan(
        depth=depth,
        factor=factor,
        profile=profile,
        sources=sources,
        valid=valid,
        z_reference=(planes - (width - 1) / 2) / step,
        hidden=hidden,
        lost=lost,
    )


def plan_part(plan: Plan, start: int, stop: int) -> Plan:
    """Cut a plan to the observed slices start:stop and the reference planes they span.

    Planes are still counted from the start of the crop, and depths from its first slice.
    """
    low, high = plan.sources[start].start, plan.sources[stop - 1].stop
    return replace(
        plan,
        sources=plan.sources[start:stop],
        valid=plan.valid[start:stop],
        z_reference=plan.z_reference[low:high],
        hidden=plan.hidden[low:high],
        lost=plan.lost[low:high],
    )


def _checked_factor(factor: int, degradation: str) -> int:
    try:
        value = operator.index(factor)
    except TypeError:
        value = -1
    if value < 0 or value == 1:
        raise InputError(f"simulate_factor: got {factor!r}, wanted 0 (off) or a whole number >= 2")
    if degradation not in DEGRADATIONS:
        raise InputError(f"degradation: got {degradation!r}, wanted one of {DEGRADATIONS}")
    if value == 0 and degradation == "average":
        raise InputError("degradation: got 'average' with simulate_factor 0, wanted a factor >= 2")
    return value


def _valid_slices(count: int, missing: Sequence[int]) -> np.ndarray:
    try:
        listed = [operator.index(j) for j in missing]
    except TypeError:
        raise InputError(f"missing: got {missing!r}, wanted whole slice indices") from None
    if len(set(listed)) < len(listed) or any(not 0 <= j < count for j in listed):
        raise InputError(
            f"missing: got {listed}, wanted different slice indices from 0 to {count - 1}"
        )
    valid = np.ones(count, bool)
    valid[listed] = False
    if valid.sum() < 2:
        raise InputError(f"missing: got {listed} of {count} slices, wanted 2 or more valid slices")
    return valid


def read_observed(volume: Any, plan: Plan, box: Box) -> np.ndarray:
    """Read the observed slices of a box; held-out planes and missing slices are not read.

    Args:
      volume: anything with `dtype` whose `volume[z0:z1, y0:y1, x0:x1]` is a zyx array.
      plan: a plan for the depth of the box.
      box: the crop, or a lateral part of it, in voxels of the volume; its first plane is plane 0
        of the plan.

    Returns:
      [K, H, W] in the volume's dtype, float32 where slices are means; missing slices are 0.

    Raises:
      InputError: plan and box differ in depth.
    """
    if box.shape[0] != plan.depth:
        raise InputError(f"box depth: got {box.shape[0]}, wanted {plan.depth}, as in the plan")
    z0, (_, ys, xs) = box.start[0], box.slices
    dtype = volume.dtype if plan.profile.is_plane else np.float32
    observed = np.zeros((len(plan.sources), *box.shape[1:]), dtype)
    for run in _runs(plan):
        start, stop = plan.sources[run[0]].start, plan.sources[run[-1]].stop
        planes = volume[z0 + start : z0 + stop, ys, xs]
        observed[run] = planes if plan.profile.is_plane else planes.mean(axis=0, dtype=np.float64)
    return observed


def _runs(plan: Plan) -> list[np.ndarray]:
    """Group the valid slices that one call reads: neighbours, where nothing is simulated.

    With one call per slice, a compressed file would be opened once per slice.
    """
    valid = np.flatnonzero(plan.valid)
    step = 1 if plan.factor == 0 else 0  # index difference of neighbours in one run
    return np.split(valid, np.flatnonzero(np.diff(valid) != step) + 1)


def parse_crop(text: str, shape: Sequence[int]) -> Box:
    """Parse a crop written as "z0:z1,y0:y1,x0:x1".

    Args:
      text: whole voxels; an empty end, axis or text means all of it.
      shape: D, H, W of the volume, voxels.

    Returns:
      The box.

    Raises:
      InputError: the text has another form, or a range is empty or leaves the volume.
    """
    if not text.strip():
        return Box((0, 0, 0), tuple(int(n) for n in shape))
    axes = text.split(",")
    if len(axes) != 3:
        raise InputError(f"crop: got {text!r}, wanted three ranges 'z0:z1,y0:y1,x0:x1'")
    ranges = [
        _axis_range(part.strip() or ":", n, text) for part, n in zip(axes, shape, strict=True)
    ]
    return Box(tuple(a for a, _ in ranges), tuple(b - a for a, b in ranges))


def _axis_range(part: str, length: int, text: str) -> tuple[int, int]:
    try:
        low, high = part.split(":")
        start, stop = int(low or 0), int(high or length)
    except ValueError:
        raise InputError(f"crop: got {part!r} in {text!r}, wanted a range like '0:128'") from None
    if not 0 <= start < stop <= length:
        raise InputError(f"crop: got {part!r} in {text!r}, wanted start < stop within 0:{length}")
    return start, stop
