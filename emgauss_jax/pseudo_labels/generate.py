"""Pseudo-labels: planes filled in by all that a prior asks, mixed as far as each is to be believed.

Letters: V valid slices, P planes, H W field in px.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from emgauss_jax.methods import interpolate, lateral_pairs, optical_flow, registry
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import between_slices
from emgauss_jax.methods.lateral import method as lateral
from emgauss_jax.pseudo_labels.source import FLOW, Prior, only_block, stack_of
from emgauss_jax.pseudo_labels.store import FOLDER, Labels, read_labels, write_labels
from emgauss_jax.pseudo_labels.weights import (
    BASE,
    NETWORK,
    OTHERS,
    Filled,
    Trust,
    coarsen,
    hidden_slices,
    mix,
    weigh,
)  # fmt: skip
from emgauss_jax.storage import network_file
from emgauss_jax.training.fit import fit
from emgauss_jax.training.problem import Problem

SLAB = 64  # planes asked of a network of other stacks at once


def _fit_only_block(problem: Problem, workdir: pathlib.Path) -> Any:
    """Fit a problem of one block, or read its fit: parameters without the block axis."""
    return jax.tree.map(lambda leaf: leaf[0], fit(problem, workdir))


def teach(prior: Prior, workdir: pathlib.Path) -> Labels:
    """Fit the prior, judge it, and make pseudo-labels of it, unless that has been done.

    Args:
      prior: what to fit.
      workdir: gets prior/, with the network's fits and the labels.
    """
    if found := read_labels(workdir, prior.plane_z, prior.settings.factor):
        return found
    folder = workdir / FOLDER
    params = _fit_only_block(prior.problem, folder / "fit") if prior.problem else None
    trust = judge(prior, params, folder / "probe")
    filled = fill_in(prior, params, prior.stack, prior.depths)
    weights = weights_along(prior.depths, prior.z, trust)
    mixed = mix(filled, {name: weight[:, None, None] for name, weight in weights.items()})
    wide = _is_wide(prior.depths, prior.z)[:, None, None]
    spread = np.where(wide, trust.wide_scale, trust.scale).astype(np.float32) * mixed.spread
    write_labels(workdir, mixed.mean, spread, trust)
    return read_labels(workdir, prior.plane_z, prior.settings.factor)


def judge(prior: Prior, params: Any, workdir: pathlib.Path) -> Trust:
    """Measure how far to believe each, at half the resolution, where the truth is observed.

    Args:
      params: of the network; it first gets used to that resolution, on what is not hidden there.
      workdir: for that fit.
    """
    thick = prior.settings.thick
    slices, truth = coarsen(prior.stack.slices, thick)
    coarse = stack_of(slices)
    if prior.problem:
        probe = dataclasses.replace(
            prior.problem,
            method=prior.problem.method._replace(init=lambda key, block: params),
            blocks=only_block(coarse),
            settings=dataclasses.replace(prior.problem.settings, steps=prior.probe_steps),
        )
        params = _fit_only_block(probe, workdir)
    index = hidden_slices(prior.z, thick)
    if thick:  # the planes of a half of a coarse slice make a fine one
        depths = (index[:, None] + lateral_pairs.offsets(prior.settings.factor, thick) - 0.5) / 2
    else:
        depths = index[:, None] / 2
    filled = {
        name: Filled(*(v.reshape(*depths.shape, *v.shape[1:]).mean(axis=1) for v in one))
        for name, one in fill_in(prior, params, coarse, depths.ravel()).items()
    }
    return weigh(filled, truth[index])


_views = jax.jit(lateral.fill_in, static_argnums=0)


def fill_in(prior: Prior, params: Any, stack: Block, depths: np.ndarray) -> dict[str, Filled]:
    """Fill in planes in every way there is.

    Args:
      params: of the network, if it is asked.
      stack: thin or thick slices, counted 0, 1, 2, ...
      depths: f64[P], so counted.

    Returns:
      name -> planes f32[P, H, W] and their spread.
    """
    thick = prior.settings.thick
    name = "cubic_mean" if thick else "linear_blur"
    base = interpolate.baselines(stack, depths, (name,))[name]
    filled = {BASE: Filled(base, between_slices(stack.slices, stack.z, depths, thick))}
    if prior.use_flow:
        filled[FLOW] = Filled(
            *map(np.asarray, optical_flow.fill_in(stack.slices, np.float32(depths)))
        )
    if prior.problem:
        views = _views(prior.settings, params, stack, np.float32(depths))
        filled[NETWORK] = Filled(*map(np.asarray, views))
    if prior.network:
        filled[OTHERS] = _ask_network(prior, stack, depths)
    return filled


@functools.lru_cache(1)
def open_network(workdir: str, sampled: registry.Sampled) -> Callable[..., Any]:
    """Open the network of other stacks: a compiled function of a stack and depths.

    Raises:
      ValueError: there is none, or one that cannot be asked here.
    """
    method, params = network_file.open_network(pathlib.Path(workdir), sampled)
    return functools.partial(jax.jit(method.predict_with_error), params)


def _ask_network(prior: Prior, stack: Block, depths: np.ndarray) -> Filled:
    """Ask the network of other stacks, slab by slab: all planes at once would not fit."""
    draw = open_network(prior.network, prior.sampled)
    count = len(depths)
    padded = np.append(depths, np.full(-count % SLAB, depths[-1])).astype(np.float32)
    slabs = [draw(stack, padded[i : i + SLAB]) for i in range(0, count, SLAB)]
    return Filled(*(np.concatenate(one)[:count] for one in zip(*slabs, strict=True)))


def weights_along(depths: np.ndarray, z: np.ndarray, trust: Trust) -> dict[str, np.ndarray]:
    """Weigh each at depths counted in valid slices, f32[P]; the network plain gaps alone."""
    wide = _is_wide(depths, z)
    return {
        name: np.where(wide, trust.wide_weights.get(name, 0.0), weight).astype(np.float32)
        for name, weight in trust.weights.items()
    }


def _is_wide(depths: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Find the depths, counted in valid slices, in a gap where a slice is missing, bool[P]."""
    lower = np.clip(np.floor(depths).astype(int), 0, len(z) - 2)
    return np.diff(z)[lower] > 1
