"""The prior: what is believed of the planes between slices before any Gaussian is fitted.

Three fill them in: interpolation, interpolation along the flow from slice to slice, and a network
that has learned from the stack's own lateral images. How much of each enters the pseudo-labels is
measured, not assumed (`emgauss_jax.trust`).
Letters: k lateral px from slice to slice, V valid slices, P planes, H W field in px.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax import trained
from emgauss_jax.data.observed import Observed
from emgauss_jax.labels import FOLDER, Labels, read_labels, write_labels
from emgauss_jax.methods import flow, interpolate, pairs, registry
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import between_slices
from emgauss_jax.methods.lateral import method as lateral
from emgauss_jax.training.fit import fit
from emgauss_jax.training.problem import FitSettings, Problem, check
from emgauss_jax.trust import (
    BASE,
    NETWORK,
    OTHERS,
    Filled,
    Trust,
    coarsen,
    hidden_slices,
    mix,
    weigh,
)

FLOW = "flow"


class Trained(NamedTuple):
    """The network of another run."""

    draw: tuple[Callable[..., Any], Callable[..., Any]]  # compiled: planes, their standard error
    params: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """What fills in planes before the method itself is fitted, and on what it is judged."""

    stack: Block  # the valid slices of the whole field, counted 0, 1, 2, ...
    z: np.ndarray  # f32[V], their depths
    use_flow: bool  # interpolation along the flow is one of those asked
    settings: lateral.Settings
    problem: Problem | None  # the network's; None, it is not asked
    trained: Trained | None  # a network of other stacks; None, none is asked
    probe_steps: int

    @property
    def depths(self) -> np.ndarray:
        """f64[P], of the planes to fill in, counted in valid slices."""
        return pairs.plane_depths(len(self.z), self.settings.factor, self.settings.thick)

    @property
    def plane_z(self) -> np.ndarray:
        """f32[P], depths of those planes, input-slice units."""
        return _depths_of_run(self.depths, self.z)

    @property
    def blank(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Labels of the right shapes for `cut_blocks`, all 0."""
        shape = (len(self.depths), *self.stack.slices.shape[1:])
        planes = np.broadcast_to(np.float16(0), shape)
        return planes, self.plane_z, self.settings.factor

    def like(self, observed: Observed) -> "Prior":
        """The same prior for other slices, which are not read: its depths and blank labels."""
        shape = (len(observed.z_valid), *observed.shape[1:])
        stack = _stack(np.broadcast_to(np.float32(0), shape))
        return dataclasses.replace(self, stack=stack, z=observed.z_valid, problem=None)

    def of(self, observed: Observed) -> "Prior":
        """The same prior, of other slices, which are read."""
        stack = _stack(observed.unit_valid)
        problem = self.problem and dataclasses.replace(self.problem, blocks=_only_block(stack))
        return dataclasses.replace(self, stack=stack, z=observed.z_valid, problem=problem)


def obstacle(config: Any, observed: Observed) -> str:
    """Say why a run has no prior; empty where it can have one.

    Raises:
      ValueError: a number of steps that cannot work.
    """
    z, thick = observed.z_valid, observed.plan.averaged
    if "prior" not in config or not (
        config.prior.steps or config.prior.flow or config.prior.network
    ):
        return "off"
    steps, probe_steps = config.prior.steps, config.prior.probe_steps
    if steps < 0 or (steps and probe_steps < 1):
        raise ValueError(
            f"prior: got steps {steps} and probe_steps {probe_steps}, wanted 1 or more of both "
            "(or 0 steps: no network)"
        )
    if not 0 <= config.prior.ema_decay < 1:
        raise ValueError(f"prior.ema_decay: got {config.prior.ema_decay}, wanted 0 <= decay < 1")
    if not steps and not config.prior.network and thick:
        return "averaged slices, which the flow alone cannot fill in"
    z_nm, y_nm, x_nm = observed.voxel_nm
    factor, shape = whole_factor(observed), observed.shape[1:]
    smallest = 2 * pairs.plane_count(3, factor, thick)
    if factor < 2 or not np.isclose(y_nm, x_nm, rtol=1e-3):  # float32 headers
        return f"voxels of {z_nm:g} x {y_nm:g} x {x_nm:g} nm, wanted y = x and z 1.5 times that"
    if not len(hidden_slices(z, thick)):
        return (
            f"{len(z)} valid slices of {len(observed.z)}, wanted 5 or more, and a second, fourth, "
            "... one between two neighbours"
        )
    if thick and len(z) < len(observed.z):
        return "a slice is missing among averaged ones"
    if min(shape) < smallest:
        return f"a field of {shape[0]} x {shape[1]} px, wanted {smallest} px or more"
    return ""


