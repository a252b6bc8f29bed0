"""The missing planes of a block, as `reconstruct` renders them: one after the other.

python -m tests.benchmarks.render [--json PATH]
Speed does not depend on training, so the parameters are those of the start, the gap blur learned.
Letters: Q planes, N Gaussians, H W block size in px.
"""

import argparse
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.pipeline.run import Run
from emgauss_jax.render.gaussians import Splats
from emgauss_jax.training.problem import start_chunk
from tests.benchmarks import peers, scenes, timing

GAP_BLUR = 1.0  # px, about what real volumes end with
# H = W and planes of the phantom: with both ends observed, 112 and 14 planes are missing
BLOCKS = ((128, 129), (512, 17))


def start(size: int, planes: int) -> tuple[Run, Any, Any]:
    """Prepare one block: the run, its parameters and the block."""
    run = scenes.phantom(planes, size)
    state, block, *_ = start_chunk(scenes.first_block(run), [0])
    params, block = jax.tree.map(lambda leaf: leaf[0], (state.params, block))
    return run, params._replace(gap_blur=jnp.float32(GAP_BLUR)), block


def missing(planes: int) -> jax.Array:
    """List the depths of the planes that were not observed: f32[Q], input-slice units."""
    plane = np.arange(planes)
    return jnp.asarray(plane[plane % scenes.FACTOR > 0] / scenes.FACTOR, jnp.float32)


def dense_case(splats: Splats, size: int) -> dict[str, Any]:
    """Build the forward of PyTorch for one plane, where it fits."""
    if len(splats.means) * size**2 > peers.DENSE_FLOATS:
        return {}
    peer = peers.dense_torch(splats, (size, size), "sum")
    return {} if peer is None else {"torch": peer.forward}


def render_row(size: int, planes: int, repeats: int, with_torch: bool) -> dict[str, Any]:
    """Time all missing planes of one block."""
    run, params, block = start(size, planes)
    z = missing(planes)
    predict = jax.jit(run.template.method.predict)
    cases = {"ours": functools.partial(predict, params, block, z)}
    if with_torch:
        in_gap = scenes.splats_at(run, params, block, 0.5)  # in the middle of the first
        cases |= dense_case(in_gap, size)
    seconds = timing.median(timing.interleaved(cases, repeats))
    row = {"H = W": size, "N": len(params.canonical.means), "planes": len(z)}
    row |= {"ms in all": 1e3 * seconds["ours"], "ms a plane": 1e3 * seconds["ours"] / len(z)}
    row["planes/s"] = len(z) / seconds["ours"]
    if "torch" in seconds:
        row["torch ms a plane"] = 1e3 * seconds["torch"]
        row["x torch"] = seconds["torch"] * len(z) / seconds["ours"]
    return row


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-torch", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the card
    machine, limit = timing.machine(), timing.limits()
    timing.print_machine(machine, limit)
    rows = [render_row(*block, args.repeats, not args.no_torch) for block in BLOCKS]
    timing.print_table("Missing planes of a block of the phantom, default config", rows)
    if args.json:
        timing.write_json(args.json, {"machine": machine, "limits": limit, "rows": rows})


if __name__ == "__main__":
    main()
