"""FSIM of evenly spaced planes of a comparison, averaged down while boxes are read.

Letters: N planes of a group, R C their size after averaging.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from emgauss_jax.data.tiling import Box
from emgauss_jax.evaluation.comparison import Comparison, predict, read
from emgauss_jax.metrics import fsim
from emgauss_jax.metrics.scores import DIRECTIONS, SMALLEST, chosen_planes

HELD = 2**24  # px of averaged planes that are held at once: 64 MiB

Cut = Callable[[Sequence[int]], list[Box]]  # a shape into the boxes that are read


def fsim_scores(compared: Comparison, cut: Cut, area: int) -> dict[str, dict[str, float]]:
    """Measure FSIM in the three directions.

    Args:
      compared: what is compared.
      cut: cuts a shape into boxes.
      area: most px, seen along z, of neighbouring axial planes that are read together.

    Returns:
      name -> `fsim_xy`, `fsim_xz`, `fsim_yz`; nan where the planes are too small.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in compared.names}
    for axis, direction in enumerate(DIRECTIONS):
        for name, value in _direction(compared, axis, cut, area).items():
            found[name][f"fsim_{direction}"] = value
    return found


def _direction(compared: Comparison, axis: int, cut: Cut, area: int) -> dict[str, float]:
    """Average FSIM over the planes at right angles to an axis: name -> score."""
    if min(_plane(compared.shape, axis)) < SMALLEST:
        return dict.fromkeys(compared.names, np.nan)
    values: dict[str, list[float]] = {name: [] for name in compared.names}
    for group in _groups(compared, axis, area):
        pooled = _pooled(compared, group, axis, cut)
        for i in range(len(group)):  # one by one: groups of any size share a program
            features = {
                name: fsim.features_of_pooled(each[i : i + 1]) for name, each in pooled.items()
            }
            for name in compared.names:
                pair = features[name], features[""]
                values[name].append(float(fsim.fsim_from_features(*pair)[0]))
    return {name: float(np.mean(each)) for name, each in values.items()}


def _plane(shape: Sequence[int], axis: int) -> list[int]:
    return [length for i, length in enumerate(shape) if i != axis]


def _groups(compared: Comparison, axis: int, area: int) -> Iterator[list[int]]:
    """Group neighbouring planes that are read together; those along z are read one by one."""
    shape = compared.shape
    planes = np.flatnonzero(compared.observed.plan.hidden) if axis == 0 else np.arange(shape[axis])
    size = _plane(shape, axis)
    pixels = int(np.prod(size)) // fsim.pool_size(*size) ** 2 * (len(compared.names) + 1)
    group: list[int] = []
    for plane in planes[chosen_planes(len(planes))].tolist():
        # Seen along z, a group of axial planes covers its span times the other lateral axis.
        wide = axis == 0 or (plane - (group or [plane])[0] + 1) * shape[3 - axis] > area
        if group and (wide or (len(group) + 1) * pixels > HELD):
            yield group
            group = []
        group.append(plane)
    yield group


def _pooled(
    compared: Comparison, group: Sequence[int], axis: int, cut: Cut
) -> dict[str, np.ndarray]:
    """Average planes down: name -> f32[N, R, C]; the reference has the name ""."""
    shape = compared.shape
    size = _plane(shape, axis)
    step = fsim.pool_size(*size)
    small = (len(group), *(length // step for length in size))
    pooled = {name: np.zeros(small, np.float32) for name in (*compared.names, "")}
    bounds = _slab(shape, axis, group[0], group[-1] + 1)
    for box in (each.moved(bounds.start) for each in cut(bounds.shape)):
        seen = read(compared, box)
        for i, plane in enumerate(group):
            part = _slab(box.stop, axis, plane, plane + 1, box.start)
            known = {name: predict(compared, seen, name, part) for name in compared.names}
            known[""] = seen.reference[part.moved([-n for n in box.start]).slices]
            at = _plane(box.start, axis)
            for name, values in known.items():
                planes = np.moveaxis(values, axis, 0)
                fsim.add_pooled(pooled[name][i : i + 1], planes, tuple(at), step)
    return pooled


def _slab(
    stop: Sequence[int], axis: int, low: int, high: int, start: Sequence[int] = (0, 0, 0)
) -> Box:
    """Take the planes low:high along an axis out of a box from start to stop."""
    first, last = list(start), list(stop)
    first[axis], last[axis] = low, high
    return Box(tuple(first), tuple(b - a for a, b in zip(first, last, strict=True)))
