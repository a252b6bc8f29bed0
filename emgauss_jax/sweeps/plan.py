"""Read the trials of a sweep from a file of configs/sweeps/, and group them into batches.

Trials that differ only in traced numbers (learning rates, loss weights, the EMA decay) form one
batch, which `trial_batch` fits in one program. Users know trials as rows and batches as units.
"""

import functools
import hashlib
import json
import operator
import pathlib
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_dict

from emgauss_jax.data.errors import InputError
from emgauss_jax.execution.command import BAD_INPUT
from emgauss_jax.execution.config_file import define_config_flag, find_config, parse_flags
from emgauss_jax.methods import registry
from emgauss_jax.sweeps.trials import Trial, TrialBatch, trial_folder
from emgauss_jax.training import optimizer
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.problem import FitSettings


def read_trials(sweep: str | pathlib.Path, prefix: str, common: Mapping[str, str]) -> list[Trial]:
    """Read the trials of a sweep.

    Args:
      sweep: a file of configs/sweeps/, or its name. Its `sweep(add)` calls
        add(name, config, changes) for each trial; a config is named as --config names it.
      prefix: read only trials whose name starts with it.
      common: setting -> value, for every trial; overrides the trial's own changes.

    Raises:
      InputError: there is no such file or trial, or names cannot be folders beside each other.
        A trial with a bad config does not raise: its `problem` says what is wrong.
    """
    added: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def add(name: str, config: str, changes: Mapping[str, Any] | None = None) -> None:
        folder = trial_folder(pathlib.Path(), name)
        taken = [each for each in added if _clash(folder, trial_folder(pathlib.Path(), each))]
        if taken or not name.strip() or ".." in folder.parts or name.startswith("/"):
            raise InputError(f"{sweep}: got row {name!r} beside {taken}, wanted a name of its own")
        added[name] = (config, changes or {})

    file = find_config(str(sweep), "sweeps")
    try:
        runpy.run_path(str(file))["sweep"](add)
    except InputError:
        raise
    except Exception as error:  # the file is the user's Python
        kind = type(error).__name__
        raise InputError(f"{sweep}: got {kind} {error}, wanted Python with sweep(add)") from error
    chosen = {name: own for name, own in added.items() if name.startswith(prefix)}
    if not chosen:
        raise InputError(f"rows: got {prefix!r}, wanted the start of the name of a row in {sweep}")
    return [_read_trial(name, *own, common) for name, own in chosen.items()]


def _clash(one: pathlib.Path, other: pathlib.Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _read_trial(name: str, base: str, own: Mapping[str, Any], common: Mapping[str, str]) -> Trial:
    changes = {key: common.get(key, str(value)) for key, value in own.items()}
    try:
        config = read_config(base, changes | dict(common))
        if not config.data.simulate_factor:
            raise InputError("data.simulate_factor: got 0, wanted 2 or more: rows are compared")
        return Trial(name, changes, config, hyper_of(config))
    except BAD_INPUT as error:
        return Trial(name, changes, None, None, str(error))


def read_config(name: str | pathlib.Path, changes: Mapping[str, str]) -> config_dict.ConfigDict:
    """Read a config as a command with these flags would.

    Args:
      name: of a file with `get_config()`, see `find_config`.
      changes: setting -> value as in --config.KEY=VALUE.

    Raises:
      InputError: there is no such file or setting, or a value has the wrong type.
    """
    argv = ["", f"--config={name}", *(f"--config.{key}={value}" for key, value in changes.items())]
    values = flags.FlagValues()
    define_config_flag(values, argv)
    parse_flags(values, argv)
    return values.config.copy_and_resolve_references()


def hyper_of(config: config_dict.ConfigDict) -> Hyper:
    """Take the traced numbers out of a config: those of `FitTemplate.configured`.

    Raises:
      InputError: a setting cannot work.
    """
    settings = FitSettings(**config.train)
    method = registry.build(config.method, config, registry.AxialSampling())
    rates = optimizer.ends(config.optimizer.rates.to_dict())
    return Hyper(rates, dict(method.weights), settings.ema_decay)


def group(trials: Sequence[Trial], limit: int = 0) -> list[TrialBatch]:
    """Group the trials that one program can fit into batches.

    Args:
      trials: trials with a problem are left out.
      limit: the most trials in a batch; 0: no limit.

    Raises:
      InputError: the limit is below 0.
    """
    if limit < 0:
        raise InputError(f"rows_per_unit: got {limit}, wanted 0 (all) or more")
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        if not trial.problem:
            alike.setdefault(static_part(trial.config, trial.hyper), []).append(trial)
    batches = []
    for static, members in alike.items():
        size = limit or len(members)
        for first in range(0, len(members), size):
            key = hashlib.sha256(f"{static} {first}".encode()).hexdigest()[:12]
            batches.append(TrialBatch(key, tuple(members[first : first + size])))
    return batches


def static_part(config: config_dict.ConfigDict, hyper: Hyper) -> str:
    """Serialize a config without its traced numbers; equal texts share one program."""
    plain = json.loads(config.to_json())
    del plain["train"]["ema_decay"]
    plain["optimizer"]["rates"] = sorted(hyper.rates)
    for name in hyper.weights:
        *sections, last = name.split(".")
        del functools.reduce(operator.getitem, sections, plain[config.method])[last]
    return json.dumps(plain, sort_keys=True)
