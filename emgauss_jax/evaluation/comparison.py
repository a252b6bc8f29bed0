"""A volume beside its reference and the interpolations of its slices, read box by box.

Boxes are voxels of the reference: z counts its planes. Letters: D H W reference, d h w a box of it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data import hot_pixels
from emgauss_jax.data.intensity import to_unit
from emgauss_jax.data.stack import SliceStack
from emgauss_jax.data.tiling import Box
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import (
    BLUR_REACH,
    SPLINE_REACH,
    choose_blur,
    interpolated,
    rivals,
)

BLUR_SAMPLE = 2**23  # voxels of slices that the blur of `linear_blur` is chosen from, at most
HELD = 64  # slices that are remembered: a box of 32 planes and its margin needs no more


class Comparison(NamedTuple):
    """What is compared; nothing of it is in memory but the slices around the last box."""

    observed: SliceStack  # its plan has a reference, in its volume
    volume: Any  # the prediction: its first plane is that of the reference
    method: str  # its name
    blur: float  # px, of `linear_blur`, the same in all boxes
    slice_of: Callable[[int, Box], np.ndarray]  # f32[h, w], intensity

    @property
    def shape(self) -> tuple[int, int, int]:
        """D, H, W."""
        return self.observed.reference_shape

    @property
    def names(self) -> tuple[str, ...]:
        """The interpolations, and the method last; an interpolation that is the method is it."""
        others = rivals(self.observed.plan.profile)
        return (*(name for name in others if name != self.method), self.method)


class Seen(NamedTuple):
    """A box that was read."""

    box: Box
    reference: np.ndarray  # f32[d, h, w], intensity
    prediction: np.ndarray  # f32[d, h, w]
    block: Block  # the valid slices around it
    around: Box  # y and x of these, with a margin


def compare(observed: SliceStack, volume: Any, method: str) -> Comparison:
    """Compare a prediction with the planes that the slices were taken from.

    The blur of `linear_blur` is chosen from the middle `BLUR_SAMPLE` voxels of the slices.
    """

    @functools.lru_cache(HELD)
    def slice_of(index: int, around: Box) -> np.ndarray:
        _, height, width = around.shape
        part = Box((index, *around.start[1:]), (1, height, width))
        return observed.part(part).unit_slices[0]

    part = observed.part(_blur_sample(observed.shape))
    blur = choose_blur(Block(part.unit_slices, part.z, part.plan.valid))
    return Comparison(observed, volume, method, blur, slice_of)


def _blur_sample(shape: tuple[int, int, int]) -> Box:
    """Choose the middle of the slices, or all of them if they are few."""
    count, height, width = shape
    if count * height * width <= BLUR_SAMPLE:
        return Box((0, 0, 0), shape)
    kept = min(count, 64)
    edge = int((BLUR_SAMPLE / kept) ** 0.5)
    size = (kept, min(height, edge), min(width, edge))
    return Box(tuple((n - m) // 2 for n, m in zip(shape, size, strict=True)), size)


def read_prediction(compared: Comparison, box: Box) -> np.ndarray:
    """Read a box of the prediction, f32[d, h, w], intensity."""
    return to_unit(compared.volume[box.slices], compared.observed.grey_range)


def read(compared: Comparison, box: Box) -> Seen:
    """Read a box and the slices that its planes are interpolated from."""
    observed = compared.observed
    around = box.grown((0, *[BLUR_REACH + hot_pixels.REACH] * 2), compared.shape)
    around = Box((0, *around.start[1:]), (1, *around.shape[1:]))
    z, z_valid = observed.plan.z_reference[box.slices[0]], observed.z_valid
    low = max(0, int(np.searchsorted(z_valid, z[0], side="right")) - 1 - SPLINE_REACH)
    high = int(np.searchsorted(z_valid, z[-1])) + 1 + SPLINE_REACH
    chosen = np.flatnonzero(observed.plan.valid)[low:high]
    slices = np.stack([compared.slice_of(int(index), around) for index in chosen])
    block = Block(slices, z_valid[low:high], np.ones(len(chosen), bool))
    return Seen(box, observed.reference(box), read_prediction(compared, box), block, around)


def predict(compared: Comparison, seen: Seen, name: str, part: Box) -> np.ndarray:
    """Give what one of the names predicts.

    Args:
      compared: as given to `read`.
      seen: what it returned.
      name: one of `compared.names`.
      part: a part of the box that was read.

    Returns:
      f32[d, h, w] of the part, intensity; the same in whichever box it lies.
    """
    if name == compared.method:
        return seen.prediction[_within(part, seen.box)]
    reach = BLUR_REACH if name == "linear_blur" else 0
    wide = part.grown((0, reach, reach), compared.shape)
    _, ys, xs = _within(wide, seen.around)
    z = compared.observed.plan.z_reference[part.slices[0]]
    block = seen.block._replace(slices=seen.block.slices[:, ys, xs])
    return interpolated(name, block, z, compared.blur)[_within(part, wide)]


def _within(part: Box, box: Box) -> tuple[slice, slice, slice]:
    """Count the voxels of a part from the start of the box around it."""
    return part.moved([-n for n in box.start]).slices
