"""A stack of pages, and the one that is read where a TIFF file holds several."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from emgauss_jax.data.formats.interface import VolumeError
from emgauss_jax.data.formats.tiff_pages import Kind, Page

_LISTED = 6  # stacks in a message


class Stack(NamedTuple):
    """One series of a file."""

    axes: str  # a letter each: T, Z, C, Y, X, S (samples), I or Q where it is not said
    shape: tuple[int, ...]  # of these axes
    pages: tuple[Page | None, ...]  # in order; None: in a file that is not there
    by_page: bool = True  # pages can be decoded one by one; else only tifffile's series can
    is_block: bool = False  # all planes may lie behind the header of the first page
    index: int = 0  # among tifffile's series
    pixels: Element | None = None  # what an OME header says of it
    between: tuple[int, ...] = ()  # pages of another kind that lie between its pages

    @property
    def held(self) -> list[Page]:
        """The pages that are there."""
        return [page for page in self.pages if page is not None]

    @property
    def kind(self) -> Kind:
        """What its pages are."""
        return self.held[0].kind

    @property
    def planes(self) -> int:
        """How many planes of height and width it has."""
        return planes_of(self.shape, self.kind)

    def __str__(self) -> str:
        first, last = self.held[0].index, self.held[-1].index
        where = f"page {first}" if first == last else f"pages {first} to {last}"
        where += f" but {_short(self.between)}" if self.between else ""
        return f"{f'{self.planes} x ' * (self.planes > 1)}{self.kind} ({where})"


def _short(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_LISTED])) + ", .." * (len(numbers) > _LISTED)


def planes_of(shape: Sequence[int], kind: Kind) -> int:
    """Count the planes of height and width in an array of pages."""
    return int(np.prod(shape)) // (int(np.prod(kind.shape[-2:])) * kind.samples)


def of_planes(stack: Stack, count: int) -> Stack | None:
    """Give a stack another count of slices; None if it has several axes beside y and x."""
    outer = stack.axes.index("Y") if "YX" in stack.axes else 0
    long = [axis for axis in range(outer) if stack.shape[axis] > 1]
    if not outer or len(long) > 1:
        return None
    shape = list(stack.shape)
    shape[long[0] if long else max(stack.axes.find("Z", 0, outer), 0)] = count
    return stack._replace(shape=tuple(shape))


def choose(stacks: Sequence[Stack], number: int | None, path: Path) -> tuple[Stack, list[str]]:
    """Choose the stack that is read.

    Args:
      stacks: all of the file.
      number: of the one that the user wants, or None.
      path: the file; of an image of several files it holds a part.

    Returns:
      The stack, and what is to be said of the choice.

    Raises:
      VolumeError: several could be meant; the message lists them.
    """
    numbered = list(enumerate(stacks))
    if number is not None:
        if number not in range(len(stacks)):
            raise VolumeError(f"series: got {number}, wanted one of {_listed(numbered)}")
        return stacks[number], _gaps(stacks[number])
    here = [stack for stack in stacks if any(page.path == path for page in stack.held)] or stacks
    main = [stack for stack in here if stack.planes > 1] if len(here) > 1 else here
    if len(main) != 1 or not all(stack is main[0] or _beside(stack, main[0]) for stack in here):
        raise VolumeError(
            f"got images that make no single stack: {_listed(numbered)}; wanted one stack, or its "
            "number: --config.data.series=N (train) or --input_dataset=N (reconstruct)"
        )
    others = [(number, stack) for number, stack in numbered if stack is not main[0]]
    return main[0], [f"left out of the file's images: {_listed(others)}"] if others else []


def _listed(numbered: Sequence[tuple[int, Stack]]) -> str:
    texts = [f"{number}: {stack}" for number, stack in numbered[:_LISTED]]
    more = len(numbered) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def _gaps(stack: Stack) -> list[str]:
    if not stack.between:
        return []
    listed = _short(stack.between)
    return [f"left out: page {listed}; the slices beside are taken as adjacent"]


def _beside(image: Stack, stack: Stack) -> bool:
    """Tell whether one plane is a thumbnail, a label or an overview, and none of the slices."""
    first, last = stack.held[0].index, stack.held[-1].index
    if first < image.held[0].index < last:
        return False
    sizes = image.kind.shape[-2:], stack.kind.shape[-2:]
    colour = image.kind.samples > 1 and sizes[0] != sizes[1]
    return colour or _is_half(*sizes) or _is_half(*reversed(sizes))


def _is_half(size: Sequence[int], of: Sequence[int]) -> bool:
    """Tell whether a height and a width are at most half of others, rounded up."""
    return all(2 * small - 1 <= large for small, large in zip(size, of, strict=True))
