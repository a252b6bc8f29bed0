"""Several processes at work on one job: which of them this is, and how they join.

They exchange nothing but files. Process INDEX does the tasks `task % COUNT == INDEX`, and their
results say that they are done; a folder that all of them see holds their heartbeats.
"""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Mapping

from emgauss_jax.data.atomic import remove
from emgauss_jax.data.errors import InputError
from emgauss_jax.execution.heartbeats import Wait, beating, watching
from emgauss_jax.storage.locks import locked

PATIENCE_S = 300.0  # a cluster may start processes minutes apart, a file system show files late
SHELLS = 2**32 - 16  # SLURM numbers what is no step of srun (shells of sbatch, salloc) from here on


def place_of(asked: str, environ: Mapping[str, str]) -> tuple[int, int]:
    """Tell how many processes are at work, and which of them this is.

    Args:
      asked: COUNT,INDEX; or auto, for what the scheduler says that has started this process.
      environ: the environment.

    Returns:
      (count, index).

    Raises:
      InputError: neither, or no scheduler that is known.
    """
    text = _scheduled(environ) if asked == "auto" else asked
    found = re.fullmatch(r"([0-9]+),([0-9]+)", text)
    count, index = map(int, found.groups()) if found else (0, 0)
    if not index < count:
        raise InputError(
            f"hosts: got {text!r}, wanted auto, or COUNT,INDEX with INDEX < COUNT and no address: "
            "2,0 and 2,1"
        )
    return count, index


def _scheduled(environ: Mapping[str, str]) -> str:
    """Read COUNT,INDEX from a scheduler's environment.

    MPI comes first: mpirun starts its own processes by srun. In a shell of sbatch or salloc
    SLURM_PROCID is 0, but SLURM_STEP_ID is absent or one of SLURM's own numbers.
    """
    step = environ.get("SLURM_STEP_ID", "")
    in_step = step.isdigit() and int(step) < SHELLS
    for index, count in (
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        *((("SLURM_PROCID", "SLURM_NTASKS"),) if in_step else ()),
    ):
        if index in environ and count in environ:
            return f"{environ[count]},{environ[index]}"
    raise InputError(
        "hosts: got auto, but neither OMPI_COMM_WORLD_RANK and _SIZE, nor PMI_RANK and _SIZE, nor "
        "SLURM_PROCID and SLURM_NTASKS in a step of srun (SLURM_STEP_ID); wanted COUNT,INDEX"
    )


@contextlib.contextmanager
def joined(
    folder: pathlib.Path, count: int, index: int, patience_s: float = PATIENCE_S
) -> Iterator[Wait]:
    """Join the other processes until the block is left, and tell them that this one lives.

    Args:
      folder: of the heartbeats; all processes see it. It is removed by the last one to leave.
      count: of processes.
      index: of this one; it does the tasks `task % count == index`.
      patience_s: how long a heartbeat may stay as it is before a process is missed.

    Yields:
      `wait(name, undone)`: returns when `undone()`, asked again and again, lists no task. It waits
      without limit as long as those live whose tasks are undone. It raises InputError where one of
      them does not, or has ended.

    Raises:
      InputError: a process of the same index is at work.
    """
    try:
        with locked(folder / f"{index:05d}.lock"):
            wait = watching(folder, count, index, patience_s)
            with beating(folder, count, index):
                yield wait
            if index == 0:
                _forget_more(folder, count)
    finally:
        with contextlib.suppress(OSError):  # others are at work, or an ended one has left word
            folder.rmdir()


def _forget_more(folder: pathlib.Path, count: int) -> None:
    """Remove what has been left by processes of an earlier start, when there were more of them."""
    for path in folder.iterdir():
        number = path.name.lstrip(".").split(".")[0]
        if number.isdigit() and int(number) >= count:
            remove(path)
