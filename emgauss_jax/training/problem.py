"""What is fitted: a template, which holds shapes and programs, and a problem, which holds blocks.

Letters: S fits of a chunk, K observed slices, H W block size in px.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.methods.base import Block, Method
from emgauss_jax.training import parallel
from emgauss_jax.training.block_axis import block_axis
from emgauss_jax.training.hyperparams import Hyper, check_like, stack
from emgauss_jax.training.optimizer import Optimizer, ends, optimizer_of
from emgauss_jax.training.state import State, init_params, init_state
from emgauss_jax.training.step import Step, make_advance, make_step


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How long a fit lasts, how often it is saved, how much of it is done at once.

    Raises:
      InputError: a count that cannot work.
    """

    steps: int
    ema_decay: float  # of the teacher; 0, it is the student
    steps_per_dispatch: int
    checkpoint_every: int  # steps
    blocks_per_chunk: int  # fits at once on each device; 0: what memory holds, on a CPU 4 at most
    memory_gb: float  # of each device; 0: what it has

    def __post_init__(self):
        if min(self.steps, self.steps_per_dispatch, self.checkpoint_every) < 1:
            raise InputError(
                f"train: got steps {self.steps}, steps_per_dispatch {self.steps_per_dispatch}, "
                f"checkpoint_every {self.checkpoint_every}, wanted 1 or more of each"
            )
        if self.blocks_per_chunk < 0 or not self.memory_gb >= 0:
            raise InputError(
                f"train: got blocks_per_chunk {self.blocks_per_chunk} and memory_gb "
                f"{self.memory_gb}, wanted 0 or more of both"
            )
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"train.ema_decay: got {self.ema_decay}, wanted 0 <= decay < 1")


class Program(NamedTuple):
    """The compiled functions of a template, so that nothing is traced or compiled twice."""

    init: Callable[..., Any]  # the parameters of some blocks
    step: Step
    advance: Callable[[int, int], parallel.DeviceMap]  # by steps a dispatch, devices


@dataclasses.dataclass(frozen=True, eq=False)
class FitTemplate:
    """How blocks of one shape are fitted: all but the blocks. See `make_template`."""

    method: Method
    shapes: Block  # of the data of one fit, leaves jax.ShapeDtypeStruct [1, ...]
    key: jax.Array  # of the run; each block folds its own number in
    rates: Mapping[str, Any]  # learning rates, see `training.optimizer`
    optimizer: Optimizer  # of one fit
    settings: FitSettings
    program: Program

    @property
    def configured(self) -> Hyper:
        """The hyper-parameters that the run's own config names."""
        return Hyper(ends(self.rates), dict(self.method.weights), self.settings.ema_decay)


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Blocks, and how they are fitted.

    Raises:
      InputError: hyper-parameters of a sweep that cannot work.
    """

    template: FitTemplate
    blocks: Block  # every leaf [blocks, ...]; of one network [1, blocks, ...]
    sweep: tuple[Hyper, ...] = ()  # fit every block once with each of these; (): as configured
    numbers: tuple[int, ...] = ()  # of the blocks: what is random in each depends on its own;
    # (): 0, 1, 2, ...

    def __post_init__(self):
        for hyper in self.sweep:
            check_like(hyper, self.template.configured)

    @property
    def block_count(self) -> int:
        """Blocks; of one network 1."""
        return self.blocks.slices.shape[0]

    @property
    def count(self) -> int:
        """Fits: the blocks, as often as there are hyper-parameters to try."""
        return self.block_count * len(self.hypers)

    @property
    def hypers(self) -> tuple[Hyper, ...]:
        """Hyper-parameters of the fits: those of the sweep, or the configured ones."""
        return self.sweep or (self.template.configured,)


def shapes_of(block: Block) -> Block:
    """Give the shapes of one block as a volume of one, leaves [1, ...]."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), block)


def make_template(
    method: Method,
    block_shapes: Block,
    key: jax.Array,
    rates: Mapping[str, Any],
    start: Mapping[str, int],
    settings: FitSettings,
) -> FitTemplate:
    """Build optimizer, step and dispatches of a method; nothing is compiled yet.

    Args:
      method: written for one block, or for one network of all of them.
      block_shapes: of one block, see `shapes_of`.
      key, rates, settings: as in `FitTemplate`.
      start: first iteration of a group of parameters, see `training.optimizer`.

    Raises:
      InputError: a rate that no parameter has, a start that no rate has, or settings that the
        method cannot work with.
    """
    axis = block_axis(method)
    shapes = jax.eval_shape(axis.fits_of, block_shapes)
    init = jax.jit(functools.partial(init_params, method))
    params = jax.eval_shape(init, shapes, jax.random.split(key, 1))
    optimizer = optimizer_of(params, rates, start, settings.steps)

    @functools.cache
    def advance(count: int, devices: int) -> parallel.DeviceMap:
        step = make_step(method, optimizer, devices)
        return axis.spread(make_advance(step, count), devices)

    program = Program(init, make_step(method, optimizer), advance)
    return FitTemplate(method, shapes, key, rates, optimizer, settings, program)


def param_shapes(template: FitTemplate) -> Any:
    """Give the shapes of what one fit learns, leaves jax.ShapeDtypeStruct [1, ...]."""
    keys = jax.random.split(template.key, 1)
    return jax.eval_shape(template.program.init, template.shapes, keys)


def check(template: FitTemplate) -> None:
    """Trace a dispatch without running it, so that what cannot work is said before anything starts.

    Raises:
      InputError: from the optimizer, the method or the rasterizer, naming the setting.
    """
    settings, keys = template.settings, jax.random.split(template.key, 1)
    hyper = stack([template.configured])
    start = functools.partial(init_state, template.optimizer)
    state = jax.eval_shape(start, param_shapes(template), hyper.rates)
    run = template.program.advance(min(settings.steps_per_dispatch, settings.steps), 1).run
    jax.eval_shape(run, state, template.shapes, keys, hyper)


def start_chunk(problem: Problem, indices: Sequence[int]) -> tuple[State, Block, jax.Array, Hyper]:
    """Start the state of some fits; also return their blocks, keys and hyper-parameters.

    Args:
      indices: fit i is of block i % block_count. Its keys depend on the run's key and
        that block alone, not on its chunk nor on the hyper-parameters.
    """
    hypers = problem.hypers
    which, block = np.divmod(np.asarray(indices), problem.block_count)
    numbers = np.asarray(problem.numbers)[block] if problem.numbers else block
    keys = jax.vmap(lambda i: jax.random.fold_in(problem.template.key, i))(jnp.asarray(numbers))
    pairs = jax.vmap(jax.random.split)(keys)
    blocks = jax.tree.map(lambda leaf: jnp.asarray(leaf[block]), problem.blocks)
    hyper = jax.tree.map(jnp.asarray, stack([hypers[i] for i in which]))
    params = problem.template.program.init(blocks, pairs[:, 0])
    state = init_state(problem.template.optimizer, params, hyper.rates)
    return state, blocks, pairs[:, 1], hyper
