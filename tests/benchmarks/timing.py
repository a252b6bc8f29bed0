"""What all benchmarks share: clocks, the machine's limits, tables and JSON."""

import functools
import itertools
import json
import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

WARM_UPS = 2  # the first compiles, the second fills caches and pools
LEAST = 3  # times, of every case
TURN_S = 0.05
PATIENCE_S = 5.0  # in all, after which a slow case has been timed often enough
COPY_FLOATS = 2**26  # far more than any cache holds
COPIES = 8  # in one call: a call's first touch of fresh memory would be measured instead


def interleaved(cases: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time cases in turn, so that what else the machine does hits all alike.

    Args:
      cases: what runs, by name; JAX results are waited for, others must be ready on return.
      repeats: turns of each, of as many calls as fit into TURN_S, and one at least: the first call
        of a turn finds the caches as the case before left them, the others as they would be in a
        loop. A case that has taken PATIENCE_S sits out after LEAST calls.

    Returns:
      Seconds of every run, by name.
    """
    for case in cases.values():
        for _ in range(WARM_UPS):
            jax.block_until_ready(case())
    times = {name: [] for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            if len(times[name]) >= LEAST and sum(times[name]) > PATIENCE_S:
                continue
            turn = time.perf_counter()
            while (start := time.perf_counter()) - turn < TURN_S:
                jax.block_until_ready(case())
                times[name].append(time.perf_counter() - start)
    return times


def median(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Take the median of each case's seconds."""
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> dict[str, Any]:
    """Name the processor, the devices and the versions that a measurement depends on."""
    device = jax.devices()[0]
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    try:
        import torch
    except ImportError:
        torch_version = "absent"
    else:
        torch_version = torch.__version__
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        "jax": jax.__version__,
        "torch": torch_version,
    }


def print_machine(about: Mapping[str, Any], limit: Mapping[str, float]) -> None:
    """Print what `machine` and `limits` found."""
    rates = {"GFLOP/s": limit["flops_per_s"] / 1e9, "GB/s": limit["bytes_per_s"] / 1e9}
    print_table("Machine", [about | rates])


def limits() -> dict[str, float]:
    """Measure what the default device can do at this moment.

    Returns:
      flops_per_s, of the fastest of a few f32 matrix products; bytes_per_s, read and written by
      running through a large array.
    """
    sizes = (1024, 2048) if jax.default_backend() == "cpu" else (2048, 4096, 8192)
    product = jax.jit(functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST))
    arrays = {str(n): jnp.full((n, n), 1e-3, jnp.float32) for n in sizes}
    cases = {name: functools.partial(product, a, a) for name, a in arrays.items()}
    source = jnp.zeros(COPY_FLOATS, jnp.float32)
    copy = jax.jit(lambda a: jax.lax.fori_loop(0, COPIES, lambda _, b: b + 1.0, a))
    cases["copy"] = functools.partial(copy, source)
    best = {name: min(values) for name, values in interleaved(cases, 5).items()}
    return {
        "flops_per_s": max(2 * n**3 / best[str(n)] for n in sizes),
        "bytes_per_s": 2 * COPIES * source.nbytes / best["copy"],
    }


def share(flops: float, moved: float, seconds: float, limit: Mapping[str, float]) -> float:
    """Compare the least time that the machine could take with the measured one.

    Args:
      flops: counted arithmetic.
      moved: counted bytes, read and written.
      seconds: measured.
      limit: see `limits`.

    Returns:
      1 where the machine does all that it can.
    """
    least = max(flops / limit["flops_per_s"], moved / limit["bytes_per_s"])
    return least / seconds


def exponent(sizes: Sequence[float], values: Sequence[float]) -> list[float | None]:
    """Fit value ~ size^e between each size and the one before it; None for the first."""
    pairs = itertools.pairwise(zip(sizes, values, strict=True))
    return [None, *(math.log(v1 / v0) / math.log(s1 / s0) for (s0, v0), (s1, v1) in pairs)]


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as one aligned table; None is an empty cell, text stands as it is."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    """Write a value with three digits."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def write_json(path: str | pathlib.Path, payload: Any) -> None:
    """Write what was measured."""
    pathlib.Path(path).write_text(json.dumps(payload, indent=2) + "\n")
