"""Trials of a sweep, and batches of trials that one program fits."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import config_dict

from emgauss_jax.training.hyperparams import Hyper


class Trial(NamedTuple):
    """One config of a sweep, and so one row of its table."""

    name: str
    changes: Mapping[str, str]  # its own: setting -> value
    config: config_dict.ConfigDict | None  # without references, so that it can be pickled
    hyper: Hyper | None  # its traced numbers
    problem: str = ""  # why there is neither; empty where there are


class TrialBatch(NamedTuple):
    """Trials of one program; can be pickled."""

    key: str  # names its folder
    trials: tuple[Trial, ...]


def trial_folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Name the folder of a trial, a workdir like that of a train."""
    return workdir / "rows" / name.replace(" ", "_")


def batch_folder(workdir: pathlib.Path, batch: TrialBatch) -> pathlib.Path:
    """Name the folder of what the trials of a batch have in common."""
    return workdir / "units" / batch.key
