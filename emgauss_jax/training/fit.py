"""Fit every block of a volume, chunk by chunk, and go on where a killed run stopped.

Letters: S fits of a chunk, n steps of a dispatch.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.training import chunk_plan, metrics_log
from emgauss_jax.training.failures import Failure, by_fit, find, retire
from emgauss_jax.training.preemption import Preempted, watched
from emgauss_jax.training.problem import FitSettings, Problem, start_chunk
from emgauss_jax.training.state import State

CPU_BLOCKS = 4  # at once under vmap, which saves an eighth of each one's time; more save no more


def share_out(count: int, limit: int, devices: int) -> list[list[int]]:
    """Share fits out over equal chunks; a short last chunk repeats its last one.

    Args:
      count: fits.
      limit: how many a device takes at once.
      devices: each takes an equal part of every chunk.

    Returns:
      Indices of the fits of each chunk.
    """
    chunks = -(-count // (limit * devices))
    size = -(-count // (chunks * devices)) * devices
    return [[min(c * size + i, count - 1) for i in range(size)] for c in range(chunks)]


def blocks_at_once(problem: Problem) -> int:
    """Ask the compiler how many fits the memory holds, from the step of a single one.

    On a CPU at most CPU_BLOCKS, and without asking, unless `memory_gb` is given: compiling a step
    to learn that there is room for a few would take longer than it saves.
    """
    settings, on_cpu = problem.settings, jax.default_backend() == "cpu"
    if settings.blocks_per_chunk:
        return settings.blocks_per_chunk
    if not problem.method.per_block:
        return 1  # every fit has a copy of all blocks
    at_most = min(CPU_BLOCKS if on_cpu else problem.count, problem.count)
    if at_most == 1 or (on_cpu and not settings.memory_gb):
        return at_most
    return max(1, int(min(at_most, _memory(settings) / step_bytes(problem, 1))))


def step_bytes(problem: Problem, count: int) -> int:
    """Bytes that a step of some fits at once takes, by the compiler's own account.

    The state counts twice, before and after, though a fit donates it: rather too much.
    """
    start = jax.eval_shape(lambda: start_chunk(problem, [0] * count))
    used = jax.jit(problem.program.step).lower(*start).compile().memory_analysis()
    return used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes


def _memory(settings: FitSettings) -> float:
    """Bytes that a device may use: `memory_gb`, or 80 % of what the device says it has."""
    if settings.memory_gb:
        return settings.memory_gb * 2**30
    return 0.8 * jax.local_devices()[0].memory_stats()["bytes_limit"]


def fit(problem: Problem, workdir: pathlib.Path) -> Any:
    """Fit all blocks; what is done already is not done again.

    Args:
      problem: the blocks, the method and the settings.
      workdir: gets checkpoints/ and metrics.jsonl; finished chunks and steps are not done again.

    Returns:
      The teachers' parameters, numpy leaves [fits, ...]; of a sweep, all blocks with its first
      hyper-parameters come first. Those of a fit that failed mean nothing.

    Raises:
      ValueError: it was begun with other hyper-parameters.
      FloatingPointError: a parameter is not finite, or tiles overflow; says at which step. In a
        sweep such a fit is logged, and the others go on.
      Preempted: the process got SIGTERM; it has been saved.
    """
    chunks = chunk_plan.read_chunks(workdir, problem.hypers)
    if chunks is None:
        devices = min(jax.local_device_count(), problem.count) if problem.method.per_block else 1
        chunks = share_out(problem.count, blocks_at_once(problem), devices)
        chunk_plan.write_chunks(workdir, problem.hypers, chunks)
    # A fit may go on with other devices than it began with: use as many as share evenly.
    shared_out = len(chunks[0]) if problem.method.per_block else problem.method.batch
    devices = max(n for n in range(1, jax.local_device_count() + 1) if shared_out % n == 0)
    teachers: dict[int, Any] = {}
    with metrics_log.progress(len(chunks) * problem.settings.steps) as bar:
        for chunk, indices in enumerate(chunks):
            state = _fit_chunk(problem, devices, workdir, (chunk, indices), bar)
            teacher = jax.device_get(state.teacher)
            for place, index in enumerate(indices):
                teachers[index] = jax.tree.map(lambda leaf, p=place: leaf[p], teacher)
    return jax.tree.map(lambda *leaf: np.stack(leaf), *(teachers[i] for i in sorted(teachers)))


def _fit_chunk(problem, devices, workdir, named_chunk, bar) -> State:
    """Fit one chunk from its newest checkpoint to the last step."""
    settings, (chunk, indices) = problem.settings, named_chunk
    path = chunk_plan.path_of(workdir, chunk)
    state, *given = start_chunk(problem, indices)
    if path.exists():
        state = jax.tree.map(jnp.asarray, chunk_plan.read(path, state))
    done = int(state.step)
    bar.update(done)
    if done == settings.steps:
        return state
    gather = problem.program.advance(1, devices).gather
    with (
        metrics_log.open_metrics(workdir / metrics_log.FILE, chunk, done) as file,
        watched() as preempted,
    ):
        lost = set(metrics_log.read_failures(workdir / metrics_log.FILE)) & set(indices)
        begun = (state, *given)
        for state in _dispatches(problem, devices, named_chunk, begun, lost, file):
            before, done = done, int(np.max(state.step))
            bar.update(done - before)
            every, stop = settings.checkpoint_every, preempted()
            if stop or done == settings.steps or done // every > before // every:
                chunk_plan.save(path, gather(state))
            if stop:
                raise Preempted(f"SIGTERM at step {done}: saved, the same command goes on")
    return gather(state)


def _dispatches(problem, devices, named_chunk, begun, lost: set[int], file) -> Iterator[State]:
    """Advance a chunk to its last step, or until all its fits have failed; log every dispatch.

    Args:
      begun: its state, blocks, keys and hyper-parameters.
      lost: its fits that have failed before.
      file: the open log.

    Yields:
      The state after every dispatch, spread over devices.
    """
    settings, advance, (chunk, indices) = problem.settings, problem.program.advance, named_chunk
    mapping = advance(min(settings.steps_per_dispatch, settings.steps), devices)
    done = int(begun[0].step)
    state, *given = map(mapping.spread, _without(problem, indices, lost, begun))
    while done < settings.steps:
        count = min(settings.steps_per_dispatch, settings.steps - done)
        state, metrics = advance(count, devices).run(state, *given)
        metrics = by_fit(metrics)
        found = {indices[place]: failure for place, failure in find(metrics, done).items()}
        found = {fit: failure for fit, failure in found.items() if fit not in lost}
        if found and not problem.sweep:
            raise FloatingPointError(f"{min(found.values())}")
        done, lost = done + count, lost | found.keys()
        _log(problem, file, (chunk, done, indices), metrics, found, lost)
        if found:  # its others are to go on
            begun = (mapping.gather(state), *map(mapping.gather, given))
            state, *given = map(mapping.spread, _without(problem, indices, lost, begun))
        if lost == set(indices):
            done = settings.steps
            state = state._replace(step=jnp.full_like(state.step, done))
        yield state


def _without(problem: Problem, indices: Sequence[int], lost: set[int], begun: tuple) -> tuple:
    """Take the fits that are lost out of a chunk's state and hyper-parameters."""
    if not lost:
        return begun
    state, *given, hyper = begun
    places = [place for place, index in enumerate(indices) if index in lost]
    state, hyper = retire(state, hyper, start_chunk(problem, indices)[0], places)
    return (state, *given, hyper)


def _log(problem, file: TextIO, at, metrics, found: Mapping[int, Failure], lost: set[int]) -> None:
    """Log the means of a dispatch and what failed in it; of a sweep, for each hyper-parameters."""
    chunk, done, indices = at
    for fit, failure in found.items():
        metrics_log.write_failure(file, chunk, done, fit, failure)
    if not problem.sweep:
        means = {name: float(value.mean()) for name, value in metrics.items()}
        metrics_log.write_metrics(file, chunk, done, means)
    for which in sorted({index // problem.block_count for index in indices if problem.sweep}):
        mine = [i not in lost and i // problem.block_count == which for i in indices]
        if any(mine):
            means = {name: float(value[:, mine].mean()) for name, value in metrics.items()}
            metrics_log.write_metrics(file, chunk, done, {"hyper": which, **means})
