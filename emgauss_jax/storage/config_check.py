"""Check a config that was read from a file, which somebody else may have written.

What settings there are, and of which type, is told by the configs that come with the package.
"""

import math
from collections.abc import Sequence
from typing import Any

from emgauss_jax.data.errors import InputError
from emgauss_jax.storage.known_configs import examples

FREE = ("optimizer.rates", "optimizer.start")  # named by a method's arrays, of numbers alone
TEXTS = ("data.paths",)  # lists of texts that are empty in every example; all others are of numbers
LARGEST = 2**53  # of a whole number: JSON has them larger
LETTERS = 2**20  # of a text: the depths of many slices, at most


def check_config(config: Any, source: Any) -> None:
    """Raise unless a config has the settings of its method and no others, of their types.

    Args:
      config: as JSON has it.
      source: the file, for the message.

    Raises:
      InputError: a setting is not known, or lacks, or has a value that it cannot have; it is named.
    """
    if not isinstance(config, dict):
        raise InputError(f"{source}: got {_short(config)}, wanted an object")
    known = [each for each in examples() if each["method"] == config.get("method")]
    own = {config["method"]} if not known and isinstance(config.get("method"), str) else set()
    # Of a method that comes with no config of the package, its own section is not known.
    shared = [_without_own(each) for each in examples()] if own else known
    shared = shared or list(examples())
    rest = {name: value for name, value in config.items() if name not in own}
    _check(rest, shared, "config", source)
    for name in own & config.keys():
        _check_plain(config[name], f"config.{name}", source)


def _without_own(example: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a config has for its method alone."""
    return {name: value for name, value in example.items() if name != example["method"]}


def _check(value: Any, wanted: Sequence[Any], name: str, source: Any) -> None:
    """Check a value against those that examples have at its place."""
    if name.removeprefix("config.") in FREE:
        _check_plain(value, name, source)
        return
    if name.removeprefix("config.") in TEXTS:
        wanted = [("",)]
    sections = [each for each in wanted if isinstance(each, dict)]
    if not sections:
        if not any(_is_like(value, each) for each in wanted):
            kinds = " or ".join(dict.fromkeys(map(_kind, wanted)))
            raise InputError(f"{source}: {name}: got {_short(value)}, wanted {kinds}")
        return
    if not isinstance(value, dict):
        raise InputError(f"{source}: {name}: got {_short(value)}, wanted a section")
    _check_section(value, sections, name, source)


def _check_section(
    values: dict[str, Any], wanted: Sequence[dict[str, Any]], name: str, source: Any
) -> None:
    known = {key for each in wanted for key in each}
    needed = set.intersection(*(set(each) for each in wanted))
    if odd := sorted(values.keys() - known):
        raise InputError(
            f"{source}: {name}.{_short(odd[0])}: got an unknown key, wanted one of {sorted(known)}"
        )
    if lacks := sorted(needed - values.keys()):
        raise InputError(f"{source}: {name}.{lacks[0]}: got no such key, wanted it")
    for key, value in values.items():
        _check(value, [each[key] for each in wanted if key in each], f"{name}.{key}", source)


def _is_like(value: Any, example: Any) -> bool:
    """Tell whether a value has the type of an example, and is no absurd number."""
    if isinstance(example, list | tuple):
        alike = isinstance(value, list | tuple)
        if not alike or not example or isinstance(example[0], str):
            element = example[0] if example else 0
            return alike and all(_is_like(each, element) for each in value)
        pairs = zip(value, example, strict=False)
        return len(value) == len(example) and all(_is_like(one, other) for one, other in pairs)
    if isinstance(example, bool | str) or isinstance(value, bool | str):
        is_short = not isinstance(value, str) or len(value) <= LETTERS
        return type(value) is type(example) and is_short
    return _is_number(value, whole=isinstance(example, int))


def _is_number(value: Any, whole: bool) -> bool:
    kinds = int if whole else int | float
    if not isinstance(value, kinds) or isinstance(value, bool):
        return False
    return abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value)


def _check_plain(value: Any, name: str, source: Any) -> None:
    """Check that nothing but finite numbers, texts and switches stands in a section."""
    if isinstance(value, dict):
        for key, each in value.items():
            _check_plain(each, f"{name}.{_short(key)}", source)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_plain(each, name, source)
    elif not isinstance(value, bool | str) and not _is_number(value, whole=False):
        raise InputError(f"{source}: {name}: got {_short(value)}, wanted a finite number or text")


def _kind(example: Any) -> str:
    """Name the type of an example."""
    if isinstance(example, list | tuple):
        texts = example and isinstance(example[0], str)
        count = "" if texts or not example else f"{len(example)} "
        return f"a list of {count}{'texts' if texts else 'numbers'}"
    words = {bool: "true or false", int: "int", float: "a finite number", str: "text"}
    return words.get(type(example), type(example).__name__)


def _short(value: Any) -> str:
    """Print a value in a few letters; a number of thousands of digits cannot be printed."""
    if isinstance(value, int) and abs(value) > 10**20:
        return "a number of more than 20 digits"
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
