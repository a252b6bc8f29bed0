"""What speaks against an input: sizes that can hardly be meant, and chunks that are not there."""

import math
from collections.abc import Sequence
from typing import Any

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import Slices

# A voxel of 1 x 1 x 1 of these, in nm, is what programs write that know no size.
UNITS = {
    1e-3: "picometer", 1e-1: "angstrom", 1.0: "nanometer", 1e3: "micrometer", 1e6: "millimeter",
    1e7: "centimeter", 2.54e7: "inch", 1e9: "meter",
}  # fmt: skip
FACTORS = (1.5, 50.0)  # px from slice to slice that are usual
LENGTHS_NM = (0.1, 1e6)  # of a px and of a slice distance, likewise
ROUNDING = 1e-6  # of float32 headers
HOW = "--config.data.voxel_nm=z,y,x (train) or --input_voxel_nm=z,y,x (reconstruct)"


def size_of_ones(volume: Any) -> str:
    """Name a voxel size that a file has because a program knew none: "1 x 1 x 1 micrometer".

    Args:
      volume: has `voxel_nm`, and `voxel_given` where the user has given it.

    Returns:
      The size; "" for any other, and for any that the user has given.
    """
    if volume.voxel_given:
        return ""
    for nm, unit in UNITS.items():
        if all(math.isclose(length, nm, rel_tol=ROUNDING) for length in volume.voxel_nm):
            return f"1 x 1 x 1 {unit}"
    return ""


def refuse_size_of_ones(volume: Any) -> None:
    """Raise InputError where a file's voxel size is one that programs write that know none."""
    size = size_of_ones(volume)
    if size:
        raise InputError(
            f"{volume.path}: voxel size: got {size}, which programs write that know none; wanted "
            f"the true one: {HOW}"
        )


def doubts_of_size(voxel_nm: Sequence[float]) -> list[str]:
    """Say what is unusual in the lengths of a stack, a line each.

    Args:
      voxel_nm: of the observed slices, nm (z, y, x): z is their distance.
    """
    z_nm, y_nm, _ = voxel_nm
    found = []
    if _outside(z_nm / y_nm, FACTORS):
        px = f"{z_nm / y_nm:.6g} px ({z_nm:.6g} nm, px of {y_nm:.6g} nm)"
        found.append(f"slices lie {px} apart, usual are {FACTORS[0]:g} to {FACTORS[1]:g} px")
    if any(_outside(nm, LENGTHS_NM) for nm in voxel_nm):
        size = " x ".join(f"{nm:.6g}" for nm in voxel_nm)
        found.append(f"voxels of {size} nm (z, y, x), usual are lengths from 0.1 nm to 1 mm")
    return [f"{each}; if the voxel size is wrong: {HOW}" for each in found]


def _outside(value: float, usual: tuple[float, float]) -> bool:
    low, high = usual
    return not low * (1 - ROUNDING) <= value <= high * (1 + ROUNDING)


def count_absent(volume: Any, box: Slices, require_all: bool = False) -> tuple[int, int]:
    """Count the stored chunks of a box that are not there: they are read as the fill value.

    Args:
      volume: has `absent_chunks`.
      box: of it; what else it holds may be absent.
      require_all: whether one that is absent is an error.

    Returns:
      (absent, all); (0, 0) for what has no chunks.

    Raises:
      InputError: all are absent, or any where all are required.
    """
    absent, count = volume.absent_chunks(box)
    if absent and (absent == count or require_all):
        some = "all" if absent == count else absent
        wanted = "every one (data.require_all_chunks)" if require_all else "some of them"
        raise InputError(
            f"{volume.path}: chunks: got {some} of {count} absent, wanted {wanted}: is the copy "
            "complete?"
        )
    return absent, count


def doubt_of_chunks(absent: tuple[int, int]) -> list[str]:
    """Say how many chunks are absent; nothing where none is."""
    some, count = absent
    if not some:
        return []
    fill = "their voxels are the fill value, 0 in most files"
    return [f"absent chunks: {some} of {count} are not stored: {fill}"]
