"""How a stack is cut into regions and blocks. Letters: V valid slices, P planes, H W in px."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box, Grid, block_grid
from emgauss_jax.methods.base import Block


def cut_blocks(
    slices: np.ndarray,
    z: np.ndarray,
    boxes: Sequence[Box],
    labels: tuple[np.ndarray, np.ndarray, int] | None = None,
) -> Block:
    """Cut valid slices, and pseudo-labels where there are any, into blocks of one shape.

    Args:
      slices: [V, H, W], any dtype; blocks get them as they are.
      z: f32[V], their depths, input-slice units.
      boxes: in voxels of `slices`, all of one shape.
      labels: f16[P, H, W], their depths f32[P], and how many lie from slice to slice; the first
        ones belong to the first slice.

    Returns:
      A block with every leaf [len(boxes), ...]. Boxes count valid slices alone, so no block ends
      inside a run of missing ones.
    """
    along = np.stack([z[box.slices[0]] for box in boxes]).astype(np.float32)
    values = np.stack([slices[box.slices] for box in boxes])
    block = Block(values, along, np.ones(along.shape, bool))
    if labels is None:
        return block
    planes, depths, per_slice = labels
    count = len(planes) - (len(slices) - boxes[0].shape[0]) * per_slice
    spans = [slice(box.start[0] * per_slice, box.start[0] * per_slice + count) for box in boxes]
    cut = [planes[(span, *box.slices[1:])] for span, box in zip(spans, boxes, strict=True)]
    return block._replace(labels=np.stack(cut), label_z=np.stack([depths[span] for span in spans]))


def part_of(observed: SliceStack, region: Grid) -> SliceStack:
    """Cut out the observed slices of a region, to be read by themselves."""
    (z, y, x), (count, height, width) = region.bounds
    slices = np.flatnonzero(observed.plan.valid)[z : z + count]
    first, last = int(slices[0]), int(slices[-1])
    return observed.part(Box((first, y, x), (last - first + 1, height, width)))


def cut_grid(shape: tuple[int, ...], max_size: Sequence[int], overlap: Sequence[int]) -> Grid:
    """Cut a stack into overlapping blocks.

    Args:
      shape: V valid slices, H, W.
      max_size: the largest block, z in slices, y and x in px.
      overlap: the least overlap of neighbours, likewise.

    Raises:
      InputError: no three whole numbers, or blocks that would leave a gap in z between them.
    """
    _check_three("max_size", max_size)
    _check_three("overlap", overlap)
    if shape[0] > max_size[0] and (max_size[0] < 2 or overlap[0] < 1):
        raise InputError(
            f"block: got max_size {max_size[0]} and overlap {overlap[0]} in z for {shape[0]} "
            "slices, wanted at least 2 and 1: neighbours must share a slice"
        )
    return block_grid(shape, max_size, overlap)


def cut_regions(grid: Grid, most: Sequence[int]) -> tuple[Grid, ...]:
    """Group blocks into regions of at most so many along z, y and x.

    Raises:
      InputError: no three whole numbers of 1 or more.
    """
    _check_three("region", most)
    if min(most) < 1:
        raise InputError(f"block.region: got {most}, wanted 1 block or more (z, y, x)")
    return grid.parts(most)


def _check_three(name: str, value: Any) -> None:
    whole = isinstance(value, list | tuple) and all(isinstance(n, int) for n in value)
    if not whole or len(value) != 3:
        raise InputError(f"block.{name}: got {value}, wanted three whole numbers (z, y, x)")
