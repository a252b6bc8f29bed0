"""A volume that a run's network has not seen, opened as the run's own."""

import pathlib
from typing import Any, NamedTuple

from ml_collections import config_dict

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.opening import open_unmeasured
from emgauss_jax.data.stack import why_axes_differ
from emgauss_jax.methods import registry
from emgauss_jax.pipeline.run import Run, leave_out_damaged, prepare
from emgauss_jax.storage import network_file
from emgauss_jax.storage.run_dir import read_workdir


class UnseenVolume(NamedTuple):
    """What is known of the volume; picklable."""

    path: str
    dataset: str = ""  # array inside a container
    voxel_nm: tuple[float, ...] = (0.0, 0.0, 0.0)  # z, y, x; needed only where the file has none
    simulate_factor: int = 0  # k: keep every k-th slice of it
    missing: tuple[int, ...] = ()  # its slices that are missing or damaged, counted after that
    z_nm: str = ""  # depths of its slices where they are unevenly spaced, as `data.z_nm`
    grey_range: IntensityRange | None = None  # its grey levels, once they have been measured
    absent: tuple[int, int] = (0, 0)  # its chunks that are not stored, and all, likewise


def open_unseen(workdir: pathlib.Path, unseen: UnseenVolume) -> Run:
    """Open a volume as the run of a workdir opened its own: all of it.

    Raises:
      InputError: a method whose fit is of its own volume alone, or a volume that cannot be used.
    """
    config = _read_config(workdir)
    if config.data.degradation == "average" and not unseen.simulate_factor:
        raise InputError(
            f"input: got {unseen.path} for a network of averaged slices, wanted an isotropic "
            "volume and --input_simulate_factor"
        )
    method = registry.build_shared("input", config, registry.AxialSampling())
    network_file.read(workdir, method.init)
    changed = _config_of(config, unseen)
    why_not = why_axes_differ(open_unmeasured(changed.data))
    if why_not:
        raise InputError(f"input: got {why_not} (or --input_simulate_factor)")
    return prepare(changed, grey_range=unseen.grey_range, absent=unseen.absent)


def without_damaged(workdir: pathlib.Path, unseen: UnseenVolume) -> UnseenVolume:
    """List slices of a volume that look damaged on stderr, and call them missing, too.

    Raises:
      InputError: a volume that cannot be used, or too much of which looks damaged.
    """
    changed, _ = leave_out_damaged(_config_of(_read_config(workdir), unseen))
    return unseen._replace(missing=tuple(changed.data.missing))


def _read_config(workdir: pathlib.Path) -> Any:
    """Read the config of a workdir, or of the file of a network."""
    return network_file.read_config(workdir) if workdir.is_file() else read_workdir(workdir)


def _config_of(config: Any, unseen: UnseenVolume) -> Any:
    """Take the config of a run, and another volume for its own."""
    changed = config_dict.ConfigDict(config.to_dict())
    changed.data.update(
        path=unseen.path,
        dataset=unseen.dataset,
        series=-1,
        voxel_nm=unseen.voxel_nm,
        simulate_factor=unseen.simulate_factor,
        crop="",
        missing=unseen.missing,
        z_nm=unseen.z_nm,
    )
    return changed
