"""From a config to what a command works on, and the workdir that remembers it."""

import json
import pathlib
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict

from emgauss_jax.data.boxes import Box, block_grid
from emgauss_jax.data.observed import Observed, load_observed
from emgauss_jax.methods import registry
from emgauss_jax.training.fit import FitSettings, Problem, check, cut_blocks

CONFIG = "config.json"


class Experiment(NamedTuple):
    """An opened volume, its blocks, and what is to be fitted."""

    name: str  # of the method
    observed: Observed
    boxes: tuple[Box, ...]  # in voxels of the observed slices
    problem: Problem
    seed: int
    keep_observed: bool  # observed slices enter the output as they are

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
    slices = observed.unit_slices
    boxes = block_grid(slices.shape, tuple(config.block.max_size), tuple(config.block.overlap))
    problem = Problem(
        method=method,
        blocks=cut_blocks(slices, observed.plan.valid, boxes),
        key=jax.random.key(config.seed),
        rates=config.optimizer.rates.to_dict(),
        start=dict(config.optimizer.start),
        settings=settings,
    )
    check(problem)
    return Experiment(config.method, observed, boxes, problem, config.seed, config.keep_observed)


def claim_workdir(workdir: pathlib.Path, config: Any) -> None:
    """Write config.json into a new workdir, or check that the one there is the same.

    Raises:
      ValueError: the folder belongs to another config, or to something else.
    """
    path = workdir / CONFIG
    wanted = json.loads(config.to_json(sort_keys=True))
    if path.exists():
        different = _first_difference(json.loads(path.read_text()), wanted)
        if different:
            raise ValueError(f"workdir {workdir}: {different}; choose another --workdir")
        return
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise ValueError(f"workdir {workdir}: got a file or folder of something else, wanted none")
    workdir.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
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
    return config_dict.ConfigDict(json.loads(path.read_text()))


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
