"""Rasterizers against each other, against PyTorch and gsplat, and against the machine.

python -m tests.benchmarks.rasterize [--json PATH] [--workdir DIR] [--sizes 128,256,512]
Letters: S blocks, N splats, H W image size in px; N = H W / 4.
"""

import argparse
import functools
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.render.gaussians import Splats
from emgauss_jax.render.reference import MAX_ALPHA
from tests.benchmarks import agreement, backends, peers, scenes, timing

CLUSTERED = 256  # H = W, of table 3
SUM, ALPHA = ("separable", "binned"), ("tiled alpha",)
RATIOS = (
    (SUM, "torch sum"), (SUM, "tiled"), (SUM, "gsplat"), (ALPHA, "torch alpha"), (ALPHA, "gsplat"),
)  # fmt: skip


def time_scene(splats: Splats, shape: tuple[int, int], others: dict[str, Any], repeats: int) -> Any:
    """Time all backends and peers in turn: {(name, "forward" or "both"): seconds}."""
    cases = {}
    for name, settings in backends.BACKENDS.items():
        ours = backends.ours(settings, shape)
        for part in ours._fields:
            cases[name, part] = functools.partial(getattr(ours, part), splats)
    for name, peer in others.items():
        if isinstance(peer, peers.Peer):
            cases |= {(name, part): getattr(peer, part) for part in ("forward", "both")}
    return timing.median(timing.interleaved(cases, repeats))


def faster(others: dict[str, Any], seconds: dict, name: str, peer: str) -> float | str | None:
    """Say how many times faster a backend is than a peer, or why it is not known."""
    if isinstance(others[peer], peers.Peer):
        return seconds[peer, "both"] / seconds[name, "both"]
    return others[peer]


def size_rows(size: int, others: dict, seconds: dict, limit: dict, splats: Splats) -> list[dict]:
    """Tabulate one size of table 1, the growth left out."""
    rows, shape = [], (size, size)
    for name in dict.fromkeys(name for name, _ in seconds):
        row = {"size": size, "N": len(splats.means), "backend": name}
        row |= {f"{part} ms": 1e3 * seconds[name, part] for part in ("forward", "both")}
        row["ns/px"] = 1e9 * seconds[name, "both"] / size**2
        if name in backends.BACKENDS:
            settings = backends.BACKENDS[name]
            row["x torch"] = faster(others, seconds, name, f"torch {settings.blend}")
            row["x gsplat"] = faster(others, seconds, name, "gsplat")
            work = backends.count(splats, shape, settings)
            row["share"] = timing.share(*work, seconds[name, "both"], limit)
        rows.append(row)
    return rows


