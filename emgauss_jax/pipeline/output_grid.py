"""At which depths an output has its planes. Letters: Q planes, K observed slices."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.slice_depths import to_nm, to_slices
from emgauss_jax.data.stack import SliceStack


class OutputGrid(NamedTuple):
    """Where the planes of an output lie."""

    z: np.ndarray  # f64[Q], input-slice units
    voxel_nm: tuple[float, float, float]


def isotropic(observed: SliceStack) -> OutputGrid:
    """Lay planes at the lateral voxel size; in simulation, at the planes of the reference.

    Raises:
      InputError: the slices lie no farther apart than the pixels.
    """
    z_nm, y_nm, x_nm = observed.voxel_nm
    plan = observed.plan
    if plan.factor:
        return OutputGrid(plan.z_reference, (z_nm / plan.factor, y_nm, x_nm))
    if z_nm < y_nm:
        raise InputError(
            f"voxel_nm: got z {z_nm:g} and y {y_nm:g}, wanted z >= y: slices at least as far apart "
            "as pixels (set data.voxel_nm, or data.simulate_factor for an isotropic volume)"
        )
    return by_factor(observed, z_nm / y_nm)


def place_of(observed: SliceStack, grid: OutputGrid) -> Place:
    """Tell where the first voxel of an output lies: over the px of the input that it shows."""
    return observed.place_at(float(grid.z[0]))


def by_factor(observed: SliceStack, factor: float) -> OutputGrid:
    """Lay `factor` planes for every observed slice, from the first slice to the last.

    They are evenly spaced in nm, also where the slices are not.

    Raises:
      InputError: a factor below 1.
    """
    if not np.isfinite(factor) or factor < 1:
        raise InputError(f"factor: got {factor:g}, wanted 1 or more")
    z_nm, y_nm, x_nm = observed.voxel_nm
    count = int(np.floor((observed.shape[0] - 1) * factor + 1e-6)) + 1
    planes = np.arange(count) / factor  # in mean slice distances
    depths = observed.depths_nm
    if depths is not None:
        planes = to_slices(depths[0] + planes * z_nm, depths, observed.plan.valid)
    return OutputGrid(planes, (z_nm / factor, y_nm, x_nm))


def at_depths(observed: SliceStack, z: Sequence[float]) -> OutputGrid:
    """Lay planes at the depths asked for; the output's axial voxel size is their mean distance.

    Raises:
      InputError: a depth outside the stack, or depths that do not rise.
    """
    last = observed.shape[0] - 1
    depths = np.asarray(z, np.float64)
    if not (
        len(depths)
        and np.all(depths >= 0)
        and np.all(depths <= last)
        and np.all(np.diff(depths) > 0)
    ):
        raise InputError(f"z: got {z}, wanted rising depths from 0 to {last}")
    z_nm, y_nm, x_nm = observed.voxel_nm
    places = depths * z_nm
    if observed.depths_nm is not None:
        places = to_nm(depths, observed.depths_nm, observed.plan.valid)
    step = float(np.diff(places).mean()) if len(depths) > 1 else z_nm
    return OutputGrid(depths, (step, y_nm, x_nm))


def one_given(**named: Any) -> tuple[str, Any] | None:
    """Choose the one value that is given of z, z_voxel_nm and factor; None: none of them is.

    Raises:
      InputError: more than one is given, or what is no number.
    """
    given = {name: value for name, value in named.items() if value is not None}
    if len(given) > 1:
        raise InputError(f"planes: got {list(given)}, wanted at most one of them")
    if not given:
        return None
    ((name, value),) = given.items()
    ndim, wanted = (1, "numbers like 1.5,2.25") if name == "z" else (0, "a number")
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.ndim != ndim:
        raise InputError(f"{name}: got {value!r}, wanted {wanted}")
    return name, tuple(numbers.tolist()) if ndim else float(numbers)


def output_grid(observed: SliceStack, asked: tuple[str, Any] | None) -> OutputGrid:
    """Choose the planes that are asked for.

    Args:
      observed: of the run.
      asked: "factor", planes for every slice; "z_voxel_nm", their distance in nm; or "z", depths in
        input-slice units; each with its value. None: isotropic.

    Raises:
      InputError: a value that cannot work.
    """
    if asked is None:
        return isotropic(observed)
    name, value = asked
    if name == "factor":
        return by_factor(observed, value)
    if name == "z":
        return at_depths(observed, value)
    if not 0 < value <= observed.voxel_nm[0]:
        raise InputError(
            f"z_voxel_nm: got {value:g}, wanted more than 0 and at most "
            f"{observed.voxel_nm[0]:g}, the distance of the slices"
        )
    return by_factor(observed, observed.voxel_nm[0] / value)
