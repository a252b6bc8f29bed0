"""Another volume than a run's own, for a network that has not seen it."""

import pathlib
from typing import Any, NamedTuple

from ml_collections import config_dict

from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.stack import open_unmeasured
from emgauss_jax.methods import registry
from emgauss_jax.pipeline.run import Run, leave_out_damaged, prepare
from emgauss_jax.pseudo_labels.source import no_likeness
from emgauss_jax.storage import network_file
from emgauss_jax.storage.run_dir import read_workdir


class Other(NamedTuple):
    """What is known of the volume; picklable."""

    path: str
    dataset: str = ""  # array inside a container
    voxel_nm: tuple[float, ...] = (0.0, 0.0, 0.0)  # z, y, x; needed only where the file has none
    simulate_factor: int = 0  # k: keep every k-th slice of it
    missing: tuple[int, ...] = ()  # its slices that are missing or damaged, counted after that
    levels: IntensityRange | None = None  # its grey levels, once they have been measured


def open_other(workdir: pathlib.Path, other: Other) -> Run:
    """Open a volume as the run of a workdir opened its own: all of it.

    Raises:
      ValueError: a method whose fit is of its own volume alone, or a volume that cannot be used.
    """
    config = read_workdir(workdir)
    if config.data.degradation == "average" and not other.simulate_factor:
        raise ValueError(
            f"input: got {other.path} for a network of averaged slices, wanted an isotropic volume "
            "and --input_simulate_factor"
        )
    method = registry.build(config.method, config, registry.Sampled())
    if method.per_block:
        raise ValueError(
            f"input: got a workdir of {config.method}, which fits every volume anew, wanted one of "
            "a network (niiv, emformer)"
        )
    network_file.read(workdir, method)
    changed = _config_of(config, other)
    why_not = no_likeness(open_unmeasured(changed.data))
    if why_not:
        raise ValueError(f"input: got {why_not} (or --input_simulate_factor)")
    return prepare(changed, levels=other.levels)


def without_damaged(workdir: pathlib.Path, other: Other) -> Other:
    """List slices of a volume that look damaged on stderr, and call them missing, too.

    Raises:
      ValueError: a volume that cannot be used, or too much of which looks damaged.
    """
    changed, _ = leave_out_damaged(_config_of(read_workdir(workdir), other))
    return other._replace(missing=tuple(changed.data.missing))


def _config_of(config: Any, other: Other) -> Any:
    """Take the config of a run, and another volume for its own."""
    changed = config_dict.ConfigDict(config.to_dict())
    changed.data.update(
        path=other.path,
        dataset=other.dataset,
        voxel_nm=other.voxel_nm,
        simulate_factor=other.simulate_factor,
        crop="",
        missing=other.missing,
    )
    return changed
