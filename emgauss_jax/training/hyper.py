"""What may differ from fit to fit without compiling anything again: numbers, not code."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Hyper(NamedTuple):
    """Hyper-parameters of one fit, or of many with a leading axis: traced leaves."""

    rates: Mapping[str, Any]  # a group: (learning rate, its fraction left at the end), f32[] each
    weights: Mapping[str, Any]  # f32[] each: the method's loss weights, see `Method.weights`
    ema_decay: Any  # f32[], of the teacher; 0, the teacher is the student


def stack(hypers: Sequence[Hyper]) -> Hyper:
    """Stack the hyper-parameters of n fits: every leaf f32[n, ...].

    Raises:
      ValueError: they name different groups or weights.
    """
    structures = {jax.tree.structure(each) for each in hypers}
    if len(structures) != 1:
        raise ValueError(f"hyper-parameters: got {len(structures)} sets of names, wanted one")
    return jax.tree.map(lambda *leaf: np.stack([np.float32(each) for each in leaf]), *hypers)
