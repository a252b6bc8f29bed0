"""Score a prediction beside the interpolations: for the report of a run and for `evaluate`."""

import pathlib
from collections.abc import Sequence

import numpy as np

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box
from emgauss_jax.evaluation.comparison import Comparison, predict, read
from emgauss_jax.evaluation.report import Pictured, plain, write_report
from emgauss_jax.evaluation.scoring import Expected, notes_of, score

SAMPLE = 2**23  # voxels that pictures are chosen from, at most; a copy of them takes 32 MiB


def missing_note(missing: Sequence[int]) -> dict[str, str]:
    """List the missing slices as a note for the report; no note if there are none."""
    return {"missing slices": ", ".join(map(str, missing))} if len(missing) else {}


def choose_sample(observed: SliceStack, z: np.ndarray) -> tuple[Box, Box]:
    """Choose what pictures are made of: all of an output, or the middle of a large one.

    Args:
      observed: the slices of the run.
      z: f64[D], depths of the output, input-slice units.

    Returns:
      The part: z in planes of the output; and z in observed slices.
    """
    height, width = observed.shape[1:]
    if len(z) * height * width <= SAMPLE:
        return Box((0, 0, 0), (len(z), height, width)), Box((0, 0, 0), observed.shape)
    edge = int((SAMPLE / min(len(z), 256)) ** 0.5)
    shape = (min(edge, height), min(edge, width))
    planes = SAMPLE // (shape[0] * shape[1])
    valid = np.flatnonzero(observed.plan.valid)
    slices = max(2, min(len(valid), int(len(valid) * planes / len(z))))
    first = (len(valid) - slices) // 2
    low, high = int(valid[first]), int(valid[first + slices - 1])
    start = ((height - shape[0]) // 2, (width - shape[1]) // 2)
    reach = observed.plan.profile.reach + 1e-6
    begin, end = map(int, np.searchsorted(z, [low - reach, high + reach]))
    return Box((begin, *start), (end - begin, *shape)), Box((low, *start), (high - low + 1, *shape))


def sample_note(sample: Box, shape: Sequence[int]) -> dict[str, str]:
    """Name the part that pictures are made of; no note if it is all of the output."""
    if sample.shape == tuple(shape):
        return {}
    parts = zip("zyx", sample.start, sample.stop, strict=True)
    text = " x ".join(f"{axis} {start} to {stop - 1}" for axis, start, stop in parts)
    return {"pictures": text}


def score_beside_rivals(
    compared: Comparison,
    voxel_nm: np.ndarray,
    notes: dict,
    border: tuple[np.ndarray, np.ndarray] | None = None,
    expected: Expected | None = None,
) -> dict:
    """Score a prediction and every interpolation of the slices it was made from.

    Args:
      compared: what is compared.
      voxel_nm: f64[3], (z, y, x), nm.
      notes: name -> number, text or list.
      border: bool[H], bool[W], rows and columns near a border between blocks, scored apart.
      expected: standard errors of the prediction, judged where they are known.

    Returns:
      What metrics.json holds: `scores`, `curves`, `notes`, `data_range` (two grey levels); `seams`,
      `missing` and `expected_error` where there are such. None (null in the file) stands for a
      score that a small volume does not allow, and for the infinite PSNR of equal data.
    """
    grey_range = compared.observed.grey_range
    result = score(compared, voxel_nm, border, expected)
    told = {"notes": notes | notes_of(compared.shape)}
    return plain(result | {"data_range": [grey_range.low, grey_range.high]} | told)


def report_beside_rivals(
    folder: pathlib.Path,
    compared: Comparison,
    result: dict,
    voxel_nm: np.ndarray,
    title: str,
    expected: Expected | None = None,
) -> None:
    """Write metrics.json and report.html, with pictures of the middle.

    Args:
      folder: made if absent.
      compared: what is compared.
      result: of `score_beside_rivals`.
      voxel_nm: f64[3], (z, y, x), nm.
      title: the page's heading.
      expected: standard errors, shown; known in the whole sample.
    """
    plan = compared.observed.plan
    sample, _ = choose_sample(compared.observed, plan.z_reference)
    seen, method = read(compared, sample), compared.method
    captions = {"input (nearest)": "nearest", "linear": "linear", method: method}
    columns = {caption: predict(compared, seen, name, sample) for caption, name in captions.items()}
    columns["reference"] = seen.reference
    errors = None if expected is None else expected.read(sample)
    pictured = Pictured(columns, plan.hidden[sample.slices[0]], errors)
    write_report(folder, result, pictured, voxel_nm, title, method)
