"""The files of configs/: the wheel holds them as `emgauss_jax.configs`, a checkout beside it."""

import functools
import pathlib
import runpy
from typing import Any


def known_configs(folder: str = "") -> dict[str, pathlib.Path]:
    """List the configs that come with the package: name -> file.

    Args:
      folder: "" for configs/ itself, "sweeps" for configs/sweeps/.
    """
    package = pathlib.Path(__file__).parents[1]
    root = package if (package / "configs").is_dir() else package.parent  # a wheel, or a checkout
    return {path.stem: path for path in sorted((root / "configs" / folder).glob("*.py"))}


@functools.cache
def examples() -> tuple[dict[str, Any], ...]:
    """Load all of them: what settings there are, and of which type."""
    made = (runpy.run_path(str(file))["get_config"]() for file in known_configs().values())
    return tuple(config.to_dict() for config in made)
