"""Fit every block of a volume, chunk by chunk, and go on where a killed run stopped.

Letters: S fits of a chunk, n steps of a dispatch.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.errors import FitError, InputError
from emgauss_jax.training import checkpoint, metrics_log
from emgauss_jax.training.block_axis import block_axis
from emgauss_jax.training.chunk_plan import checkpoints_of, read_chunks, share_out, write_chunks
from emgauss_jax.training.failures import Failure, by_fit, find, retire
from emgauss_jax.training.preemption import Preempted, watched
from emgauss_jax.training.problem import FitSettings, Problem, start_chunk
from emgauss_jax.training.state import State

CPU_BLOCKS = 4  # vmapping 4 blocks saves 12 % a block; more gives nothing


def blocks_at_once(problem: Problem) -> int:
    """Ask the compiler how many fits the memory holds, from the step of a single one.

    On a CPU at most CPU_BLOCKS, and without asking, unless `memory_gb` is given: compiling a step
    to learn that there is room for a few would take longer than it saves.
    """
    settings, on_cpu = problem.template.settings, jax.default_backend() == "cpu"
    at_once = settings.blocks_per_chunk or block_axis(problem.template.method).at_once
    if at_once:
        return at_once
    at_most = min(CPU_BLOCKS if on_cpu else problem.count, problem.count)
    if at_most == 1 or (on_cpu and not settings.memory_gb):
        return at_most
    return max(1, int(min(at_most, _memory(settings) / step_bytes(problem, 1))))


def step_bytes(problem: Problem, count: int) -> int:
    """Bytes that a step of some fits at once takes, by the compiler's own account.

    The state counts twice, before and after, though a fit donates it: rather too much.
    """
    start = jax.eval_shape(lambda: start_chunk(problem, [0] * count))
    used = jax.jit(problem.template.program.step).lower(*start).compile().memory_analysis()
    return used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes


def _memory(settings: FitSettings) -> float:
    """Bytes that a device may use: `memory_gb`, or 80 % of what the device says it has."""
    if settings.memory_gb:
        return settings.memory_gb * 2**30
    return 0.8 * jax.local_devices()[0].memory_stats()["bytes_limit"]


def fit(
    problem: Problem,
    workdir: pathlib.Path | None = None,
    watch: metrics_log.Watch = metrics_log.unwatched,
) -> Any:
    """Fit all blocks; what is done already is not done again.

    Args:
      problem: the blocks, the method and the settings.
      workdir: gets checkpoints/ and metrics.jsonl; finished chunks and steps are not done again.
        None: nothing is written to disk.
      watch: is told how many of all steps are done, after every dispatch.

    Returns:
      The teachers' parameters, numpy leaves [fits, ...]; of a sweep, all blocks with its first
      hyper-parameters come first. Those of a fit that failed mean nothing.

    Raises:
      InputError: it was begun with other hyper-parameters or another seed, or a checkpoint is
        damaged.
      FitError: a parameter is not finite, or tiles overflow; says at which step. In a
        sweep such a fit is logged, and the others go on.
      Preempted: the process got SIGTERM; it has been saved.
    """
    template, axis = problem.template, block_axis(problem.template.method)
    chunks = read_chunks(workdir, problem.hypers) if workdir else None
    if chunks is None:
        chunks = share_out(problem.count, blocks_at_once(problem), axis.devices(problem.count))
        if workdir:
            write_chunks(workdir, problem.hypers, chunks)
    # A fit may go on with other devices than it began with: use as many as share evenly.
    shared_out = axis.shared_out(template.method, len(chunks[0]))
    devices = max(n for n in range(1, jax.local_device_count() + 1) if shared_out % n == 0)
    teachers: dict[int, Any] = {}
    with metrics_log.progress(len(chunks) * template.settings.steps, watch) as advance:
        for chunk, indices in enumerate(chunks):
            state = _fit_chunk(problem, devices, workdir, (chunk, indices), advance)
            teacher = jax.device_get(state.teacher)
            for place, index in enumerate(indices):
                teachers[index] = jax.tree.map(lambda leaf, p=place: leaf[p], teacher)
    return jax.tree.map(lambda *leaf: np.stack(leaf), *(teachers[i] for i in sorted(teachers)))


def _fit_chunk(problem, devices, workdir, named_chunk, advance) -> State:
    """Fit one chunk from its newest checkpoint to the last step."""
    settings, (chunk, indices) = problem.template.settings, named_chunk
    state, *given = start_chunk(problem, indices)
    kept = workdir and checkpoints_of(workdir, chunk)
    if kept:
        state = _resumed(kept, state, given)
    done = int(state.step)
    advance(done)
    if done == settings.steps:
        return state
    gather = problem.template.program.advance(1, devices).gather
    with (
        metrics_log.open_metrics(workdir, chunk, done) as file,
        watched() if kept else contextlib.nullcontext(lambda: False) as preempted,
    ):
        lost = set(metrics_log.read_failures(workdir)) & set(indices)
        begun = (state, *given)
        for state in _dispatches(problem, devices, named_chunk, begun, lost, file):
            before, done = done, int(np.max(state.step))
            advance(done - before)
            every, stop = settings.checkpoint_every, preempted()
            if kept and (stop or done == settings.steps or done // every > before // every):
                metrics_log.sync(file)
                checkpoint.save(kept, done, _kept(gather(state), given))
            if stop:
                raise Preempted(f"SIGTERM at step {done}: saved, the same command goes on")
    return gather(state)


def _kept(state: State, given: Sequence[Any]) -> dict[str, Any]:
    """Name what a checkpoint holds: the state, and the keys of its fits."""
    return {"state": state, "keys": jax.random.key_data(given[1])}


def _resumed(folder: pathlib.Path, state: State, given: Sequence[Any]) -> State:
    """Go on from the newest checkpoint of a chunk, or from its start where there is none.

    Raises:
      InputError: it is of other parameters, or of fits with other keys.
    """
    begun = _kept(state, given)
    found = checkpoint.restore(folder, begun)
    if found is None:
        return state
    if not np.array_equal(found["keys"], begun["keys"]):
        raise InputError(f"{folder}: got the keys of other fits, wanted those of this seed")
    return jax.tree.map(jnp.asarray, found["state"])


def _dispatches(problem, devices, named_chunk, begun, lost: set[int], file) -> Iterator[State]:
    """Advance a chunk to its last step, or until all its fits have failed; log every dispatch.

    Args:
      begun: its state, blocks, keys and hyper-parameters.
      lost: its fits that have failed before.
      file: the open log.

    Yields:
      The state after every dispatch, spread over devices.
    """
    template, (chunk, indices) = problem.template, named_chunk
    settings, advance = template.settings, template.program.advance
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
            raise FitError(f"{min(found.values())}")
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
