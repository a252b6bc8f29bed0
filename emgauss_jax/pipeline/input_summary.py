"""What a run is given and what it will make of it, in lines that a user reads before the fit."""

import pathlib
from typing import NamedTuple

import numpy as np

from emgauss_jax.data.alignment import Told, alignment_doubts
from emgauss_jax.data.doubts import HOW, doubt_of_chunks, doubts_of_size, size_of_ones
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import AT_ORIGIN
from emgauss_jax.data.slice_checks import slice_doubts
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.volume import open_volume
from emgauss_jax.pipeline.output_grid import OutputGrid, isotropic, place_of


class Summary(NamedTuple):
    """What is known of an input, in words."""

    told: str  # slices, px, dtype, grey range, voxel; planes and voxel of the output
    grey_range: str
    read: tuple[str, ...]  # what was assumed or changed in reading the file
    warnings: tuple[str, ...]  # what speaks against the input
    noted: tuple[str, ...]  # what may or may not

    @property
    def lines(self) -> list[str]:
        """What is printed before a fit."""
        return [
            f"input: {self.told}",
            *(f"read: {note}" for note in self.read),
            *(f"warning: {warning}" for warning in self.warnings),
            *(f"note: {note}" for note in self.noted),
        ]

    def notes(self) -> dict[str, str]:
        """Give the same as notes of a report."""
        several = {"read": self.read, "warnings": self.warnings, "noted": self.noted}
        notes = {"input": self.told, "grey range": self.grey_range}
        return notes | {name: "; ".join(each) for name, each in several.items() if each}


def summarise(observed: SliceStack, grid: OutputGrid | None = None) -> Summary:
    """Say what a run is given and what it will make of it.

    Args:
      observed: the slices, their grey range measured. A part of them is read, of at most
        2^24 voxels.
      grid: of the output; None: of isotropic voxels, unless there can be none.
    """
    grey_range = observed.grey_range.describe()
    told = f"{_slices(observed)}, grey range {grey_range}, {_voxel(observed)}"
    output = _output(observed, grid or _isotropic(observed))
    try:
        odd, shifts = slice_doubts(observed), alignment_doubts(observed)
    except InputError as error:  # the fit meets it where it is; what can be done is done before
        odd, shifts = [f"slices were not looked at: {error}"], Told("", "")
    warnings = (
        *doubt_of_chunks(observed.absent),
        *_doubt_of_ones(observed),
        *doubts_of_size(observed.voxel_nm),
        *odd,
        *filter(None, [shifts.warning]),
    )
    noted = tuple(filter(None, [shifts.note]))
    return Summary(told + output, grey_range, tuple(observed.volume.notes), warnings, noted)


def further_lines(observed: SliceStack) -> list[str]:
    """Describe a volume that a network only learns from; its grey range is not measured yet."""
    doubts = (*doubt_of_chunks(observed.absent), *_doubt_of_ones(observed))
    return [
        f"input, too: {observed.volume.path}: {_slices(observed)}, {_voxel(observed)}",
        *(f"read: {note}" for note in observed.volume.notes),
        *(f"warning: {doubt}" for doubt in doubts),
    ]


def place_note(path: pathlib.Path, observed: SliceStack, grid: OutputGrid) -> str:
    """Say where a written output does not lie over the input, because its format cannot tell.

    Args:
      path: of the output.
      observed: the slices that it was made from.
      grid: where its planes lie.

    Returns:
      A line; "" where it lies right.
    """
    if observed.corner == AT_ORIGIN:  # the input does not say where it lies
        return ""
    stored, wanted = open_volume(path, voxel_nm=grid.voxel_nm).place, place_of(observed, grid)
    off = np.subtract(stored.centre_nm, wanted.centre_nm)
    if np.allclose(stored.axes, wanted.axes) and np.all(
        np.abs(off) < np.array(grid.voxel_nm) / 1e3
    ):
        return ""
    lies = f"{', '.join(f'{nm:.6g}' for nm in off)} nm (z, y, x) off"
    return f"warning: {path} lies {lies}: its format cannot say where the input does"


def _slices(observed: SliceStack) -> str:
    count, height, width = observed.shape
    missing = count - int(observed.plan.valid.sum())
    lacking = f" ({missing} missing)" if missing else ""
    return f"{count} slices{lacking} of {height} x {width} px, {observed.dtype.name}"


def _voxel(observed: SliceStack) -> str:
    source = "as given" if observed.volume.voxel_given else "from the file"
    return f"voxel {_lengths(observed.voxel_nm)} nm (z, y, x), {source}"


def _output(observed: SliceStack, grid: OutputGrid | None) -> str:
    if grid is None:
        return ""
    centre = place_of(observed, grid).centre_nm
    # Where a format counts from corners, the first voxel's centre lies half a voxel from 0.
    voxel_nm = observed.volume.voxel_nm
    away = any(abs(at) > 0.501 * nm for at, nm in zip(centre, voxel_nm, strict=True))
    start = f", starting at {', '.join(f'{at:.6g}' for at in centre)} nm" if away else ""
    return f"; output: {len(grid.z)} planes, voxel {_lengths(grid.voxel_nm)} nm{start}"


def _lengths(voxel_nm: tuple[float, float, float]) -> str:
    return " x ".join(f"{nm:.6g}" for nm in voxel_nm)


def _isotropic(observed: SliceStack) -> OutputGrid | None:
    try:
        return isotropic(observed)
    except InputError:  # slices that lie closer than px, drawn from Python at chosen depths
        return None


def _doubt_of_ones(observed: SliceStack) -> list[str]:
    size = size_of_ones(observed.volume)
    return [f"voxel size {size} is what programs write that know none: {HOW}"] if size else []
