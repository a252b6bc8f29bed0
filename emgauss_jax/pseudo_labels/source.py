"""The prior: what is believed of the planes between slices before any Gaussian is fitted.

Up to four fill them in: interpolation, interpolation along the flow from slice to slice, a network
that has learned from the stack's own lateral images, and one that has learned from other stacks.
How much of each enters the pseudo-labels is measured, not assumed (`emgauss_jax.pseudo_labels.weights`).
Letters: k lateral px from slice to slice, V valid slices, P planes, H W field in px.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.stack import Observed
from emgauss_jax.methods import lateral_pairs, registry
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.lateral import method as lateral
from emgauss_jax.pseudo_labels.weights import hidden_slices
from emgauss_jax.training.problem import FitSettings, Problem, check

FLOW = "flow"


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """What fills in planes before the method itself is fitted, and on what it is judged."""

    stack: Block  # the valid slices of the whole field, counted 0, 1, 2, ...
    z: np.ndarray  # f32[V], their depths
    use_flow: bool  # interpolation along the flow is one of those asked
    settings: lateral.Settings
    problem: Problem | None  # the network's; None, it is not asked
    network: str  # workdir of one of other stacks; "", none is asked
    sampled: registry.Sampled  # how z of the stack is
    probe_steps: int

    @property
    def depths(self) -> np.ndarray:
        """f64[P], of the planes to fill in, counted in valid slices."""
        return lateral_pairs.plane_depths(len(self.z), self.settings.factor, self.settings.thick)

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
        stack = stack_of(np.broadcast_to(np.float32(0), shape))
        return dataclasses.replace(self, stack=stack, z=observed.z_valid, problem=None)

    def of(self, observed: Observed) -> "Prior":
        """The same prior, of other slices, which are read."""
        stack = stack_of(observed.unit_valid)
        problem = self.problem and dataclasses.replace(self.problem, blocks=only_block(stack))
        return dataclasses.replace(self, stack=stack, z=observed.z_valid, problem=problem)


def obstacle(config: Any, observed: Observed) -> str:
    """Say why a run has no prior; empty where it can have one.

    Raises:
      ValueError: a number of steps that cannot work.
    """
    z, thick = observed.z_valid, observed.plan.averaged
    if "prior" not in config or not (config.prior.steps or config.prior.flow or network_of(config)):
        return "off"
    steps, probe_steps = config.prior.steps, config.prior.probe_steps
    if steps < 0 or (steps and probe_steps < 1):
        raise ValueError(
            f"prior: got steps {steps} and probe_steps {probe_steps}, wanted 1 or more of both "
            "(or 0 steps: no network)"
        )
    if not 0 <= config.prior.ema_decay < 1:
        raise ValueError(f"prior.ema_decay: got {config.prior.ema_decay}, wanted 0 <= decay < 1")
    if not steps and not network_of(config) and thick:
        return "averaged slices, which the flow alone cannot fill in"
    shape = observed.shape[1:]
    smallest = 2 * lateral_pairs.plane_count(3, whole_factor(observed), thick)
    if no_likeness(observed):
        return no_likeness(observed)
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


def no_likeness(observed: Observed) -> str:
    """Say why lateral images cannot be like xz and yz planes; empty where they can."""
    z_nm, y_nm, x_nm = observed.voxel_nm
    if whole_factor(observed) >= 2 and np.isclose(y_nm, x_nm, rtol=1e-3):  # float32 headers
        return ""
    return f"voxels of {z_nm:g} x {y_nm:g} x {x_nm:g} nm, wanted y = x and z 1.5 times that"


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
    stack = stack_of(np.broadcast_to(np.float32(0), shape))
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
            blocks=only_block(stack),
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
        network=network_of(config),
        sampled=registry.Sampled(float(settings.factor), observed.thickness),
    )


def network_of(config: Any) -> str:
    """Name the workdir of the network of other stacks that is asked; older configs name none."""
    return config.prior.get("network", "")


def stack_of(slices: np.ndarray) -> Block:
    """Count valid slices f32[V, H, W] as a stack without gaps."""
    return Block(slices, np.arange(len(slices), dtype=np.float32), np.ones(len(slices), bool))


def only_block(stack: Block) -> Block:
    """Give a stack the block axis of a volume that is one block."""
    return jax.tree.map(lambda leaf: leaf[None], stack)


def _depths_of_run(depths: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Turn depths counted in valid slices into f32, input-slice units."""
    places = np.arange(len(z))
    beyond = depths - np.clip(depths, 0, len(z) - 1)
    return (np.interp(depths, places, z) + beyond).astype(np.float32)
