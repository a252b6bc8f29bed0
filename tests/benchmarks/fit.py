"""A whole fit of one block, in processes of its own, and of many blocks in one program.

    python -m tests.benchmarks.fit --stack STACK [--crop 0:129,0:128,0:128] [--json PATH]

STACK is an isotropic volume, thinned out by 8. The first process finds no compiled programs, the
second finds those of the first, and the third fits another block with them. Letters: S blocks.
"""

import argparse
import json
import os
import pathlib
import resource
import runpy
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.execution import compiled
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import baselines
from emgauss_jax.metrics.image import psnr
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.training.fit import step_bytes
from emgauss_jax.training.problem import Problem, start_chunk
from tests.benchmarks import scenes, timing

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "emgauss.py"
MISSES = "/jax/compilation_cache/cache_misses"
COMPILED = "/jax/core/compile/backend_compile_duration"  # or read from the cache
DISPATCH = 20  # steps; every second with pseudo-labels, every fourth with a hidden slice
ON_CPU, ON_GPU = (1, 2, 4, 8), (1, 4, 16, 64, 256)


def run_of(stack: str, crop: str, backend: str) -> Run:
    """The default config without a prior on every 8th slice of a stack; a phantom without one."""
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.data.path, config.data.crop = (stack, crop) if stack else ("phantom", "")
    config.data.phantom_shape, config.data.simulate_factor = (129, 128, 128), 8
    config.block.max_size = (64, 256, 256)
    config.emgauss.render.backend = backend
    config.prior.flow = False
    config.prior.steps, config.train.steps = 0, 2_000
    return prepare(config)


