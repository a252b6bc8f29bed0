"""The contract of a source of pseudo-labels: one way of filling in the planes between slices.

A new source is a file in `sources/` that exports a `SourceKind`, and a line in `registry.py`. All
sources are judged on held-out slices, and weighted by their errors there.
Letters: V valid slices, P planes, H W field in px.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.methods.base import Block
from emgauss_jax.training.metrics_log import Watch


class Filled(NamedTuple):
    """Planes filled in by a source, and their uncertainty."""

    mean: np.ndarray  # f32[P, H, W], intensity
    spread: np.ndarray  # f32[P, H, W], standard deviation among the source's views


def _fit_nothing(stack: Block, folder: pathlib.Path | None, watch: Watch) -> None:
    """Learn nothing: `fit` of a source that has no parameters."""
    del stack, folder, watch


def _adapt_nothing(learned: Any, coarse: Block, folder: pathlib.Path | None, watch: Watch) -> Any:
    """Return `learned` unchanged: `adapt` of a source that does not train on."""
    del coarse, folder, watch
    return learned


def _check_nothing() -> None:
    """Check nothing: `check` of a source that reads no file."""


class Source(NamedTuple):
    """A source made for the stacks of one run; it holds no slice.

    A stack is a `Block` of valid slices f32[V, H, W], counted 0, 1, 2, ... without gaps; depths
    f64[P] are counted likewise.

    `fill_in(learned, stack, depths) -> Filled`
    `fit(stack, folder, watch) -> learned`: learn from the stack, and tell `watch(done, total)` the
        steps. A call after a kill continues the fit in the folder, which is deleted once the region
        is fitted; where it is None, nothing is written to disk.
    `adapt(learned, coarse, folder, watch) -> learned`: train on at half the resolution, on a stack
        without the held-out slices, before the source is scored on these slices.
    `check()`: raise InputError if a file that the source needs cannot be used.
    `plain_gaps_only`: the source has weight 0 in a gap with a missing slice.
    """

    fill_in: Callable[[Any, Block, np.ndarray], Filled]
    fit: Callable[[Block, pathlib.Path | None, Watch], Any] = _fit_nothing
    adapt: Callable[[Any, Block, pathlib.Path | None, Watch], Any] = _adapt_nothing
    check: Callable[[], None] = _check_nothing
    plain_gaps_only: bool = False


class SourceKind(NamedTuple):
    """The functions by which the registry selects and makes a source.

    `why_not(config, observed) -> str`: why a run does not use the source for a stack; "" if it
        does, "off" if the config turns the source off.
    `make(config, observed) -> Source`: takes the whole config; the stack's slices are not read.
    """

    why_not: Callable[[Any, SliceStack], str]
    make: Callable[[Any, SliceStack], Source]
