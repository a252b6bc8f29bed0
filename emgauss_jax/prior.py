"""The lateral prior: what it believes of the planes between slices, and how far to believe it.

A network learns from the stack's own lateral images and fills in its axial planes. How much of
that enters the pseudo-labels is measured, not assumed: at half the resolution in all directions,
where the truth along z has been observed.
Letters: k lateral px from slice to slice, V valid slices, P planes, H W field in px.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax.data.observed import Observed
from emgauss_jax.methods import interpolate
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.lateral import method as lateral
from emgauss_jax.methods.lateral import pairs
from emgauss_jax.training.fit import fit
from emgauss_jax.training.problem import FitSettings, Problem, check

FEWEST = 5  # valid slices: three are left where every second one is hidden


class Trust(NamedTuple):
    """What observed slices say of a prior that has not seen them."""

    weight: float  # 0 to 1, of its difference from an interpolation: least squares
    scale: float  # its error by the deviation of its views, both root mean squares
    decibel: dict[str, float]  # PSNR of "interpolation", "prior", and "both" as weighted


class Labels(NamedTuple):
    """Pseudo-labels of a whole field, k planes for every valid slice."""

    planes: np.ndarray  # f16[P, H, W], intensity
    spread: np.ndarray  # f16[P, H, W], intensity, their standard error as the views differ
    z: np.ndarray  # f32[P], input-slice units
    weight: np.ndarray  # f32[P], of the prior in them
    per_slice: int  # k
    trust: Trust


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """What is fitted before the method itself, and on what it is judged."""

    stack: Block  # the valid slices of the whole field, counted 0, 1, 2, ...
    z: np.ndarray  # f32[V], their depths
    settings: lateral.Settings
    problem: Problem
    probe_steps: int


def obstacle(config: Any, observed: Observed) -> str:
    """Say why a run has no prior; empty where it can have one.

    Raises:
      ValueError: a number of steps that cannot work.
    """
    if "prior" not in config or config.prior.steps == 0:
        return "off"
    if min(config.prior.steps, config.prior.probe_steps) < 1:
        raise ValueError(
            f"prior: got steps {config.prior.steps} and probe_steps {config.prior.probe_steps}, "
            "wanted 1 or more of both (or 0 steps: no prior)"
        )
    z, thick = observed.z_valid, observed.plan.averaged
    z_nm, y_nm, x_nm = observed.voxel_nm
    factor, shape = whole_factor(observed), observed.slices.shape[1:]
    smallest = 2 * pairs.plane_count(3, factor, thick)
    if factor < 2 or y_nm != x_nm:
        return f"voxels of {z_nm:g} x {y_nm:g} x {x_nm:g} nm, wanted y = x and z 1.5 times that"
    if not len(hidden_slices(z, thick)):
        return f"{len(z)} valid slices of {len(observed.z)}, wanted 5 or more without a gap"
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
      observed: the observed slices.

    Raises:
      ValueError: a setting that cannot work.
    """
    stack = _stack(observed.unit_valid)
    settings = lateral.Settings(
        factor=whole_factor(observed),
        thick=observed.plan.averaged,
        **config.lateral,
    )
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
    return Prior(stack, observed.z_valid, settings, problem, config.prior.probe_steps)


