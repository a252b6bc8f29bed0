"""How time and memory of a fit step grow with everything there is more of.

python -m tests.benchmarks.scaling [--json PATH]
Letters: S blocks, N Gaussians, H W block size in px.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emgauss_jax.training.problem import Problem, start_chunk
from tests.benchmarks import scenes, timing

PLANES = 33  # of the phantom: 5 observed slices
SIZE = 128  # H = W, px, where not that is varied
STEPS = 8  # in a dispatch: pseudo-labels every second, a hidden slice every fourth
DENSITIES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # N / (H W)
DENSITY = 1 / 4  # where not that is varied
SIZES = (64, 128, 256)
BLOCKS = (1, 2, 4, 8)


class Step(NamedTuple):
    """A dispatch of STEPS steps, compiled."""

    run: Callable[[], Any]
    megabytes: float  # on each device


@functools.cache
def problem(size: int = SIZE, density: float = DENSITY) -> Problem:
    """Prepare one block of the phantom of size x size px and N = density size^2."""
    return scenes.first_block(scenes.phantom(PLANES, size, density))


@functools.cache  # tables share their middle, which is then compiled once
def build(one: Problem, blocks: int, devices: int = 1) -> Step:
    """Compile the dispatch that a fit runs, late enough in training for all losses to be on.

    Args:
      one: of one block.
      blocks: S; the one block is repeated.
      devices: that share them.
    """
    mapping = one.template.program.advance(STEPS, devices)
    state, *given = start_chunk(one, [0] * blocks)
    state = state._replace(step=jnp.int32(one.template.settings.steps // 2))
    state, *given = map(mapping.spread, (state, *given))
    compiled = mapping.run.lower(state, *given).compile()

    def run():
        nonlocal state  # the old one is donated to the new one
        state, metrics = compiled(state, *given)
        return metrics

    return Step(run, megabytes(compiled))


def megabytes(compiled: Any) -> float:
    """Add up arguments, outputs and temporaries, those outputs left out that are arguments too."""
    used = compiled.memory_analysis()
    held = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
    return (held - used.alias_size_in_bytes) / 1e6


def table(name: str, steps: dict[int, Step], blocks: dict[int, int], repeats: int) -> list[dict]:
    """Time the steps of one table.

    Args:
      name: of what is varied.
      steps: by its values.
      blocks: S, by its values.
      repeats: of each.
    """
    values = list(steps)
    cases = {value: step.run for value, step in steps.items()}
    seconds = timing.median(timing.interleaved(cases, repeats))
    ms = [1e3 * seconds[value] / STEPS for value in values]
    held = [steps[value].megabytes for value in values]
    columns = (values, ms, timing.exponent(values, ms), held, timing.exponent(values, held))
    return [
        {name: value, "ms": t, "ms/block": t / blocks[value], "exponent": e, "MB": m, "MB exp.": f}
        for value, t, e, m, f in zip(*columns, strict=True)
    ]


def tables(repeats: int) -> dict[str, list[dict]]:
    """Measure against N, H W, S and devices."""
    densities = {round(d * SIZE**2): build(problem(density=d), 1) for d in DENSITIES}
    sizes = {size**2: build(problem(size), 1) for size in SIZES}
    blocks = {count: build(problem(), count) for count in BLOCKS}
    devices = {n: build(problem(), n, n) for n in range(1, jax.local_device_count() + 1)}
    return {
        "N": table("N", densities, dict.fromkeys(densities, 1), repeats),
        "H W": table("H W", sizes, dict.fromkeys(sizes, 1), repeats),
        "S": table("S", blocks, {count: count for count in blocks}, repeats),
        "devices": table("devices", devices, {n: n for n in devices}, repeats),
    }


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    machine, limit = timing.machine(), timing.limits()
    timing.print_machine(machine, limit)
    measured = tables(args.repeats)
    for name, rows in measured.items():
        timing.print_table(f"A fit step against {name}", rows)
    if args.json:
        timing.write_json(args.json, {"machine": machine, "limits": limit, "tables": measured})


if __name__ == "__main__":
    main()
