"""Fit every block of a volume, chunk by chunk, and go on where a killed run stopped.

Letters: S fits of a chunk, n steps of a dispatch.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.training import checkpoint, log
from emgauss_jax.training.preemption import Preempted, watched
from emgauss_jax.training.problem import FitSettings, Problem, start_chunk
from emgauss_jax.training.state import State

CPU_BLOCKS = 4  # at once under vmap, which saves an eighth of each one's time; more save no more

# Metrics that must stay 0, and what to do about them.
FAILURES = {
    "nonfinite": "lower the learning rates",
    "tile_overflow": "raise emgauss.render.capacity",
}


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
      hyper-parameters come first.

    Raises:
      ValueError: it was begun with other hyper-parameters.
      FloatingPointError: a parameter is not finite, or tiles overflow; says at which step.
      Preempted: the process got SIGTERM; it has been saved.
    """
    chunks = checkpoint.read_chunks(workdir, problem.hypers)
    if chunks is None:
        devices = min(jax.local_device_count(), problem.count)
        chunks = share_out(problem.count, blocks_at_once(problem), devices)
        checkpoint.write_chunks(workdir, problem.hypers, chunks)
    # A fit may go on with other devices than it began with: use as many as share a chunk evenly.
    devices = max(n for n in range(1, jax.local_device_count() + 1) if len(chunks[0]) % n == 0)
    teachers: dict[int, Any] = {}
    with log.progress(len(chunks) * problem.settings.steps) as bar:
        for chunk, indices in enumerate(chunks):
            state = _fit_chunk(problem, devices, workdir, (chunk, indices), bar)
            teacher = jax.device_get(state.teacher)
            for place, index in enumerate(indices):
                teachers[index] = jax.tree.map(lambda leaf, p=place: leaf[p], teacher)
    return jax.tree.map(lambda *leaf: np.stack(leaf), *(teachers[i] for i in sorted(teachers)))


def _fit_chunk(problem, devices, workdir, named_chunk, bar) -> State:
    """Fit one chunk from its newest checkpoint to the last step."""
    settings, (chunk, indices) = problem.settings, named_chunk
    path = checkpoint.path_of(workdir, chunk)
    state, *given = start_chunk(problem, indices)
    if path.exists():
        state = jax.tree.map(jnp.asarray, checkpoint.read(path, state))
    done = int(state.step)
    bar.update(done)
    if done == settings.steps:
        return state
    with log.open_metrics(workdir / "metrics.jsonl", chunk, done) as file, watched() as preempted:
        advance = problem.program.advance
        mapping = advance(min(settings.steps_per_dispatch, settings.steps), devices)
        state, *given = map(mapping.spread, (state, *given))
        while done < settings.steps:
            count = min(settings.steps_per_dispatch, settings.steps - done)
            state, metrics = advance(count, devices).run(state, *given)
            before, done = done, done + count
            log.write_metrics(file, chunk, done, _checked(metrics, before))
            bar.update(count)
            every, stop = settings.checkpoint_every, preempted()
            if stop or done == settings.steps or done // every > before // every:
                checkpoint.save(path, mapping.gather(state))
            if stop:
                raise Preempted(f"SIGTERM at step {done}: saved, the same command goes on")
    return mapping.gather(state)


def _checked(metrics: Mapping[str, jax.Array], before: int) -> dict[str, float]:
    """Average a dispatch's metrics [..., n, ...]; raise where a step of it failed."""
    host = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
    for name, cure in FAILURES.items():
        if name not in host:  # of another method
            continue
        # [n, S] from one device, [devices, n, S / devices] from several
        steps = host[name].reshape(-1, *host[name].shape[-2:]).max(axis=(0, 2))
        if steps.any():
            at = before + int(np.flatnonzero(steps)[0])
            raise FloatingPointError(f"step {at}: got {name} {steps.max():.0f}, wanted 0: {cure}")
    return {name: float(value.mean()) for name, value in host.items()}