def hidden_slices(z: np.ndarray, thick: bool) -> np.ndarray:
    """Choose the slices to judge on, at half the resolution: indices of valid ones.

    Every second one between two others; not beside a missing one, whose gap is no plain one. Of
    thick slices all, because none of them is to be seen in the means of two.
    """
    if len(z) < FEWEST:
        return np.arange(0)
    if thick:
        return np.arange(len(z) // 2 * 2)
    index, gaps = np.arange(1, len(z) - 1, 2), np.diff(z)
    return index[(gaps[index - 1] == 1) & (gaps[index] == 1)]


def _stack(slices: np.ndarray) -> Block:
    """Count valid slices f32[V, H, W] as a stack without gaps."""
    return Block(slices, np.arange(len(slices), dtype=np.float32), np.ones(len(slices), bool))


def _only_block(stack: Block) -> Block:
    """Give a stack the block axis of a volume that is one block."""
    return jax.tree.map(lambda leaf: leaf[None], stack)


def _fit_only_block(problem: Problem, workdir: pathlib.Path) -> Any:
    """Fit a problem of one block, or read its fit: parameters without the block axis."""
    return jax.tree.map(lambda leaf: leaf[0], fit(problem, workdir))


def coarsen(slices: np.ndarray, thick: bool) -> tuple[np.ndarray, np.ndarray]:
    """Halve the resolution of a stack in all directions.

    Args:
      slices: f32[V, H, W].
      thick: slices are means of planes, and so are those of the coarser stack.

    Returns:
      Every second slice, or the means of two; and all slices as they should come out of them.
    """
    fine = np.asarray(pairs.halve(slices))
    if thick:
        fine = fine[: len(fine) // 2 * 2]
        return (fine[::2] + fine[1::2]) / 2, fine
    return fine[::2], fine[: (len(fine) - 1) // 2 * 2 + 1]


def teach(prior: Prior, workdir: pathlib.Path, train: bool = True) -> Labels:
    """Fit the prior, judge it, and make pseudo-labels of it; or read those of a finished run.

    Args:
      prior: what to fit.
      workdir: gets prior/: two fits, labels.npy, spread.npy, and outcome.json, written last.
      train: False only reads.

    Raises:
      ValueError: `train` is False and there are no labels.
    """
    folder = workdir / "prior"
    depths = pairs.plane_depths(len(prior.z), prior.settings.factor, prior.settings.thick)
    if not (folder / "outcome.json").exists():
        if not train:
            raise ValueError(f"{folder}: got no labels, wanted those of a finished train")
        params = _fit_only_block(prior.problem, folder / "fit")
        trust = judge(prior, params, folder / "probe")
        planes, spread = _fill_in(prior.settings, params, prior.stack, depths)
        base = _base(prior.stack, depths, prior.settings.thick)
        weight = weights(depths, prior.z, trust)[:, None, None]
        labels = base + weight * (planes - base)
        np.save(folder / "labels.npy", labels.astype(np.float16))
        np.save(folder / "spread.npy", (trust.scale * spread).astype(np.float16))
        partial = folder / "outcome.partial"
        partial.write_text(json.dumps(trust._asdict(), indent=2) + "\n")
        partial.replace(folder / "outcome.json")
    trust = Trust(**json.loads((folder / "outcome.json").read_text()))
    return Labels(
        planes=np.load(folder / "labels.npy", mmap_mode="r"),
        spread=np.load(folder / "spread.npy", mmap_mode="r"),
        z=_depths_of_run(depths, prior.z),
        weight=weights(depths, prior.z, trust),
        per_slice=prior.settings.factor,
        trust=trust,
    )


def judge(prior: Prior, params: Any, workdir: pathlib.Path) -> Trust:
    """Measure how far to believe the prior, at half the resolution, where the truth is observed.

    Args:
      params: of the network; it first gets used to lateral images of that resolution.
      workdir: for that fit.
    """
    thick, factor = prior.settings.thick, prior.settings.factor
    slices, truth = coarsen(prior.stack.slices, thick)
    coarse = _stack(slices)
    probe = dataclasses.replace(
        prior.problem,
        method=prior.problem.method._replace(init=lambda key, block: params),
        blocks=_only_block(_stack(truth)),
        settings=dataclasses.replace(prior.problem.settings, steps=prior.probe_steps),
    )
    params = _fit_only_block(probe, workdir)
    index = hidden_slices(prior.z, thick)
    if thick:  # the planes of a half of a coarse slice make a fine one
        depths = (index[:, None] + pairs.offsets(factor, thick) - 0.5) / 2
    else:
        depths = index[:, None] / 2
    planes, spread = _fill_in(prior.settings, params, coarse, depths.ravel())
    base = _base(coarse, depths.ravel(), thick)
    planes, spread, base = (
        v.reshape(*depths.shape, *v.shape[1:]).mean(axis=1) for v in (planes, spread, base)
    )
    more, wanted = planes - base, truth[index] - base
    weight = np.clip((more * wanted).sum() / max((more**2).sum(), 1e-12), 0.0, 1.0)
    errors = {"interpolation": wanted, "prior": wanted - more, "both": wanted - weight * more}
    scale = np.sqrt((errors["prior"] ** 2).mean() / max((spread**2).mean(), 1e-12))
    decibel = {n: float(-10 * np.log10(max((e**2).mean(), 1e-12))) for n, e in errors.items()}
    return Trust(float(weight), float(scale), decibel)


def _fill_in(
    settings: lateral.Settings, params: Any, stack: Block, depths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fill in planes: mean and deviation of their views."""
    fill_in = jax.jit(functools.partial(lateral.fill_in, settings))
    mean, spread = fill_in(params, stack, np.float32(depths))
    return np.asarray(mean), np.asarray(spread)


def _base(stack: Block, depths: np.ndarray, thick: bool) -> np.ndarray:
    """Interpolate planes f32[Q, H, W] as well as it costs nothing."""
    name = "cubic_mean" if thick else "linear_blur"
    return interpolate.baselines(stack, depths, (name,))[name]


def _depths_of_run(depths: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Turn depths counted in valid slices into f32, input-slice units."""
    places = np.arange(len(z))
    beyond = depths - np.clip(depths, 0, len(z) - 1)
    return (np.interp(depths, places, z) + beyond).astype(np.float32)


def weights(depths: np.ndarray, z: np.ndarray, trust: Trust) -> np.ndarray:
    """Weigh the prior at depths counted in valid slices, f32[P]; 0 where a slice is missing."""
    lower = np.clip(np.floor(depths).astype(int), 0, len(z) - 2)
    return np.where(np.diff(z)[lower] > 1, 0.0, trust.weight).astype(np.float32)
