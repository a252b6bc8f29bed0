"""Run a command: what a user can put right ends it in one line, a fault of ours in a traceback.

`emgauss NAME` is `python -m emgauss_jax.NAME`.
"""

import errno
import os
import runpy
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

import emgauss_jax
from emgauss_jax.data.errors import FitError, InputError
from emgauss_jax.execution.compiled import keep_compiled
from emgauss_jax.execution.config_file import parse_flags
from emgauss_jax.execution.tpu_pods import refuse_tpu_pods
from emgauss_jax.storage.known_configs import known_configs
from emgauss_jax.training.preemption import EXIT_CODE, Preempted, end_at_sigterm

flags.disclaim_key_flags()  # --debug is listed with the command, as in `config_file`
COMMANDS = {
    "train": "fit a volume, write the isotropic one and its report",
    "reconstruct": "draw a fitted volume at other depths, or another one with its network",
    "evaluate": "score a volume against a reference",
    "sweep": "train many configs and tabulate them",
}
# What a user can put right.
BAD_INPUT = (InputError, FitError)
# No space, quota, permission or handle left: the machine's, and told in one line too.
MACHINE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE")
    if hasattr(errno, name)  # Windows knows fewer
}


def fail(message: str) -> NoReturn:
    """Print one line to stderr and exit with 2."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(2)


def told_in_a_line(error: BaseException) -> bool:
    """Tell whether an exception is the user's to put right, or the machine's, and no fault here."""
    if isinstance(error, OSError):
        return error.errno in MACHINE
    return isinstance(error, BAD_INPUT) or _out_of_memory(error)


def _out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, of the machine or of a device."""
    of_device = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return of_device or isinstance(error, MemoryError)


def line_of(error: BaseException) -> str:
    """Tell an error in a line: of a fault of ours its kind too."""
    text = " ".join(str(error).split())
    if _out_of_memory(error):
        return f"memory: got {text or 'none left'}, wanted more: smaller regions (block.region)"
    return text if told_in_a_line(error) else f"{type(error).__name__}: {text}"


def whole_numbers(name: str, texts: Sequence[str] | None) -> tuple[int, ...]:
    """Read the whole numbers of a list flag; none where it is not given.

    Raises:
      InputError: anything else.
    """
    try:
        return tuple(int(text) for text in texts or ())
    except ValueError:
        raise InputError(f"{name}: got {texts}, wanted whole numbers like 7,12") from None


def lengths(name: str, texts: Sequence[str]) -> tuple[float, float, float]:
    """Read the voxel size of a list flag, nm (z, y, x).

    Raises:
      InputError: anything but three numbers.
    """
    try:
        z, y, x = (float(text) for text in texts)
    except ValueError:
        raise InputError(f"{name}: got {texts}, wanted three numbers (z, y, x)") from None
    return z, y, x


def _leave_out_orbax(ended: threading.ExceptHookArgs) -> None:
    """Print how a thread has ended, but for those of orbax, which raises it to us, too."""
    if not type(ended.thread).__module__.startswith("orbax"):
        threading.__excepthook__(ended)


def _leave_out_closed_loops(unraisable: Any) -> None:
    """Print what no handler has caught, but not what follows an error of orbax.

    It leaves reads and writes of tensorstore behind, whose ends nobody waits for.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def stop(stopped: Preempted) -> NoReturn:
    """Print where a process that was asked to end has stopped, and exit with 143."""
    print(f"{stopped}", file=sys.stderr)
    sys.exit(EXIT_CODE)


def run(main: Callable[[], None]) -> None:
    """Parse flags, keep compiled programs between runs, and run a command.

    Args:
      main: the command; takes nothing, reads flags.
    """
    keep_compiled()
    sys.unraisablehook = _leave_out_closed_loops
    threading.excepthook = _leave_out_orbax

    if "debug" not in flags.FLAGS:
        flags.DEFINE_bool("debug", False, "Show the traceback of bad input too.")

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = parse_flags(flags.FLAGS, argv)
        except SystemExit:  # absl exits with 1 where it was asked for help
            sys.exit(0)
        except InputError as error:
            if "--debug" in argv:
                raise
            fail(f"{error}")
        if rest[1:]:
            fail(f"arguments: got {rest[1:]}, wanted flags only")
        return rest

    def guarded(argv: list[str]) -> None:
        del argv
        logging.set_verbosity(logging.WARNING)
        end_at_sigterm()
        try:
            refuse_tpu_pods(os.environ)
            main()
        except Preempted as stopped:
            stop(stopped)
        except Exception as error:
            if flags.FLAGS.debug or not told_in_a_line(error):
                raise
            fail(line_of(error))

    app.run(guarded, flags_parser=parse)


def dispatch() -> None:
    """Run the command that the first argument names; without one, say which there are."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name == "--version":
        print(f"emgauss_jax {emgauss_jax.__version__}")
    elif name in ("--help", "-h"):
        print(_overview())
    elif name in COMMANDS:
        sys.argv[1:] = rest
        runpy.run_module(f"emgauss_jax.{name}", run_name="__main__", alter_sys=True)
    else:
        fail(f"command: got {name}, wanted one of {', '.join(COMMANDS)}")


def _overview() -> str:
    """Say in a few lines what commands and configs there are."""
    commands = [f"emgauss {name:12} {about}" for name, about in COMMANDS.items()]
    configs = [
        f"{kind}: {', '.join(known_configs(folder))}"
        for kind, folder in (("configs", ""), ("sweeps", "sweeps"))
    ]
    first = "emgauss train --config=demo --workdir=demo"
    return "\n".join([*commands, *configs, f"Flags: emgauss NAME --help. To begin with: {first}"])
