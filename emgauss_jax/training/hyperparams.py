"""What may differ from fit to fit without compiling anything again: numbers, not code."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax.data.errors import InputError


class Hyper(NamedTuple):
    """Hyper-parameters of one fit, or of many with a leading axis: traced leaves."""

    rates: Mapping[str, Any]  # a group: (learning rate, its fraction left at the end), f32[] each
    weights: Mapping[str, Any]  # f32[] each: the method's loss weights, see `Method.weights`
    ema_decay: Any  # f32[], of the teacher; 0, the teacher is the student


def check_like(hyper: Hyper, configured: Hyper) -> None:
    """Make sure that one fit of a sweep names what the config names, with numbers that can work.

    Raises:
      InputError: another name, or a number that cannot be.
    """
    for field in ("rates", "weights"):
        got, wanted = sorted(getattr(hyper, field)), sorted(getattr(configured, field))
        if got != wanted:
            raise InputError(f"sweep: got {field} {got}, wanted {wanted}")
    decay = hyper.ema_decay
    if not 0 <= decay < 1:
        raise InputError(f"sweep: got ema_decay {decay}, wanted 0 <= decay < 1")
    for name, (rate, final) in hyper.rates.items():
        if not (rate >= 0 and final > 0):
            raise InputError(f"sweep: got rate {name} {rate, final}, wanted >= 0 and > 0")


def stack(hypers: Sequence[Hyper]) -> Hyper:
    """Stack the hyper-parameters of n fits, of the same names: every leaf f32[n, ...]."""
    return jax.tree.map(lambda *leaf: np.stack([np.float32(each) for each in leaf]), *hypers)
