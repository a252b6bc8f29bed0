"""What is fitted, and the compiled programs that fit it.

Letters: S fits of a chunk, K observed slices, H W block size in px.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.tiling import Box
from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training import optimizer, parallel
from emgauss_jax.training.hyperparams import Hyper, check_like, stack
from emgauss_jax.training.state import State, init_params, init_state
from emgauss_jax.training.step import Step, make_advance, make_step


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """The plumbing's own settings.

    Raises:
      ValueError: a count that cannot work.
    """

    steps: int
    ema_decay: float  # of the teacher; 0, it is the student
    steps_per_dispatch: int
    checkpoint_every: int  # steps
    blocks_per_chunk: int  # fits at once on each device; 0: what memory holds, on a CPU 4 at most
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
    blocks: Block  # every leaf [blocks of the volume, ...]; [1, all of them, ...] where the method
    # has one network for all
    key: jax.Array  # of the run; each block folds its own index in
    rates: Mapping[str, Any]  # learning rates, see `training.optimizer`
    start: Mapping[str, int]
    settings: FitSettings
    sweep: tuple[Hyper, ...] = ()  # fit every block once with each of these; (): as configured
    numbers: tuple[int, ...] = ()  # of the blocks: what is random in each depends on its own;
    # (): 0, 1, 2, ...
    # What runs it. A function built anew is traced and compiled anew, so `dataclasses.replace`
    # hands it on to other blocks.
    program: "Program | None" = None

    def __post_init__(self):
        if self.program is None or self.program.made_for != _makings(self):
            object.__setattr__(self, "program", build_program(self))
        for hyper in self.sweep:
            check_like(hyper, self.configured)

    @property
    def block_count(self) -> int:
        """Blocks of the volume."""
        return self.blocks.slices.shape[0]

    @property
    def count(self) -> int:
        """Fits: the blocks of the volume, as often as there are hyper-parameters to try."""
        return self.block_count * len(self.hypers)

    @property
    def hypers(self) -> tuple[Hyper, ...]:
        """Hyper-parameters of the fits: those of the sweep, or what rates and settings say."""
        return self.sweep or (self.configured,)

    @property
    def configured(self) -> Hyper:
        """The hyper-parameters that the run's own config names."""
        rates = optimizer.ends(self.rates)
        return Hyper(rates, dict(self.method.weights), self.settings.ema_decay)


def cut_blocks(
    slices: np.ndarray,
    z: np.ndarray,
    boxes: Sequence[Box],
    labels: tuple[np.ndarray, np.ndarray, int] | None = None,
) -> Block:
    """Cut valid slices, and pseudo-labels where there are any, into blocks of one shape.

    Args:
      slices: f32[V, H, W] of the volume, intensity in [0, 1].
      z: f32[V], their depths, input-slice units.
      boxes: in voxels of `slices`, all of one shape.
      labels: f16[P, H, W], their depths f32[P], and how many lie from slice to slice; the first
        ones belong to the first slice.

    Returns:
      A block with every leaf [len(boxes), ...]. Boxes count valid slices alone, so no block ends
      inside a run of missing ones.
    """
    along = np.stack([z[box.slices[0]] for box in boxes]).astype(np.float32)
    values = np.stack([slices[box.slices] for box in boxes])
    block = Block(values, along, np.ones(along.shape, bool))
    if labels is None:
        return block
    planes, depths, per_slice = labels
    count = len(planes) - (len(slices) - boxes[0].shape[0]) * per_slice
    spans = [slice(box.start[0] * per_slice, box.start[0] * per_slice + count) for box in boxes]
    cut = [planes[(span, *box.slices[1:])] for span, box in zip(spans, boxes, strict=True)]
    return block._replace(labels=np.stack(cut), label_z=np.stack([depths[span] for span in spans]))


class Program(NamedTuple):
    """What serves all chunks, so that nothing is traced or compiled twice."""

    made_for: tuple
    start: Callable[..., Any]  # the parameters of some blocks
    step: Step
    advance: Callable[[int, int], parallel.Mapping]  # by steps a dispatch, devices


def _makings(problem: Problem) -> tuple:
    """Collect what a program is made of, beside the shapes of the blocks."""
    return (problem.method, problem.rates, problem.start, problem.settings.steps)


def build_program(problem: Problem) -> Program:
    """Build optimizer, step and dispatches; nothing is compiled yet."""
    one = jax.tree.map(lambda leaf: leaf[:1], problem.blocks)
    keys = jax.random.split(problem.key, 1)
    start = jax.jit(functools.partial(init_params, problem.method))
    params = jax.eval_shape(start, one, keys)
    settings = problem.settings
    descend = optimizer.make_descend(params, problem.rates, problem.start, settings.steps)
    method = problem.method
    mapped = parallel.map_blocks if method.per_block else parallel.map_shared

    @functools.cache
    def advance(count: int, devices: int) -> parallel.Mapping:
        return mapped(make_advance(make_step(method, descend, devices), count), devices)

    return Program(_makings(problem), start, make_step(method, descend), advance)


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
    hypers = problem.hypers
    which, block = np.divmod(np.asarray(indices), problem.block_count)
    numbers = np.asarray(problem.numbers)[block] if problem.numbers else block
    keys = jax.vmap(lambda i: jax.random.fold_in(problem.key, i))(jnp.asarray(numbers))
    pairs = jax.vmap(jax.random.split)(keys)
    blocks = jax.tree.map(lambda leaf: jnp.asarray(leaf[block]), problem.blocks)
    hyper = jax.tree.map(jnp.asarray, stack([hypers[i] for i in which]))
    params = problem.program.start(blocks, pairs[:, 0])
    return init_state(params), blocks, pairs[:, 1], hyper
