"""Checkpoints of a fit, by orbax: written whole or not at all, the newest kept.

A checkpoint holds the arrays of the training state by name, as NumPy arrays of one host, so it is
read on any number of devices. Every process keeps those of its own blocks and reads no other's.
Every array has files of its own: orbax's OCDBT leaves 15 kB in the process with every save. These
have no checksums, so one of all arrays lies beside them.
orbax is imported where it is used: it takes a tenth of the start of every command.
"""

import logging
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.storage import pytrees

CRC = "crc32"  # name of the checksum among the arrays


def save(folder: pathlib.Path, step: int, tree: Any) -> None:
    """Keep a pytree of arrays as the checkpoint of a step, in place of the one before.

    Raises:
      OSError: the disk is full, or does not let it be written.
    """
    import orbax.checkpoint as ocp

    arrays = pytrees.named(jax.device_get(tree))
    arrays[CRC] = np.asarray(pytrees.crc32(arrays), np.uint32)
    with _manager(folder) as manager:
        try:
            manager.save(step, args=ocp.args.PyTreeSave(arrays))
        except ValueError as error:  # as tensorstore tells what the machine has refused
            code = re.search(r"os_error_code='(\d+)'", str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from error


def restore(folder: pathlib.Path, wanted: Any) -> Any | None:
    """Read the newest checkpoint, to the bit; None where there is none.

    Args:
      folder: of the checkpoints of one chunk.
      wanted: a pytree of the structure, shapes and dtypes that it must have.

    Returns:
      A pytree like `wanted`, numpy leaves.

    Raises:
      InputError: it is damaged, or a leaf is missing or of another shape or dtype.
    """
    import orbax.checkpoint as ocp

    if not folder.exists():
        return None
    with _manager(folder) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        try:
            arrays = dict(manager.restore(step, args=ocp.args.PyTreeRestore()))
            if int(arrays.pop(CRC)) != pytrees.crc32(arrays):
                raise ValueError("its checksum is another")
        except Exception as error:  # whatever orbax and tensorstore make of damaged files
            raise InputError(
                f"{folder / str(step)}: got a checkpoint that cannot be read "
                f"({type(error).__name__}), wanted one as train writes it; delete it to fit again"
            ) from error
    return pytrees.like(arrays, wanted, folder / str(step))


def _manager(folder: pathlib.Path) -> Any:
    """Open the checkpoints of a folder: a context manager."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, cleanup_tmp_directories=True, enable_async_checkpointing=False
    )
    logging.getLogger("absl").addFilter(_is_not_of_orbax)  # once, however often it is called
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False)
    return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handler)


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    """Leave out what orbax logs: a warning at every save, and tracebacks of what it raises, too."""
    return "orbax" not in record.pathname
