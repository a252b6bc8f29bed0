"""Trials of a sweep, and batches of trials that one program fits."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import config_dict

from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.storage.run_dir import ROWS
from emgauss_jax.training.hyperparams import Hyper


class Trial(NamedTuple):
    """One config of a sweep: one row of its table."""

    name: str
    changes: Mapping[str, str]  # setting -> value, what the trial changes in its config file
    config: config_dict.ConfigDict | None  # without references, so that it can be pickled
    hyper: Hyper | None  # traced numbers of the config
    problem: str = ""  # why config and hyper are None; empty if they are not


class Known(NamedTuple):
    """What has been found in the volume of a batch already."""

    grey_range: IntensityRange | None = None
    absent: tuple[int, int] = (0, 0)  # chunks that are not stored, and all


class TrialBatch(NamedTuple):
    """Trials that one program fits; can be pickled."""

    key: str  # name of the batch's folder
    trials: tuple[Trial, ...]
    known: Known = Known()


def trial_folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Return the folder of a trial, a workdir like that of a training."""
    return workdir / ROWS / name.replace(" ", "_")


def batch_folder(workdir: pathlib.Path, batch: TrialBatch) -> pathlib.Path:
    """Return the folder of files that the trials of a batch share."""
    return workdir / "units" / batch.key