def one_block(stack: str, crop: str, backend: str, began: float) -> dict[str, float]:
    """Fit one block, and judge it after every dispatch with the clock stopped.

    Args:
      began: the wall time at which this process was asked for.

    Returns:
      Wall seconds from there to linear interpolation's PSNR and to the last step, and what made
      them up.
    """
    counts = {MISSES: 0, COMPILED: 0.0}
    jax.monitoring.register_event_listener(lambda name, **_: _count(counts, name, 1))
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, s, **_: _count(counts, name, s)
    )
    run = run_of(stack, crop, backend)
    problem = scenes.first_block(run)
    judge = Judge(run, jax.tree.map(lambda leaf: leaf[0], problem.blocks))
    ready, paused, reached, rows = time.time() - began, 0.0, None, []
    state, *given = start_chunk(problem, [0])
    settings = problem.template.settings
    each = settings.steps_per_dispatch
    advance = problem.template.program.advance(each, 1).run
    for _ in range(settings.steps // each):
        start = time.time()
        state, _ = jax.block_until_ready(advance(state, *given))
        rows.append((time.time() - start) / each)
        stop = time.time()
        now = judge(state.teacher)
        if reached is None and now >= judge.linear:
            reached = stop - began - paused
        paused += time.time() - stop
    return {
        "ready s": ready,
        "compile s": counts[COMPILED],
        "compiled anew": counts[MISSES],
        "ms a step": 1e3 * float(np.median(rows[1:])),
        "s to linear": reached,
        "s in all": time.time() - began - paused,
        "PSNR": now,
        "linear's": judge.linear,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _count(counts: dict[str, float], name: str, value: float) -> None:
    if name in counts:
        counts[name] += value


class Judge:
    """The PSNR of hidden slices, of a fit of the only block and of linear interpolation; dB."""

    def __init__(self, run: Run, block: Block):
        observed, self.block = run.observed, block
        known = Block(observed.unit_slices, observed.z, observed.plan.valid)
        self.hidden = observed.plan.hidden
        self.z = observed.plan.z_reference[self.hidden].astype(np.float32)
        self.truth = observed.reference()[self.hidden]
        self.predict = jax.jit(run.template.method.predict)
        self.linear = float(psnr(baselines(known, self.z, ("linear",))["linear"], self.truth))

    def __call__(self, params) -> float:
        one = jax.tree.map(lambda leaf: leaf[0], params)
        return float(psnr(self.predict(one, self.block, self.z), self.truth))


def in_process(stack: str, crop: str, backend: str, cache: str) -> dict[str, float]:
    """Run `one_block` in a process of its own."""
    child = [sys.executable, "-m", "tests.benchmarks.fit", "--child", str(time.time())]
    environment = os.environ | {compiled.CACHE: cache}
    done = subprocess.run(
        [*child, "--stack", stack, "--crop", crop, "--backend", backend],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def many_blocks(stack: str, crop: str, backend: str, repeats: int) -> list[dict[str, float]]:
    """Time a dispatch of S blocks under one `vmap`, and what a whole fit and render would take."""
    run = run_of(stack, crop, backend)
    problem, voxels = scenes.first_block(run), run.observed.plan.z_reference.size
    voxels *= int(np.prod(problem.blocks.slices.shape[2:]))
    sizes = ON_CPU if jax.default_backend() == "cpu" else ON_GPU
    cases = {str(count): dispatch(problem, count) for count in sizes}
    seconds = timing.median(timing.interleaved(cases, repeats))
    render = {str(count): rendering(run, problem, count) for count in sizes}
    render = timing.median(timing.interleaved(render, 3))
    rows = []
    for name, count in zip(cases, sizes, strict=True):
        step = seconds[name] / DISPATCH
        whole = step * problem.template.settings.steps + render[name]
        rows.append({
            "S": count,
            "ms a step and block": 1e3 * step / count,
            "cost of S in fits of one": step / (seconds["1"] / DISPATCH),
            "render s": render[name],
            "output voxels/s, fit + render": count * voxels / whole,
            "MB by the compiler": step_bytes(problem, count) / 2**20,
        })  # fmt: skip
    return rows


def dispatch(problem: Problem, count: int):
    """A dispatch in the teacher's stage, S copies of a block."""
    state, *given = start_chunk(problem, [0] * count)
    state = state._replace(step=jnp.int32(problem.template.settings.steps // 2))
    mapping = problem.template.program.advance(DISPATCH, 1)

    def run():
        nonlocal state  # the old one is donated to the new one, as in a fit
        state, metrics = mapping.run(state, *given)
        return metrics

    return run


def rendering(run: Run, problem: Problem, count: int):
    """All output planes of S blocks."""
    state, blocks, *_ = start_chunk(problem, [0] * count)
    predict = jax.jit(jax.vmap(problem.template.method.predict, (0, 0, None)))
    z = jnp.asarray(run.observed.plan.z_reference, jnp.float32)
    return lambda: predict(state.params, blocks, z)


def main() -> None:
    """Run all of it and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", default="")
    parser.add_argument("--crop", default="0:129,0:128,0:128")
    parser.add_argument("--other_crop", default="0:129,100:228,100:228")
    parser.add_argument("--backend", default="binned")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", default="")
    parser.add_argument("--child", type=float, default=0.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        compiled.keep_compiled()
        print(json.dumps(one_block(given.stack, given.crop, given.backend, given.child)))
        return
    timing.print_machine(timing.machine(), timing.limits())
    with tempfile.TemporaryDirectory() as cache:
        runs = {"cold cache": given.crop, "warm": given.crop, "another block": given.other_crop}
        single = [
            {"run": name, **in_process(given.stack, crop, given.backend, cache)}
            for name, crop in runs.items()
        ]
    timing.print_table("One block, 2,000 steps; wall time from the start of the process", single)
    several = many_blocks(given.stack, given.crop, given.backend, given.repeats)
    timing.print_table("S blocks under one vmap", several)
    if given.json:
        payload = {"machine": timing.machine(), "one": single, "many": several}
        timing.write_json(given.json, payload)


if __name__ == "__main__":
    main()
