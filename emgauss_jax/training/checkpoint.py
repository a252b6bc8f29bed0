"""Checkpoints with orbax: written whole or not at all, restored to the bit."""

import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from emgauss_jax.training.hyper import Hyper
from emgauss_jax.training.state import State

FOLDER = "checkpoints"


def open_checkpoints(workdir: pathlib.Path, chunk: int) -> ocp.CheckpointManager:
    """Open the checkpoints of one chunk of blocks; only the newest is kept.

    Of many processes each has chunks of its own, so none waits for another here.
    """
    this = jax.process_index()
    folder = workdir.absolute() / FOLDER / f"chunk_{chunk:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1,
        enable_async_checkpointing=False,
        create=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process_{this}"
        ),
    )
    return ocp.CheckpointManager(folder, options=options)


def save(manager: ocp.CheckpointManager, state: State) -> None:
    """Write a state under its step."""
    host = jax.device_get(state)
    manager.save(int(host.step), args=ocp.args.StandardSave(host))


def restore(manager: ocp.CheckpointManager, like: State) -> State:
    """Read the newest state, or return `like` where there is none.

    Args:
      manager: an open folder.
      like: a state of the same structure and shapes.
    """
    step = manager.latest_step()
    if step is None:
        return like
    shapes = jax.tree.map(np.empty_like, jax.device_get(like))
    try:
        return jax.tree.map(
            jnp.asarray, manager.restore(step, args=ocp.args.StandardRestore(shapes))
        )
    except Exception as error:  # orbax raises what its storage layers raise
        raise ValueError(
            f"{manager.directory}: got a checkpoint of step {step} that cannot be read "
            f"({type(error).__name__}), wanted one as train writes it; delete it to fit again"
        ) from error


def read_chunks(workdir: pathlib.Path, hypers: Sequence[Hyper]) -> list[list[int]] | None:
    """Read which fits each chunk holds; None before the first start.

    It is written down because it depends on the machine's memory and devices, and a fit may go
    on elsewhere.

    Args:
      workdir: of the run.
      hypers: its hyper-parameters.

    Raises:
      ValueError: the run began with other hyper-parameters.
    """
    path = workdir / FOLDER / "chunks.json"
    if not path.exists():
        return None
    begun = json.loads(path.read_text())
    if not isinstance(begun, dict):
        raise ValueError(
            f"{path}: got a fit of an older version, wanted one to go on with: fit again"
        )
    if begun["hypers"] != _plain(hypers):
        raise ValueError(
            f"{workdir}: got other hyper-parameters than it was begun with, wanted the same or "
            "another workdir"
        )
    return begun["chunks"]


def write_chunks(
    workdir: pathlib.Path, hypers: Sequence[Hyper], chunks: Sequence[Sequence[int]]
) -> None:
    """Write which fits each chunk holds, before any is fitted."""
    path = workdir / FOLDER / "chunks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"chunks": chunks, "hypers": _plain(hypers)}))
    partial.replace(path)


def _plain(hypers: Sequence[Hyper]) -> list[dict]:
    """Hyper-parameters as JSON has them."""
    numbers = jax.tree.map(float, list(hypers))
    return json.loads(json.dumps([each._asdict() for each in numbers]))
