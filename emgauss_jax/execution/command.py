"""Run a command so that bad input ends in one clear line and a non-zero exit, never a traceback."""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import jax
from absl import app, logging

from emgauss_jax.training.preemption import EXIT_CODE, Preempted

CACHE = "JAX_COMPILATION_CACHE_DIR"
# What bad input raises: told in one line. Anything else is a fault of ours and keeps its traceback.
BAD_INPUT = (ValueError, FloatingPointError, OSError, MemoryError)
BAD_FLAGS = (AttributeError, ImportError, LookupError, OSError, SyntaxError, TypeError, ValueError)


def fail(message: str) -> NoReturn:
    """Print one line to stderr and exit with 2."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(2)


def whole_numbers(name: str, texts: Sequence[str] | None) -> tuple[int, ...]:
    """Read the whole numbers of a list flag; none where it is not given.

    Raises:
      ValueError: anything else.
    """
    try:
        return tuple(int(text) for text in texts or ())
    except ValueError:
        raise ValueError(f"{name}: got {texts}, wanted whole numbers like 7,12") from None


def keep_compiled() -> None:
    """Keep compiled programs between runs, in the user's cache folder."""
    folder = pathlib.Path.home() / ".cache" / "emgauss_jax"
    jax.config.update("jax_compilation_cache_dir", os.environ.get(CACHE, str(folder)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # small programs add up


def run(main: Callable[[], None]) -> None:
    """Parse flags, keep compiled programs between runs, and run a command.

    Args:
      main: the command; takes nothing, reads flags.
    """
    keep_compiled()

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = app.parse_flags_with_usage(argv)
        except BAD_FLAGS as error:
            fail(f"flags: {error}, wanted a key of the config")
        if rest[1:]:
            fail(f"arguments: got {rest[1:]}, wanted flags only")
        return rest

    def guarded(argv: list[str]) -> None:
        del argv
        logging.set_verbosity(logging.WARNING)
        try:
            main()
        except Preempted as stopped:
            print(f"{stopped}", file=sys.stderr)
            sys.exit(EXIT_CODE)
        except BAD_INPUT as error:
            fail(f"{error}")

    app.run(guarded, flags_parser=parse)
