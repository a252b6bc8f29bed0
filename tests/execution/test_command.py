"""What a command tells in one line, and what keeps its traceback."""

import errno
import subprocess
import sys

import pytest

from emgauss_jax.data.errors import FitError, InputError
from emgauss_jax.execution.command import told_in_a_line
from tests.tiny_runs import ROOT

SCRIPT = """
import jax.numpy as jnp
from emgauss_jax.data.errors import InputError
from emgauss_jax.execution import command
def main():
    {}
command.run(main)
"""
SHAPE_BUG = "jnp.zeros(3) @ jnp.zeros(4)"
BAD_INPUT = "raise InputError('steps: got 0, wanted 1')"


@pytest.mark.parametrize(
    ("body", "flags", "lines"),
    [(BAD_INPUT, [], 1), (SHAPE_BUG, [], None), (BAD_INPUT, ["--debug"], None)],
)
def test_a_fault_of_ours_keeps_its_traceback(body, flags, lines):
    start = [sys.executable, "-c", SCRIPT.format(body), *flags]
    done = subprocess.run(start, capture_output=True, text=True, cwd=ROOT)
    told = done.stderr.strip().splitlines()
    assert done.returncode != 0
    if lines:
        assert told == ["error: steps: got 0, wanted 1"]
    else:
        assert told[0].startswith("Traceback") and "in main" in done.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("x"), True),
        (FitError("step 3"), True),
        (MemoryError(), True),
        (OSError(errno.ENOSPC, "no space"), True),
        (PermissionError(errno.EACCES, "no permission"), True),
        (ValueError("shapes"), False),
        (FloatingPointError("x"), False),
        (TypeError("x"), False),
        (FileNotFoundError(errno.ENOENT, "of a path that we made up"), False),
    ],
)
def test_what_is_told_in_a_line(error, told):
    assert told_in_a_line(error) is told
