"""What came of a sweep: which of its hyper-parameters failed, and the fit of each as one alone."""

import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp

from emgauss_jax.training import checkpoint, log
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.problem import Problem
from emgauss_jax.training.state import init_state


def failed(problem: Problem, workdir: pathlib.Path) -> dict[int, Failure]:
    """Read which hyper-parameters of a sweep failed, and the first failure of each.

    Args:
      problem: the sweep, fitted.
      workdir: where it was fitted.

    Returns:
      Place in `problem.sweep` -> failure; one block that failed is enough.
    """
    found: dict[int, Failure] = {}
    for index, failure in log.read_failures(workdir / log.FILE).items():
        which = index // problem.block_count
        found[which] = min(found.get(which, failure), failure)
    return found


def store(
    problem: Problem, teachers: Any, which: int, source: pathlib.Path, workdir: pathlib.Path
) -> Any:
    """Write the fit of one of a sweep's hyper-parameters as if it had been made alone.

    Args:
      problem: the sweep, fitted.
      teachers: what `fit` returned for it.
      which: place in `problem.sweep`.
      source: where it was fitted.
      workdir: gets what `fit` would have written there, for `fit` to read; what an earlier call
        left half written is written anew.

    Returns:
      The teachers' parameters of this one, numpy leaves [blocks, ...].
    """
    shutil.rmtree(workdir / checkpoint.FOLDER, ignore_errors=True)
    blocks = range(problem.block_count)
    first = which * len(blocks)
    mine = jax.tree.map(lambda leaf: leaf[first : first + len(blocks)], teachers)
    for block in blocks:
        one = jax.tree.map(lambda leaf, i=block: jnp.asarray(leaf[i : i + 1]), mine)
        state = init_state(one)._replace(step=jnp.int32(problem.settings.steps))
        with checkpoint.open_checkpoints(workdir, block) as manager:
            checkpoint.save(manager, state)
    log.copy_metrics(source / log.FILE, workdir / log.FILE, which)
    checkpoint.write_chunks(workdir, [problem.hypers[which]], [[block] for block in blocks])
    return mine
