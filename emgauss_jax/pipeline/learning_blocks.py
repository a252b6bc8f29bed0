"""The blocks that a shared network learns from, drawn out of one volume or several.

Letters: B blocks.
"""

import itertools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.opening import measured, open_unmeasured, with_chunks_counted
from emgauss_jax.data.stack import SliceStack, whole_factor, why_axes_differ
from emgauss_jax.data.tiling import Box, Grid
from emgauss_jax.methods.base import Block
from emgauss_jax.metrics.scores import SMALLEST
from emgauss_jax.pipeline.cutting import cut_blocks, part_of
from emgauss_jax.pipeline.run import Run
from emgauss_jax.storage.network_file import Learned

MOST_BLOCKS = 64  # that are learned from: 340 MB of 64 x 144 x 144 voxels, as by default


def open_volumes(run: Run) -> list[SliceStack]:
    """Open all volumes that are to be learned from; of the further ones none is read.

    Raises:
      InputError: one from whose lateral images nothing can be learned, or unlike the first.
    """
    config, volumes = run.config, [run.observed]
    for path in config.data.paths:
        data = config.data.copy_and_resolve_references().unlock()
        data.update(path=str(path), crop="", missing=(), z_nm="", series=-1)
        volumes.append(with_chunks_counted(open_unmeasured(data), data))
    for path, volume in zip((config.data.path, *config.data.paths), volumes, strict=True):
        why_not = _why_not_learn(volume, whole_factor(run.observed), run.grid.size)
        if why_not:
            raise InputError(f"{path}: got {why_not}, to learn from lateral images")
    return volumes


def _why_not_learn(observed: SliceStack, factor: int, size: Sequence[int]) -> str:
    """Say why a volume cannot be learned from, after "got"; empty where it can."""
    if why_axes_differ(observed):
        return why_axes_differ(observed)
    if whole_factor(observed) != factor:
        return f"{whole_factor(observed)} px from slice to slice, wanted {factor} as in data.path"
    smallest = max(SMALLEST, observed.plan.profile.plane_count(3, factor))
    field = tuple(min(pair) for pair in zip(size[1:], observed.shape[1:], strict=True))
    if min(field) < smallest:
        return f"blocks of {field[0]} x {field[1]} px, wanted {smallest} px or more"
    return ""


def draw_blocks(run: Run) -> tuple[Block, Learned]:
    """Read blocks to learn from, drawn with the run's seed: MOST_BLOCKS, or one of each volume.

    Returns:
      Leaves [B, ...]; blocks of one intensity are left out. And what they are.

    Raises:
      InputError: volumes that cannot be learned from together, or hold nothing to learn.
    """
    first, *others = open_volumes(run)
    volumes = [first, *map(measured, others)]
    shapes = [(len(volume.z_valid), *volume.shape[1:]) for volume in volumes]
    size = np.minimum.reduce([run.grid.size, *shapes]).tolist()
    random = np.random.default_rng(run.config.seed)
    drawn = [random.permutation(starts_of_boxes(shape, size)) for shape in shapes]
    found: list[np.ndarray] = []
    for volume, start in _in_turn(volumes, drawn):
        slices = _read(volume, Box(start, tuple(size)))
        if np.ptp(slices) > 0:
            found.append(slices)
        if len(found) == max(MOST_BLOCKS, len(volumes)):
            break
    if not found:
        raise InputError("data.path: got voxels of one intensity alone, wanted some to learn from")
    whole = (Box((0, 0, 0), tuple(size)),)
    z = np.arange(size[0], dtype=np.float32)
    blocks = [cut_blocks(slices, z, whole) for slices in found]
    learned = Learned(
        whole_factor(first), len(found), sum(map(len, drawn)), len(volumes), tuple(size)
    )
    return jax.tree.map(lambda *leaf: np.concatenate(leaf), *blocks), learned


def starts_of_boxes(shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Cover a volume with the fewest boxes of one size, none larger than it: i64[boxes, 3]."""
    starts = [
        np.linspace(0, length - n, -(-length // n)).round().astype(int)
        for length, n in zip(shape, size, strict=True)
    ]
    return np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)


def _in_turn(
    volumes: Sequence[SliceStack], starts: Sequence[np.ndarray]
) -> Iterator[tuple[SliceStack, tuple[int, ...]]]:
    """Go through the boxes of all volumes, one of each in turn, so that small ones count too."""
    for turn in itertools.zip_longest(*starts):
        for volume, start in zip(volumes, turn, strict=True):
            if start is not None:
                yield volume, tuple(start.tolist())


def _read(volume: SliceStack, box: Box) -> np.ndarray:
    """Read the valid slices of a box, f32[V, H, W], intensity in [0, 1]."""
    return part_of(volume, Grid(tuple((n,) for n in box.start), box.shape)).unit_valid