def whole_factor(observed: Observed) -> int:
    """Round the lateral px from slice to slice to a whole number."""
    return round(observed.voxel_nm[0] / observed.voxel_nm[1])


def build_prior(config: Any, observed: Observed) -> Prior:
    """Set up the prior a config asks for, where there is no `obstacle`.

    Args:
      config: the whole config.
      observed: of whose shape it is; no slice is read, see `Prior.of`.

    Raises:
      ValueError: a setting that cannot work.
    """
    shape = (len(observed.z_valid), *observed.shape[1:])
    stack = _stack(np.broadcast_to(np.float32(0), shape))
    settings = lateral.Settings(
        factor=whole_factor(observed),
        thick=observed.plan.averaged,
        **config.lateral,
    )
    problem = None
    if config.prior.steps:
        changes = {"steps": config.prior.steps, "ema_decay": config.prior.ema_decay}
        problem = Problem(
            method=lateral.build(settings),
            blocks=_only_block(stack),
            key=jax.random.key(config.seed),
            rates={"network": tuple(config.prior.rate)},
            start={},
            settings=FitSettings(**(config.train.to_dict() | changes)),
        )
        check(problem)
    return Prior(
        stack=stack,
        z=observed.z_valid,
        use_flow=config.prior.flow and not settings.thick,
        settings=settings,
        problem=problem,
        probe_steps=config.prior.probe_steps,
        trained=_open_trained(config, observed),
    )


def _open_trained(config: Any, observed: Observed) -> Trained | None:
    """Open the network of another run, if there is to be one."""
    if not config.prior.network:
        return None
    sampled = registry.Sampled(float(whole_factor(observed)), observed.thickness)
    method, params = trained.open_network(pathlib.Path(config.prior.network), sampled)
    return Trained((jax.jit(method.predict), jax.jit(method.spread)), params)


def _stack(slices: np.ndarray) -> Block:
    """Count valid slices f32[V, H, W] as a stack without gaps."""
    return Block(slices, np.arange(len(slices), dtype=np.float32), np.ones(len(slices), bool))


def _only_block(stack: Block) -> Block:
    """Give a stack the block axis of a volume that is one block."""
    return jax.tree.map(lambda leaf: leaf[None], stack)


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
    coarse = _stack(slices)
    if prior.problem:
        probe = dataclasses.replace(
            prior.problem,
            method=prior.problem.method._replace(init=lambda key, block: params),
            blocks=_only_block(coarse),
            settings=dataclasses.replace(prior.problem.settings, steps=prior.probe_steps),
        )
        params = _fit_only_block(probe, workdir)
    index = hidden_slices(prior.z, thick)
    if thick:  # the planes of a half of a coarse slice make a fine one
        depths = (index[:, None] + pairs.offsets(prior.settings.factor, thick) - 0.5) / 2
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
        filled[FLOW] = Filled(*map(np.asarray, flow.fill_in(stack.slices, np.float32(depths))))
    if prior.problem:
        views = _views(prior.settings, params, stack, np.float32(depths))
        filled[NETWORK] = Filled(*map(np.asarray, views))
    if prior.trained:
        given = (prior.trained.params, stack, np.float32(depths))
        filled[OTHERS] = Filled(*(np.asarray(draw(*given)) for draw in prior.trained.draw))
    return filled


def _depths_of_run(depths: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Turn depths counted in valid slices into f32, input-slice units."""
    places = np.arange(len(z))
    beyond = depths - np.clip(depths, 0, len(z) - 1)
    return (np.interp(depths, places, z) + beyond).astype(np.float32)


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
