"""Who does the units of a run: this process, many hosts that JAX knows, or a Dask cluster."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import tqdm
from absl import flags
from jax.experimental import multihost_utils

Do = Callable[[int], None]


class Crew(NamedTuple):
    """Who does the units.

    `leads`: this process is the one that begins, finishes and reports.
    `wait(name)`: returns when all processes of the crew have come here.
    `each(here, anywhere, units, name)`: do all units; `here` works in this process alone,
        `anywhere` does the same and is picklable.
    """

    leads: bool
    wait: Callable[[str], None]
    each: Callable[[Do, Do, Sequence[int], str], None]


def alone() -> Crew:
    """Do all units in this process, one after the other."""

    def each(here: Do, anywhere: Do, units: Sequence[int], name: str) -> None:
        del anywhere
        for unit in tqdm.tqdm(units, desc=name, unit="unit", disable=None):
            here(unit)

    return Crew(True, lambda name: None, each)


def hosts() -> Crew:
    """Do every n-th unit in each of the n processes that `jax.distributed` has brought together."""
    index, count, one = jax.process_index(), jax.process_count(), alone()

    def each(here: Do, anywhere: Do, units: Sequence[int], name: str) -> None:
        one.each(here, anywhere, units[index::count], f"{name}, process {index} of {count}")

    return Crew(index == 0, multihost_utils.sync_global_devices, each)


def define_crew_flags() -> None:
    """Define the flags that choose a crew."""
    flags.DEFINE_string(
        "hosts", None, "auto (SLURM, TPU pod), or ADDRESS:PORT,COUNT,INDEX of these processes."
    )


@contextlib.contextmanager
def open_crew(values: Any) -> Iterator[Crew]:
    """Bring together the crew that flags ask for.

    Raises:
      ValueError: flags that cannot be read.
    """
    if not values.hosts:
        yield alone()
        return
    initialize(values.hosts)
    yield hosts()
    jax.distributed.shutdown()


def initialize(asked: str) -> None:
    """Join the other processes, each of which calls this before it uses any device.

    Raises:
      ValueError: neither auto nor ADDRESS:PORT,COUNT,INDEX.
    """
    if asked == "auto":
        jax.distributed.initialize()
        return
    parts = asked.split(",")
    if len(parts) != 3 or not parts[1].isdigit() or not parts[2].isdigit():
        raise ValueError(f"hosts: got {asked!r}, wanted auto or ADDRESS:PORT,COUNT,INDEX")
    jax.distributed.initialize(parts[0], int(parts[1]), int(parts[2]))
