"""A finished fit in one file: its parameters, the observed slices, and the config of its run."""

import pathlib

import numpy as np
from ml_collections import config_dict

from emgauss_jax.data.array_volume import ObservedVolume
from emgauss_jax.data.handles import check_absent
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.simulate import degrade_plan
from emgauss_jax.data.slice_depths import depths_text
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.region import FitStore
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.storage import pytrees
from emgauss_jax.storage.run_dir import plain

KIND = "fit"


def save_fit(path: pathlib.Path, run: Run, store: FitStore) -> None:
    """Write a fit to a new file, with all that is needed to draw from it.

    Raises:
      InputError: something stands at the path.
    """
    check_absent(path)
    tree, about = store.pack()
    observed, config = run.observed, plain(run.config)
    depths = "" if observed.depths_nm is None else depths_text(observed.depths_nm)
    # the slices are the crop's
    config["data"] |= {"path": str(observed.volume.path), "crop": "", "z_nm": depths}
    about |= {
        "config": config,
        "grey_range": [observed.grey_range.low, observed.grey_range.high],
        "depth": observed.plan.depth,
        "voxel_nm": list(observed.volume.voxel_nm),
        "dtype": observed.dtype.name,
        "format": observed.volume.format,
    }
    pytrees.write(path, KIND, {"slices": observed.slices, **tree}, about)


def load_fit(path: pathlib.Path) -> tuple[Run, FitStore]:
    """Read a fit that `save_fit` has written.

    Raises:
      InputError: the file is damaged, holds something else, or is of another version.
    """
    arrays, about = pytrees.read(path, KIND)
    config = config_dict.ConfigDict(about["config"])
    data = config.data
    plan = degrade_plan(about["depth"], data.simulate_factor, data.degradation, data.missing)
    volume = ObservedVolume(
        slices=arrays["slices"],
        plan=plan,
        voxel_nm=tuple(about["voxel_nm"]),
        dtype=np.dtype(about["dtype"]),
        path=data.path,
        format=about["format"],
    )
    run = prepare(config, grey_range=IntensityRange(*about["grey_range"]), volume=volume)
    return run, fitting_of(run.template.method).unpack(run, arrays, about)
