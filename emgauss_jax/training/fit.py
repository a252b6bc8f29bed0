"""Fit every block of a volume, chunk by chunk, and go on where a killed run stopped.

Letters: S blocks of a chunk, K observed slices, H W block size in px.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.boxes import Box
from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training import checkpoint, log, optimizer, parallel
from emgauss_jax.training.hyper import Hyper, stack
from emgauss_jax.training.state import State, init_params, init_state
from emgauss_jax.training.step import Step, make_advance, make_step

CPU_BLOCKS = 4  # at once under vmap: a block's step takes least time with 2 to 4

# Metrics that must stay 0, and what to do about them.
FAILURES = {
    "nonfinite": "lower the learning rates",
    "tile_overflow": "raise emgauss.render.capacity",
}


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """The plumbing's own settings.

    Raises:
      ValueError: a count that cannot work.
    """

    steps: int
    ema_decay: float  # of the teacher; 0, there is none
    steps_per_dispatch: int
    checkpoint_every: int  # steps
    blocks_per_chunk: int  # fits at once on each device; 0: what `memory_gb` holds
    memory_gb: float  # of each device; 0: what it has

    def __post_init__(self):
        if min(self.steps, self.steps_per_dispatch, self.checkpoint_every) < 1:
            raise ValueError(
                f"train: got steps {self.steps}, steps_per_dispatch {self.steps_per_dispatch}, "
                f"checkpoint_every {self.checkpoint_every}, wanted 1 or more of each"
            )
        if self.blocks_per_chunk < 0 or not self.memory_gb >= 0:
            raise ValueError(
                f"train: got blocks_per_chunk {self.blocks_per_chunk} and memory_gb "
                f"{self.memory_gb}, wanted 0 or more of both"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay: got {self.ema_decay}, wanted 0 <= decay < 1")


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted, and how."""

    method: Method
    blocks: Block  # every leaf [blocks of the volume, ...]
    key: jax.Array  # of the run; each block folds its own index in
    rates: Mapping[str, Any]  # learning rates, see `training.optimizer`
    start: Mapping[str, int]
    settings: FitSettings
    sweep: tuple[Hyper, ...] = ()  # fit every block once with each of these; (): as configured

    @property
    def count(self) -> int:
        """Fits: the blocks of the volume, as often as there are hyper-parameters to try."""
        return self.blocks.slices.shape[0] * len(self.hypers)

    @property
    def hypers(self) -> tuple[Hyper, ...]:
        """Hyper-parameters of the fits: those of the sweep, or what rates and settings say."""
        return self.sweep or (self.configured,)

    @property
    def configured(self) -> Hyper:
        """The hyper-parameters that the run's own config names."""
        rates = optimizer.ends(self.rates)
        return Hyper(rates, dict(self.method.weights), self.settings.ema_decay)

    @functools.cached_property
    def program(self) -> "Program":
        """What runs it; built once, because a function built anew is traced and compiled anew."""
        return build_program(self)


def cut_blocks(slices: np.ndarray, z: np.ndarray, boxes: Sequence[Box]) -> Block:
    """Cut valid slices into blocks of one shape.

    Args:
      slices: f32[V, H, W] of the volume, intensity in [0, 1].
      z: f32[V], their depths, input-slice units.
      boxes: in voxels of `slices`, all of one shape.

    Returns:
      A block with every leaf [len(boxes), ...]. Boxes count valid slices alone, so no block ends
      inside a run of missing ones.
    """
    along = np.stack([z[box.slices[0]] for box in boxes]).astype(np.float32)
    values = np.stack([slices[box.slices] for box in boxes])
    return Block(values, along, np.ones(along.shape, bool))


