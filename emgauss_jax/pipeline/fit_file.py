"""A finished fit in one file: its parameters, the observed slices, and the config of its run."""

import dataclasses
import pathlib

import numpy as np
from ml_collections import config_dict

from emgauss_jax.data.array_volume import ObservedVolume
from emgauss_jax.data.formats.interface import AT_ORIGIN, Place
from emgauss_jax.data.handles import check_absent
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.data.simulate import degrade_plan
from emgauss_jax.data.slice_depths import depths_text
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.region import FitStore
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.storage import pytrees
from emgauss_jax.storage.run_dir import plain, with_later_settings

KIND = "fit"


def save_fit(path: pathlib.Path, run: Run, store: FitStore) -> None:
    """Write a fit to a new file, with all that is needed to draw from it.

    Raises:
      InputError: something stands at the path.
    """
    check_absent(path)
    tree, about = store.pack()
    observed, config = run.observed, plain(run.config)
    volume, corner = observed.volume, observed.corner
    depths = "" if observed.depths_nm is None else depths_text(observed.depths_nm)
    # the slices are the crop's
    config["data"] |= {"path": str(volume.path), "crop": "", "z_nm": depths}
    about |= {
        "config": config,
        "grey_range": dataclasses.asdict(observed.grey_range),
        "depth": observed.plan.depth,
        "voxel_nm": list(volume.voxel_nm),
        "dtype": observed.dtype.name,
        "format": volume.format,
        "place": list(corner),
        "notes": list(volume.notes),
        "voxel_given": volume.voxel_given,
        "absent": list(observed.absent),
    }
    pytrees.write(path, KIND, {"slices": observed.slices, **tree}, about)


def load_fit(path: pathlib.Path) -> tuple[Run, FitStore]:
    """Read a fit that `save_fit` has written.

    Raises:
      InputError: the file is damaged, holds something else, or is of another version.
    """
    arrays, about = pytrees.read(path, KIND)
    config = with_later_settings(config_dict.ConfigDict(about["config"]))
    data = config.data
    plan = degrade_plan(about["depth"], data.simulate_factor, data.degradation, data.missing)
    centre_nm, axes = about.get("place", AT_ORIGIN)  # the file may be older
    volume = ObservedVolume(
        slices=arrays["slices"],
        plan=plan,
        voxel_nm=tuple(about["voxel_nm"]),
        dtype=np.dtype(about["dtype"]),
        path=data.path,
        format=about["format"],
        place=Place(tuple(centre_nm), tuple(map(tuple, axes))),
        notes=tuple(about.get("notes", ())),
        voxel_given=about.get("voxel_given", True),
    )
    known = about["grey_range"]
    if isinstance(known, list):  # likewise
        known = dict(zip(("low", "high"), known, strict=True))
    grey_range, absent = IntensityRange.from_json(known), tuple(about.get("absent", (0, 0)))
    run = prepare(config, grey_range=grey_range, volume=volume, absent=absent)
    return run, fitting_of(run.template.method).unpack(run, arrays, about)
