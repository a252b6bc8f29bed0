"""A source of pseudo-labels: the lateral network, trained on the stack's own lateral images.

`training.fit` fits it, with the whole region as its only block.
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.stack import SliceStack, whole_factor
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.lateral import method as lateral
from emgauss_jax.pseudo_labels.source import Filled, Source, SourceKind
from emgauss_jax.training.fit import fit
from emgauss_jax.training.metrics_log import Watch
from emgauss_jax.training.problem import (
    FitSettings,
    FitTemplate,
    Problem,
    check,
    make_template,
    shapes_of,
)


def why_not(config: Any, observed: SliceStack) -> str:
    """Say why the network is not used: its steps are 0.

    Raises:
      InputError: a number cannot work.
    """
    del observed
    steps, probe_steps = config.prior.steps, config.prior.probe_steps
    if not steps:
        return "off"
    if steps < 0 or probe_steps < 1:
        raise InputError(
            f"prior: got steps {steps} and probe_steps {probe_steps}, wanted 1 or more of both "
            "(or 0 steps: no network)"
        )
    if not 0 <= config.prior.ema_decay < 1:
        raise InputError(f"prior.ema_decay: got {config.prior.ema_decay}, wanted 0 <= decay < 1")
    return ""


def make(config: Any, observed: SliceStack) -> Source:
    """Make the source.

    Raises:
      InputError: a setting cannot work.
    """
    settings = lateral.Settings(
        factor=whole_factor(observed), profile=observed.plan.profile, **config.lateral
    )
    build = functools.partial(_template, config, (len(observed.z_valid), *observed.shape[1:]))
    template = build(lateral.build(settings), config.prior.steps)
    check(template)

    def fit_to(stack: Block, folder: pathlib.Path | None, watch: Watch) -> Any:
        return _fit_only_block(template, stack, folder, watch)

    def adapt(learned: Any, coarse: Block, folder: pathlib.Path | None, watch: Watch) -> Any:
        begun = template.method._replace(init=lambda key, block: learned)
        return _fit_only_block(build(begun, config.prior.probe_steps), coarse, folder, watch)

    def fill_in(learned: Any, stack: Block, depths: np.ndarray) -> Filled:
        return Filled(*map(np.asarray, _views(settings, learned, stack, np.float32(depths))))

    return Source(fill_in, fit_to, adapt, plain_gaps_only=True)


_views = jax.jit(lateral.fill_in, static_argnums=0)


def _template(config: Any, shape: tuple[int, ...], method: Any, steps: int) -> FitTemplate:
    """Make a template of a fit with `steps` steps to a stack of shape (V, H, W)."""
    z = np.zeros(shape[0], np.float32)
    stack = Block(np.broadcast_to(np.float32(0), shape), z, np.ones(shape[0], bool))
    changes = {"steps": steps, "ema_decay": config.prior.ema_decay}
    return make_template(
        method=method,
        block_shapes=shapes_of(stack),
        key=jax.random.key(config.seed),
        rates={"network": tuple(config.prior.rate)},
        start={},
        settings=FitSettings(**(config.train.to_dict() | changes)),
    )


def _fit_only_block(
    template: FitTemplate, stack: Block, folder: pathlib.Path | None, watch: Watch
) -> Any:
    """Fit one block, or read its finished fit; return parameters without the block axis."""
    blocks = jax.tree.map(lambda leaf: leaf[None], stack)
    return jax.tree.map(lambda leaf: leaf[0], fit(Problem(template, blocks), folder, watch))


KIND = SourceKind(why_not, make)
