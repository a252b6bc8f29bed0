"""Values that are stored packed, by the conventions of CF: `scale_factor` and `add_offset`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_UNPACKED = {"scale_factor": 1.0, "add_offset": 0.0}


def packing_notes(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Say that packed values are read as they are stored; nothing where they are not packed.

    Args:
      attributes: of an HDF5 dataset or a zarr array.
    """
    said = []
    for name, neutral in _UNPACKED.items():
        values = np.ravel(attributes.get(name, neutral)).tolist()
        if any(value != neutral for value in values):
            said.append(f"{name} {', '.join(_text(value) for value in values)}")
    verb = "are" if len(said) > 1 else "is"
    return (f"{' and '.join(said)} {verb} not applied: stored values are read",) if said else ()


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)
