"""Adam with one learning rate a group of parameters, named by its path in the pytree."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from emgauss_jax.data.errors import InputError

ADAM = optax.scale_by_adam(eps=1e-15)  # eps as in 3DGS
FROZEN = "frozen"


def decayed(rate: tuple[Any, Any], step: jax.Array, start: int, steps: int) -> jax.Array:
    """Fall log-linearly from the rate at `start` to its last fraction at `steps`; 0 before `start`.

    Args:
      rate: (learning rate, its fraction left at the end), f32[] each.
      step: i32[], iteration.
      start: iteration; a rate of 0 is how a stage freezes a group.
      steps: iterations of the run.

    Source: 3DGS (log-linear decay).
    """
    done = jnp.clip((step - start) / max(steps - start, 1), 0.0, 1.0)
    return jnp.where(step < start, 0.0, rate[0] * rate[1] ** done)


def param_groups(params: Any, rates: Mapping[str, Any]) -> Any:
    """Name the group of every leaf: the path in `rates` that leads to it, or "frozen".

    Args:
      params: the parameters of one block or of many.
      rates: nested like params as deep as wanted; each end is (rate, final fraction).

    Returns:
      A pytree of strings like params.
    """

    def label(path, _):
        names, here = [], rates
        for entry in path:
            name = str(getattr(entry, "name", getattr(entry, "key", getattr(entry, "idx", ""))))
            if not isinstance(here, Mapping):
                break
            if name not in here:
                return FROZEN
            names.append(name)
            here = here[name]
        return ".".join(names)

    return jax.tree_util.tree_map_with_path(label, params)


def ends(rates: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[float, float]]:
    """Flatten nested rates to {"canonical.means": (rate, final fraction), ...}.

    Raises:
      InputError: an end that is no such pair.
    """
    flat = {}
    for name, value in rates.items():
        if isinstance(value, Mapping):
            flat |= ends(value, f"{prefix}{name}.")
            continue
        pair = tuple(value) if isinstance(value, list | tuple) else (value,)
        if len(pair) != 2 or not (pair[0] >= 0 and pair[1] > 0):
            raise InputError(
                f"optimizer.rates.{prefix}{name}: got {value}, wanted (rate, final fraction)"
            )
        flat[f"{prefix}{name}"] = pair
    return flat


def make_descend(
    params: Any, rates: Mapping[str, Any], start: Mapping[str, int], steps: int
) -> Callable[..., tuple[Any, optax.OptState]]:
    """Build one step of the optimizer of a run.

    Args:
      params: a pytree of one block's structure (values are not looked at).
      rates: learning rates by path; a leaf without one is frozen.
      start: first iteration of a group, by the first name of its path.
      steps: iterations of the run.

    Returns:
      descend(params, grads, moments, step, rates by group) -> (params, moments). The numbers of
      the rates are arguments, so that fits of one program may differ in them.

    Raises:
      InputError: a rate that no parameter has.
    """
    tree = param_groups(params, rates)
    unknown = sorted(set(ends(rates)) - set(jax.tree.leaves(tree)))
    if unknown:
        raise InputError(f"optimizer.rates: got {unknown}, wanted names of learned parameters")

    def descend(params, grads, moments, step, rates):
        directions, moments = ADAM.update(grads, moments)

        def move(leaf, direction, label):
            if label == FROZEN:
                return leaf
            first = start.get(label.split(".")[0], 0)
            return leaf - decayed(rates[label], step, first, steps) * direction

        return jax.tree.map(move, params, directions, tree), moments

    return descend