def share_out(count: int, limit: int, devices: int) -> list[list[int]]:
    """Share blocks out over equal chunks; a short last chunk repeats its last block.

    Args:
      count: blocks of the volume.
      limit: blocks that fit at once on one device.
      devices: each takes an equal part of every chunk.

    Returns:
      Block indices of each chunk.
    """
    chunks = -(-count // (limit * devices))
    size = -(-count // (chunks * devices)) * devices
    return [[min(c * size + i, count - 1) for i in range(size)] for c in range(chunks)]


class Program(NamedTuple):
    """What serves all chunks, so that nothing is traced or compiled twice."""

    start: Callable[..., Any]  # the parameters of some blocks
    step: Step
    advance: Callable[[int, int], parallel.Mapping]  # by steps a dispatch, devices


def build_program(problem: Problem) -> Program:
    """Build optimizer, step and dispatches; nothing is compiled yet."""
    one = jax.tree.map(lambda leaf: leaf[:1], problem.blocks)
    keys = jax.random.split(problem.key, 1)
    start = jax.jit(functools.partial(init_params, problem.method))
    params = jax.eval_shape(start, one, keys)
    settings = problem.settings
    descend = optimizer.make_descend(params, problem.rates, problem.start, settings.steps)
    step = make_step(problem.method, descend)

    @functools.cache
    def advance(count: int, devices: int) -> parallel.Mapping:
        return parallel.map_blocks(make_advance(step, count), devices)

    return Program(start, step, advance)


def check(problem: Problem) -> None:
    """Trace a dispatch without running it, so that what cannot work is said before anything starts.

    Raises:
      ValueError: from the optimizer, the method or the rasterizer, naming the setting.
    """
    program, settings = problem.program, problem.settings
    count = min(settings.steps_per_dispatch, settings.steps)
    start = jax.eval_shape(lambda: start_chunk(problem, [0]))
    jax.eval_shape(program.advance(count, 1).run, *start)


def start_chunk(problem: Problem, indices: Sequence[int]) -> tuple[State, Block, jax.Array, Hyper]:
    """Start the state of some fits; also return their blocks, keys and hyper-parameters.

    Args:
      indices: fit i is of block i % (blocks of the volume). Its keys depend on the run's key and
        that block alone, not on its chunk nor on the hyper-parameters.
    """
    which, block = np.divmod(np.asarray(indices), problem.blocks.slices.shape[0])
    keys = jax.vmap(lambda i: jax.random.fold_in(problem.key, i))(jnp.asarray(block))
    pairs = jax.vmap(jax.random.split)(keys)
    blocks = jax.tree.map(lambda leaf: jnp.asarray(leaf[block]), problem.blocks)
    hyper = jax.tree.map(jnp.asarray, stack([problem.hypers[i] for i in which]))
    params = problem.program.start(blocks, pairs[:, 0])
    return init_state(params), blocks, pairs[:, 1], hyper


def blocks_at_once(problem: Problem) -> int:
    """Ask the compiler how many fits the memory holds, from the step of a single one.

    On a CPU at most CPU_BLOCKS, because more leave its caches.
    """
    settings = problem.settings
    if settings.blocks_per_chunk:
        return settings.blocks_per_chunk
    if problem.count == 1:
        return 1
    at_most = CPU_BLOCKS if jax.default_backend() == "cpu" else problem.count
    return max(1, min(at_most, int(_memory(settings) / step_bytes(problem, 1))))


def step_bytes(problem: Problem, count: int) -> int:
    """Bytes that a step of some fits at once takes, by the compiler's own account."""
    start = jax.eval_shape(lambda: start_chunk(problem, [0] * count))
    used = jax.jit(problem.program.step).lower(*start).compile().memory_analysis()
    return used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes


def _memory(settings: FitSettings) -> float:
    """Bytes that a device may use: `memory_gb`, or 80 % of what the device says it has."""
    if settings.memory_gb:
        return settings.memory_gb * 2**30
    limits = jax.local_devices()[0].memory_stats() or {}
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0.8 * limits.get("bytes_limit", installed)


def fit(problem: Problem, workdir: pathlib.Path, train: bool = True) -> Any:
    """Fit all blocks, or read the finished fit.

    Args:
      problem: the blocks, the method and the settings.
      workdir: gets checkpoints/ and metrics.jsonl; finished chunks and steps are not done again.
      train: False only reads.

    Returns:
      The teachers' parameters, numpy leaves [fits, ...]; of a sweep, all blocks with its first
      hyper-parameters come first.

    Raises:
      ValueError: `train` is False and the fit is not finished.
      FloatingPointError: a parameter is not finite, or tiles overflow; says at which step.
    """
    chunks = checkpoint.read_chunks(workdir)
    if chunks is None:
        if not train:
            raise ValueError(f"{workdir}: got no fit, wanted one made by the train command")
        devices = min(jax.local_device_count(), problem.count)
        chunks = share_out(problem.count, blocks_at_once(problem), devices)
        checkpoint.write_chunks(workdir, chunks)
    # A fit may go on with other devices than it began with: use as many as share a chunk evenly.
    devices = max(n for n in range(1, jax.local_device_count() + 1) if len(chunks[0]) % n == 0)
    teachers: dict[int, Any] = {}
    with log.progress(len(chunks) * problem.settings.steps) as bar:
        for chunk, indices in enumerate(chunks):
            state = _fit_chunk(problem, devices, workdir, (chunk, indices), train, bar)
            teacher = jax.device_get(state.teacher)
            for place, index in enumerate(indices):
                teachers[index] = jax.tree.map(lambda leaf, p=place: leaf[p], teacher)
    return jax.tree.map(lambda *leaf: np.stack(leaf), *(teachers[i] for i in sorted(teachers)))


def _fit_chunk(problem, devices, workdir, named_chunk, train: bool, bar) -> State:
    """Fit one chunk from its newest checkpoint to the last step."""
    settings, (chunk, indices) = problem.settings, named_chunk
    state, *given = start_chunk(problem, indices)
    with checkpoint.open_checkpoints(workdir, chunk) as manager:
        state = checkpoint.restore(manager, state)
        done = int(state.step)
        bar.update(done)
        if done < settings.steps and not train:
            raise ValueError(
                f"{workdir}: got chunk {chunk} at step {done}, wanted {settings.steps}: "
                "finish it with the train command"
            )
        if done == settings.steps:
            return state
        with log.open_metrics(workdir / "metrics.jsonl", chunk, done) as file:
            advance = problem.program.advance
            mapping = advance(min(settings.steps_per_dispatch, settings.steps), devices)
            state, *given = map(mapping.spread, (state, *given))
            while done < settings.steps:
                count = min(settings.steps_per_dispatch, settings.steps - done)
                state, metrics = advance(count, devices).run(state, *given)
                before, done = done, done + count
                log.write_metrics(file, chunk, done, _checked(metrics, before))
                bar.update(count)
                every = settings.checkpoint_every
                if done == settings.steps or done // every > before // every:
                    checkpoint.save(manager, mapping.gather(state))
    return mapping.gather(state)


def _checked(metrics: Mapping[str, jax.Array], before: int) -> dict[str, float]:
    """Average a dispatch's metrics [..., n, ...]; raise where a step of it failed."""
    host = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
    for name, cure in FAILURES.items():
        # [n, S] from one device, [devices, n, S / devices] from several
        steps = host[name].reshape(-1, *host[name].shape[-2:]).max(axis=(0, 2))
        if steps.any():
            at = before + int(np.flatnonzero(steps)[0])
            raise FloatingPointError(f"step {at}: got {name} {steps.max():.0f}, wanted 0: {cure}")
    return {name: float(value.mean()) for name, value in host.items()}
