"""Fits that cannot go on: found in the metrics of a dispatch, and taken out of a sweep.

Letters: S fits of a chunk, n steps of a dispatch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.state import State

# Metrics that must stay 0, and what to do about them.
FAILURES = {
    "nonfinite": "lower the learning rates",
    "tile_overflow": "raise emgauss.render.capacity",
}


class Failure(NamedTuple):
    """Why one fit ended."""

    step: int  # the first that failed
    reason: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.reason}"


def by_fit(metrics: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    """Bring metrics to the host as f64[n, S]; several devices give [devices, n, S / devices]."""
    host = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
    return {
        name: np.moveaxis(value, 0, 1).reshape(value.shape[1], -1) if value.ndim == 3 else value
        for name, value in host.items()
    }


def find(metrics: Mapping[str, np.ndarray], before: int) -> dict[int, Failure]:
    """Find the fits of a chunk that failed in a dispatch, and the step at which each first did.

    Args:
      metrics: as `by_fit`.
      before: steps done before the dispatch.

    Returns:
      Place in the chunk -> its failure.
    """
    found: dict[int, Failure] = {}
    for name, cure in FAILURES.items():
        values = metrics.get(name, np.zeros((0, 0)))  # another method may not have it
        for place in np.flatnonzero(values.any(axis=0)):
            step = before + int(np.flatnonzero(values[:, place])[0])
            if place not in found or step < found[place].step:
                reason = f"got {name} {values[:, place].max():.0f}, wanted 0: {cure}"
                found[int(place)] = Failure(step, reason)
    return found


def retire(state: State, hyper: Hyper, start: State, places: Sequence[int]) -> tuple[State, Hyper]:
    """Put fits that failed back to where they began, and let them learn nothing more.

    What is not finite, or has crowded together, would be slow to draw, and every step of the
    others would wait for it.

    Args:
      state: of the chunk.
      hyper: of its fits.
      start: of the chunk before its first step.
      places: of the fits in the chunk.
    """
    gone = np.isin(np.arange(len(hyper.ema_decay)), list(places))

    def put(new: Any, old: jax.Array) -> jax.Array:
        return jnp.where(gone.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    learned = jax.tree.map(put, start[1:], state[1:])
    return State(state.step, *learned), jax.tree.map(lambda leaf: put(0.0, leaf), hyper)
