"""From a config to what a command works on, and the workdir that remembers it."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict

from emgauss_jax.data.boxes import Box, block_grid
from emgauss_jax.data.observed import Observed, load_observed
from emgauss_jax.methods import registry
from emgauss_jax.prior import Labels, Prior, build_prior, obstacle, teach
from emgauss_jax.training.problem import FitSettings, Problem, check, cut_blocks
from emgauss_jax.trust import describe

CONFIG = "config.json"


class Experiment(NamedTuple):
    """An opened volume, its blocks, and what is to be fitted."""

    name: str  # of the method
    observed: Observed
    boxes: tuple[Box, ...]  # in z they count valid slices, in y and x px of the crop
    problem: Problem
    seed: int
    keep_observed: bool  # observed slices enter the output as they are
    prior: Prior | None  # still to be learned; None, there is none or it has been
    labels: Labels | None  # what came of it
    obstacle: str  # why there is no prior; empty where there is one

    def taught(self, workdir: pathlib.Path, train: bool = True) -> "Experiment":
        """Learn the prior, if any, and give its pseudo-labels to the blocks.

        Args:
          workdir: of the run.
          train: False only reads what was learned.
        """
        if self.prior is None:
            return self
        labels = teach(self.prior, workdir, train)
        observed = self.observed
        blocks = cut_blocks(
            observed.unit_valid, observed.z_valid, self.boxes,
            (labels.planes, labels.z, labels.per_slice),
        )  # fmt: skip
        problem = dataclasses.replace(self.problem, blocks=blocks)
        return self._replace(problem=problem, prior=None, labels=labels)

    def notes(self) -> dict[str, str]:
        """Say what the report's reader should know about the run."""
        observed, plan = self.observed, self.observed.plan
        notes = {
            "volume": str(getattr(observed.volume, "path", "procedural phantom")),
            "observed slices": f"{plan.valid.sum()} valid of {len(plan.valid)}",
            "observed voxel, nm (z, y, x)": " x ".join(f"{nm:g}" for nm in observed.voxel_nm),
            "blocks": f"{len(self.boxes)} of {' x '.join(map(str, self.boxes[0].shape))}",
            "steps": str(self.problem.settings.steps),
            "seed": str(self.seed),
        }
        if self.obstacle:
            notes["prior"] = f"none: {self.obstacle}"
        elif self.labels is not None:
            notes["prior"] = describe(self.labels.trust)
        if plan.factor:
            notes["simulated"] = f"{plan.degradation}, factor {plan.factor}"
        return notes


def prepare(config: Any) -> Experiment:
    """Open the volume a config names and cut it into blocks.

    Args:
      config: the whole config.

    Returns:
      The experiment; nothing has been written.

    Raises:
      ValueError: for every input or setting that cannot be used.
    """
    settings = FitSettings(**config.train)
    observed = load_observed(config.data)
    method = registry.build(config.method, config, observed.thickness)
    boxes = cut_boxes(observed.unit_valid.shape, config.block.max_size, config.block.overlap)
    problem = Problem(
        method=method,
        blocks=cut_blocks(observed.unit_valid, observed.z_valid, boxes),
        key=jax.random.key(config.seed),
        rates=config.optimizer.rates.to_dict(),
        start=dict(config.optimizer.start),
        settings=settings,
    )
    why_not = obstacle(config, observed)
    prior = None if why_not else build_prior(config, observed)
    if prior:  # the problem that will be fitted has labels: checked with blank ones
        one = cut_blocks(observed.unit_valid, observed.z_valid, boxes[:1], prior.blank)
        check(dataclasses.replace(problem, blocks=one))
    else:
        check(problem)
    return Experiment(
        name=config.method,
        observed=observed,
        boxes=boxes,
        problem=problem,
        seed=config.seed,
        keep_observed=config.keep_observed,
        prior=prior,
        labels=None,
        obstacle=why_not,
    )


def cut_boxes(
    shape: tuple[int, ...], max_size: Sequence[int], overlap: Sequence[int]
) -> tuple[Box, ...]:
    """Cut a stack into overlapping blocks.

    Args:
      shape: V valid slices, H, W.
      max_size: the largest block, z in slices, y and x in px.
      overlap: the least overlap of neighbours, likewise.

    Raises:
      ValueError: no three whole numbers, or blocks that would leave a gap in z between them.
    """
    for name, value in (("max_size", max_size), ("overlap", overlap)):
        whole = isinstance(value, list | tuple) and all(isinstance(n, int) for n in value)
        if not whole or len(value) != 3:
            raise ValueError(f"block.{name}: got {value}, wanted three whole numbers (z, y, x)")
    if shape[0] > max_size[0] and (max_size[0] < 2 or overlap[0] < 1):
        raise ValueError(
            f"block: got max_size {max_size[0]} and overlap {overlap[0]} in z for {shape[0]} "
            "slices, wanted at least 2 and 1: neighbours must share a slice"
        )
    return block_grid(shape, max_size, overlap)


def claim_workdir(workdir: pathlib.Path, config: Any) -> None:
    """Write config.json into a new workdir, or check that the one there is the same.

    Raises:
      ValueError: the folder belongs to another config, or to something else.
    """
    path = workdir / CONFIG
    wanted = json.loads(config.to_json(sort_keys=True))
    if path.exists():
        different = _first_difference(_read_json(path), wanted)
        if different:
            raise ValueError(f"workdir {workdir}: {different}; choose another --workdir")
        return
    partial = path.with_suffix(".partial")
    if workdir.exists() and (not workdir.is_dir() or set(workdir.iterdir()) - {partial}):
        raise ValueError(f"workdir {workdir}: got a file or folder of something else, wanted none")
    workdir.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(wanted, indent=2) + "\n")
    partial.replace(path)


def read_workdir(workdir: pathlib.Path) -> config_dict.ConfigDict:
    """Read the config of a workdir.

    Raises:
      ValueError: there is none.
    """
    path = workdir / CONFIG
    if not path.exists():
        raise ValueError(f"workdir {workdir}: got no {CONFIG}, wanted one made by train")
    return config_dict.ConfigDict(_read_json(path))


def _read_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise ValueError(f"{path}: got a damaged file, wanted JSON as train writes it") from None


def _first_difference(there: Any, wanted: Any, name: str = "config") -> str:
    """Name the first value in which two nested dicts differ; empty if none does."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in sorted(there.keys() | wanted.keys()):
            found = _first_difference(there.get(key), wanted.get(key), f"{name}.{key}")
            if found:
                return found
        return ""
    if there == wanted:
        return ""
    return f"was made with {name}={there!r}, got {name}={wanted!r}"
