"""The --config flag: find a file of configs/ by name, load it, read the flags that change it."""

import copy
import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_dict, config_flags

from emgauss_jax.data.errors import InputError
from emgauss_jax.storage.known_configs import known_configs
from emgauss_jax.storage.run_dir import with_later_settings

flags.disclaim_key_flags()  # --help lists a flag with the command that has it defined here
NEEDED = ("method", "seed", "keep_observed", "data", "block", "train", "optimizer")  # of a config
# What a key or a value that a config does not know may raise in `config_flags`.
BAD_FLAGS = (flags.Error, AttributeError, LookupError, TypeError, ValueError)


def find_config(name: str, folder: str = "") -> pathlib.Path:
    """Find a config file: a path as it is given, else a file of configs/ with or without `.py`.

    Args:
      name: a path or a name, such as "emgauss".
      folder: see `known_configs`.

    Raises:
      InputError: neither is there; the message lists the names.
    """
    if pathlib.Path(name).is_file():
        return pathlib.Path(name)
    known = known_configs(folder)
    if name.removesuffix(".py") not in known:
        raise InputError(f"config: got {name}, wanted a file or one of {', '.join(known)}")
    return known[name.removesuffix(".py")]


def load_config(name: str) -> config_dict.ConfigDict:
    """Load a config by path or name; its keys are fixed.

    Raises:
      InputError: there is no such file, or it is no Python with `get_config()`.
    """
    file = find_config(name)
    try:
        config = with_later_settings(runpy.run_path(str(file))["get_config"]())
        config.lock()
    except (Exception, SystemExit) as error:  # it is Python of the user's
        reason = f"{type(error).__name__} {error}"
        raise InputError(f"{file}: got {reason}, wanted Python with get_config()") from error
    if lacks := [key for key in NEEDED if key not in config]:
        raise InputError(f"{file}: got a config without {lacks}, wanted all of {list(NEEDED)}")
    return config


def changed(config: config_dict.ConfigDict, changes: Mapping[str, Any]) -> config_dict.ConfigDict:
    """Change keys in a copy of a config; what follows from them in the config follows.

    Args:
      changes: key -> value; a dot is written as two underscores, as in train__steps.

    Raises:
      InputError: a key that the config lacks, a value of another type, or a whole section.
    """
    copied = copy.deepcopy(config)  # with the references from key to key
    copied.lock()
    for name, value in changes.items():
        key, plain = name.replace("__", "."), _plain(value)
        if plain is None or isinstance(plain, Mapping):
            raise InputError(f"{name}: got {value!r}, wanted a value (of a section, name each key)")
        try:
            copied.update_from_flattened_dict({key: plain})
        except (AttributeError, LookupError) as error:
            raise InputError(f"{name}: got {value!r}, wanted a key of the config") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: got {value!r}, wanted another type: {error}") from error
    return copied


def _plain(value: Any) -> Any:
    """Turn arrays, their numbers, ranges and lists into what a config holds."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(value) if isinstance(value, list | range) else value


class _Parser(flags.ArgumentParser):
    """Load a config by path or name; that of `config_flags` ends a path at the colon of C:."""

    def parse(self, name: str) -> Any:
        """Return the config."""
        return load_config(name)


def define_config_flag(
    values: flags.FlagValues = flags.FLAGS, argv: list[str] | None = None
) -> None:
    """Define --config=NAME, and with it --config.KEY=VALUE for all that is in the config.

    Args:
      values: the flags to define it among.
      argv: what they will be parsed from; None: the process's own.
    """
    about = f"A file with get_config(), or a name: {', '.join(known_configs())}."
    config_flags.DEFINE_config_file("config", None, about, values, sys_argv=argv)
    values["config"].parser = _Parser()


def parse_flags(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Parse flags; return what is none.

    Raises:
      InputError: a flag or a key that is not known, or a value of another kind.
    """
    try:
        return values(argv)
    except BAD_FLAGS as error:
        if isinstance(error.__context__, InputError):  # raised in `_Parser`, and absl wraps it
            raise error.__context__ from error.__context__.__cause__
        why = error.args[0] if isinstance(error, LookupError) else error  # of these, str is a repr
        raise InputError(f"flags: {why}, wanted a flag or a key of the config") from error
