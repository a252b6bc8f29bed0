"""The contract of a source of pseudo-labels: one way of filling in the planes between slices.

A new source is a file in `sources/` that exports a `SourceKind`, and its line in `registry.py`. It
is judged on held-out slices beside the others, and weighed by how near it came.
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
    """Planes, and how uncertain their source is of them."""

    mean: np.ndarray  # f32[P, H, W], intensity
    spread: np.ndarray  # f32[P, H, W], a standard deviation: how far its views differ


def _fit_nothing(stack: Block, folder: pathlib.Path | None, watch: Watch) -> None:
    """Learn nothing: `fit` of a source that has no parameters."""
    del stack, folder, watch


def _adapt_nothing(learned: Any, coarse: Block, folder: pathlib.Path | None, watch: Watch) -> Any:
    """Return what was learned: `adapt` of a source that need not train on."""
    del coarse, folder, watch
    return learned


def _check_nothing() -> None:
    """Need nothing: `check` of a source that reads no file."""


class Source(NamedTuple):
    """A source made for the stacks of one run; it holds no slice.

    A stack is a `Block` of valid slices f32[V, H, W], counted 0, 1, 2, ... without gaps; depths
    f64[P] are counted likewise.

    `fill_in(learned, stack, depths) -> Filled`
    `fit(stack, folder, watch) -> learned`: learn from the stack, and tell `watch` how far it is.
        Killed and called again, go on with what is in the folder, which is deleted once the region
        is fitted; None, keep nothing on disk.
    `adapt(learned, coarse, folder, watch) -> learned`: train on at half the resolution, on a stack
        without the held-out slices, before being scored on those.
    `check()`: raise InputError where something that it needs cannot be had.
    `plain_gaps_only`: its planes weigh nothing in a gap in which a slice is missing.
    """

    fill_in: Callable[[Any, Block, np.ndarray], Filled]
    fit: Callable[[Block, pathlib.Path | None, Watch], Any] = _fit_nothing
    adapt: Callable[[Any, Block, pathlib.Path | None, Watch], Any] = _adapt_nothing
    check: Callable[[], None] = _check_nothing
    plain_gaps_only: bool = False


class SourceKind(NamedTuple):
    """What the registry knows of a source before it is made.

    `why_not(config, observed) -> str`: why a run does not ask it of a stack; "" where it does,
        "off" where the config does not want it.
    `make(config, observed) -> Source`: of the whole config; the stack's slices are not read.
    """

    why_not: Callable[[Any, SliceStack], str]
    make: Callable[[Any, SliceStack], Source]