def by_size(sizes: list[int], repeats: int, barred: dict[str, str], limit: dict) -> list[dict]:
    """Measure table 1; growth is the time of a pixel against that at the first size."""
    rows, first = [], {}
    for size in sizes:
        splats, shape = scenes.uniform(size * size // 4, size, seed=0), (size, size)
        backends.check_lists(splats, shape, backends.BACKENDS["tiled"])
        others = peers.build(splats, shape, barred)
        seconds = time_scene(splats, shape, others, repeats)
        rows += size_rows(size, others, seconds, limit, splats)
    for row in rows:
        row["growth"] = row["ns/px"] / first.setdefault(row["backend"], row["ns/px"])
    return rows


def by_blocks(repeats: int, size: int = 128) -> list[dict]:
    """Measure table 2: S scenes of one size under vmap, binned."""
    counts = (1, 4, 16, 64, 256) if jax.default_backend() == "gpu" else (1, 4, 16)
    ours = backends.ours(backends.BACKENDS["binned"], (size, size), blocks=True)
    cases = {}
    for count in counts:
        many = [scenes.uniform(size * size // 4, size, seed) for seed in range(count)]
        stacked = jax.tree.map(lambda *leaf: jnp.stack(leaf), *many)
        for part in ours._fields:
            cases[count, part] = functools.partial(getattr(ours, part), stacked)
    seconds = timing.median(timing.interleaved(cases, repeats))
    names = {"forward": "forward ms/block", "both": "both ms/block"}
    return [
        {"S": count} | {names[part]: 1e3 * seconds[count, part] / count for part in names}
        for count in counts
    ]


def by_crowding(workdir: pathlib.Path | None, repeats: int) -> list[dict]:
    """Measure table 3: how long lists are in crowded and fitted scenes, and what they cost."""
    size = CLUSTERED
    scene = {"clustered": (scenes.clustered(size * size // 4, size, seed=0), (size, size))}
    if workdir is not None:
        scene["fitted"] = scenes.fitted(workdir)
    rows = []
    for name, (splats, shape) in scene.items():
        cases = crowded_cases(splats, shape)
        seconds = timing.median(timing.interleaved(cases, repeats))
        for backend in cases:
            settings = backends.BACKENDS[backend]
            row = {"scene": name, "size": shape[0], "N": len(splats.means), "backend": backend}
            lengths = backends.list_lengths(splats, shape, settings)
            if lengths is not None:
                row["list mean"] = float(lengths.mean())
                row["99 %"] = float(np.percentile(lengths, 99))
                row["longest"] = int(lengths.max())
            rows.append(row | {"both ms": 1e3 * seconds[backend]})
    return rows


def crowded_cases(splats: Splats, shape: tuple[int, int]) -> dict[str, Any]:
    """Build forward and backward of every backend that can draw the splats."""
    backends.check_lists(splats, shape, backends.BACKENDS["tiled"])
    cases = {}
    for name, settings in backends.BACKENDS.items():
        if splats.angles is not None and not backends.can_turn(settings):
            continue
        drawn = splats
        if settings.blend == "alpha":  # the signed gains of a sum are no opacities
            drawn = splats._replace(opacities=jnp.minimum(jnp.abs(splats.opacities), MAX_ALPHA))
        cases[name] = functools.partial(backends.ours(settings, shape).both, drawn)
    return cases


def ratios(rows: list[dict]) -> list[dict]:
    """Compare the fastest of ours with what it must beat, at every size where both were timed."""
    table = []
    for size in dict.fromkeys(row["size"] for row in rows):
        both = {row["backend"]: row["both ms"] for row in rows if row["size"] == size}
        for mine, other in RATIOS:
            fastest = min((name for name in mine if name in both), key=both.get)
            row = {"size": size, "ours": fastest, "against": other}
            table.append(row | {"times faster": _over(both.get(other), both[fastest])})
    return table


def _over(other: float | None, ours: float) -> float | str:
    return "absent" if other is None else other / ours


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--workdir", type=pathlib.Path, help="of a finished fit, for table 3")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sizes", default="128,256,512")
    parser.add_argument("--no-torch", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # peers share the card
    machine, limit = timing.machine(), timing.limits()
    timing.print_machine(machine, limit)
    barred = dict.fromkeys(peers.BLENDS, "absent") if args.no_torch else {}
    differences, barred = agreement.check(barred)
    sizes = [int(size) for size in args.sizes.split(",")]
    tables = {"size": by_size(sizes, args.repeats, barred, limit)}
    timing.print_table("1. One scene; x: times faster, forward and backward", tables["size"])
    tables["blocks"] = by_blocks(args.repeats)
    timing.print_table("2. S scenes of 128 x 128 px under vmap, binned", tables["blocks"])
    tables["crowding"] = by_crowding(args.workdir, args.repeats)
    timing.print_table("3. Crowded scenes", tables["crowding"])
    tables["ratios"] = ratios(tables["size"])
    timing.print_table("Ratios", tables["ratios"])
    if args.json:
        measured = {"machine": machine, "limits": limit, "differences": differences}
        timing.write_json(args.json, measured | {"tables": tables})


if __name__ == "__main__":
    main()
