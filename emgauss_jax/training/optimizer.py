"""The optimizer: an optax transformation, a learning rate for each group of parameters.

`make_optimizer` and `schedule` are what a fork replaces. A group is named by its path in the
parameters' pytree ("canonical.means"); parameters without a rate are frozen.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from emgauss_jax.data.errors import InputError

FROZEN = "frozen"

Rates = Mapping[str, tuple[Any, Any]]  # group: (learning rate, its fraction left at the end)
Optimizer = Callable[[Rates], optax.GradientTransformation]  # of one fit, from its traced rates


def schedule(rate: Any, final: Any, start: int, steps: int) -> optax.Schedule:
    """Fall log-linearly from a rate at `start` to its last fraction at `steps`; 0 before `start`.

    Args:
      rate: f32[], traced: Python cannot compare it.
      final: f32[], fraction of the rate left at the end, traced likewise.
      start: iteration.
      steps: iterations of the run.

    Returns:
      Learning rate as a function of the count of updates.

    Source: 3DGS (log-linear decay).
    """

    def at(count):
        done = jnp.clip((count - start) / max(steps - start, 1), 0.0, 1.0)
        return jnp.where(count < start, 0.0, rate * final**done)

    return at


def make_optimizer(
    groups: Any, rates: Rates, start: Mapping[str, int], steps: int
) -> optax.GradientTransformation:
    """Build the transformation of one fit: one Adam for all, then a scheduled rate per group.

    It is built inside the traced step, from traced rates, and once more to start its state; the
    structure of the state must not depend on them. With `optax.inject_hyperparams` the state would
    hold rates, too, and every restored or reset state would have to agree with the config.

    Args:
      groups: like params, the name of the group of every leaf; FROZEN, its update is dropped
        afterwards, whatever it is.
      rates: group -> (learning rate, final fraction), f32[] each. A rate of 0 must leave its group
        unmoved, because a fit of a sweep that failed is stopped by it.
      start: group -> the iteration at which it begins to move.
      steps: iterations of the run.

    Source: 3DGS (Adam's eps).
    """
    scaled = {
        group: optax.scale_by_learning_rate(schedule(rate, final, start[group], steps))
        for group, (rate, final) in rates.items()
    } | {FROZEN: optax.identity()}
    return optax.chain(optax.scale_by_adam(eps=1e-15), optax.partition(scaled, groups))


def optimizer_of(
    params: Any, rates: Mapping[str, Any], start: Mapping[str, int], steps: int
) -> Optimizer:
    """Bind what all fits of a program share, and leave open the rates.

    Args:
      params: a pytree of one block's structure (values are not looked at).
      rates: learning rates by path; a leaf without one is frozen.
      start: first iteration of a group, by the first name of its path; 0 where not named.
      steps: iterations of the run.

    Returns:
      The transformation of a fit, as a function of its rates by group.

    Raises:
      InputError: a rate that no parameter has, or a start that no rate has.
    """
    groups, named = param_groups(params, rates), ends(rates)
    if unknown := sorted(set(named) - set(jax.tree.leaves(groups))):
        raise InputError(f"optimizer.rates: got {unknown}, wanted names of learned parameters")
    firsts = {group: group.split(".")[0] for group in named}
    if unknown := sorted(set(start) - set(firsts.values())):
        wanted = sorted(set(firsts.values()))
        raise InputError(f"optimizer.start: got {unknown}, wanted some of {wanted}")
    starts = {group: start.get(first, 0) for group, first in firsts.items()}
    freeze = optax.masked(optax.set_to_zero(), jax.tree.map(lambda group: group == FROZEN, groups))

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        # What is frozen keeps moments: without them XLA makes a step that is 8 % slower on a CPU.
        return optax.chain(make_optimizer(groups, rates, starts, steps), freeze)

    return optimizer


def restart(
    transformation: optax.GradientTransformation, opt_state: Any, params: Any, fresh: Any
) -> Any:
    """Start the state of fresh places anew, whatever the transformation keeps of them.

    Args:
      transformation: what the state belongs to.
      opt_state: its state.
      params: of one fit.
      fresh: like params, bool, broadcastable to each leaf.

    Returns:
      The state. Where `fresh`, a leaf that stands for a parameter and has its shape is what
      `init` gives; counts, and leaves of other shapes, stay as they are.
    """

    def mark(leaf, new, param):
        if isinstance(leaf, optax.MaskedNode):
            return leaf
        return new if jnp.shape(leaf) == jnp.shape(param) else False

    marks = optax.tree_map_params(
        transformation,
        mark,
        opt_state,
        fresh,
        params,
        transform_non_params=lambda _: False,
        is_leaf=lambda node: isinstance(node, optax.MaskedNode),
    )
    return jax.tree.map(jnp.where, marks, transformation.init(params), opt_state)


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
        return FROZEN if isinstance(here, Mapping) else ".".join(names)

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
        numbers = all(isinstance(number, int | float) for number in pair)
        if len(pair) != 2 or not numbers or not (pair[0] >= 0 and pair[1] > 0):
            raise InputError(
                f"optimizer.rates.{prefix}{name}: got {value}, wanted (rate, final fraction)"
            )
        flat[f"{prefix}{name}"] = pair
    return flat
