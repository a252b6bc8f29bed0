"""What came of a sweep: which of its hyper-parameters failed, and the fit of each as one alone."""

import pathlib
from typing import Any

import jax

from emgauss_jax.training import metrics_log
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.problem import Problem


def failed(problem: Problem, workdir: pathlib.Path) -> dict[int, Failure]:
    """Read which hyper-parameters of a sweep failed, and the first failure of each.

    Args:
      problem: the sweep, fitted.
      workdir: where it was fitted.

    Returns:
      Place in `problem.sweep` -> failure; one block that failed is enough.
    """
    found: dict[int, Failure] = {}
    for index, failure in metrics_log.read_failures(workdir).items():
        which = index // problem.block_count
        found[which] = min(found.get(which, failure), failure)
    return found


def pick(problem: Problem, teachers: Any, which: int) -> Any:
    """Pick the teachers of one of a sweep's hyper-parameters out of what `fit` returned.

    Returns:
      As `fit` of this one alone: numpy leaves [blocks, ...].
    """
    first = which * problem.block_count
    return jax.tree.map(lambda leaf: leaf[first : first + problem.block_count], teachers)
