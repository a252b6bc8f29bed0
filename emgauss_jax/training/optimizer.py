"""Adam with one learning rate a group of parameters, named by its path in the pytree."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

FROZEN = "frozen"


def decayed(rate: float, final: float, start: int, steps: int) -> optax.Schedule:
    """Fall log-linearly from `rate` at `start` to `rate * final` at `steps`; 0 before `start`.

    Source: 3DGS (log-linear decay); a rate of 0 is how a stage freezes a group.
    """
    fall = optax.exponential_decay(rate, max(steps - start, 1), final, end_value=rate * final)
    return optax.join_schedules([optax.constant_schedule(0.0), fall], [start])


def labels(params: Any, rates: Mapping[str, Any]) -> Any:
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
    """Flatten nested rates to {"canonical.means": (rate, final fraction), ...}."""
    flat = {}
    for name, value in rates.items():
        if isinstance(value, Mapping):
            flat |= ends(value, f"{prefix}{name}.")
            continue
        pair = tuple(value) if isinstance(value, list | tuple) else (value,)
        if len(pair) != 2 or not (pair[0] >= 0 and pair[1] > 0):
            raise ValueError(
                f"optimizer.rates.{prefix}{name}: got {value}, wanted (rate, final fraction)"
            )
        flat[f"{prefix}{name}"] = pair
    return flat


def build(
    params: Any, rates: Mapping[str, Any], start: Mapping[str, int], steps: int
) -> optax.GradientTransformation:
    """Build the optimizer of a run.

    Args:
      params: a pytree of the run's structure (values are not looked at).
      rates: learning rates by path; a leaf without one is frozen.
      start: first iteration of a group, by the first name of its path.
      steps: iterations of the run.

    Returns:
      An optax transformation. Adam is elementwise, so a leading block axis needs no vmap.

    Raises:
      ValueError: a rate that no parameter has.

    Source: eps 1e-15 as in 3DGS.
    """
    tree = labels(params, rates)
    groups = ends(rates)
    unknown = sorted(set(groups) - set(jax.tree.leaves(tree)))
    if unknown:
        raise ValueError(f"optimizer.rates: got {unknown}, wanted names of learned parameters")
    scales = {FROZEN: optax.set_to_zero()}
    for name, (rate, final) in groups.items():
        schedule = decayed(rate, final, start.get(name.split(".")[0], 0), steps)
        scales[name] = optax.scale_by_learning_rate(schedule)
    # One Adam for all groups: its moments are then pytrees like params, which upkeep can reset.
    return optax.chain(optax.scale_by_adam(eps=1e-15), optax.partition(scales, tree))
