"""One network for all blocks: what it learns from, and its fit.

Letters: B blocks.
"""

import dataclasses
import itertools
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from emgauss_jax import trained
from emgauss_jax.data.boxes import Box, Grid
from emgauss_jax.data.observed import Observed, open_observed
from emgauss_jax.experiment import Run, part_of
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.pairs import plane_count
from emgauss_jax.prior import whole_factor
from emgauss_jax.training import checkpoint
from emgauss_jax.training.fit import fit
from emgauss_jax.training.problem import Problem, cut_blocks

MOST_BLOCKS = 64  # that are learned from: 340 MB of 64 x 144 x 144 voxels


def check_learnable(run: Run) -> None:
    """Make sure that lateral images of a volume can be degraded as its z was.

    Raises:
      ValueError: saying why they cannot.
    """
    observed = run.observed
    (z_nm, y_nm, x_nm), (_, height, width) = observed.voxel_nm, observed.shape
    factor = whole_factor(observed)
    if factor < 2 or not np.isclose(y_nm, x_nm, rtol=1e-3):  # float32 headers
        raise ValueError(
            f"voxel_nm: got {z_nm:g} x {y_nm:g} x {x_nm:g} (z, y, x), wanted y = x and z 1.5 times "
            "that, to learn from lateral images"
        )
    smallest = plane_count(3, factor, observed.plan.averaged)
    if min(height, width) < smallest:
        raise ValueError(
            f"data.path: got a field of {height} x {width} px, wanted {smallest} px or more, three "
            "slices' distance"
        )
    if len(observed.z_valid) < len(observed.z):
        raise ValueError("data.missing: got slices, wanted none: a network takes gaps for equal")


def fit_network(run: Run, workdir: pathlib.Path) -> None:
    """Fit the network, unless that has been done; killed and started again, go on.

    Raises:
      ValueError: volumes that cannot be learned from together.
      FloatingPointError: the fit failed, with the step.
    """
    if not trained.is_there(workdir):
        params = fit(problem_of(run), workdir)
        trained.write(workdir, jax.tree.map(lambda leaf: leaf[0], params))
    shutil.rmtree(workdir / checkpoint.FOLDER, ignore_errors=True)


def problem_of(run: Run) -> Problem:
    """State what the network is to be fitted to: all blocks are its only one."""
    blocks = jax.tree.map(lambda leaf: leaf[None], draw_blocks(run))
    return dataclasses.replace(run.problem, blocks=blocks)


def draw_blocks(run: Run) -> Block:
    """Read blocks to learn from, of all volumes: at most MOST_BLOCKS, drawn with the run's seed.

    Returns:
      Leaves [B, ...]. Blocks of one intensity are left out.

    Raises:
      ValueError: volumes that cannot be learned from together, or hold nothing to learn.
    """
    config = run.config
    factor = whole_factor(run.observed)
    volumes = (run.observed, *(_open(config, path, factor) for path in config.data.paths))
    shapes = [(len(volume.z_valid), *volume.shape[1:]) for volume in volumes]
    size = np.minimum.reduce([run.grid.size, *shapes]).tolist()
    places = [
        (volume, box)
        for volume, shape in zip(volumes, shapes, strict=True)
        for box in boxes_of_size(shape, size)
    ]
    found: list[np.ndarray] = []
    for i in np.random.default_rng(config.seed).permutation(len(places)):
        slices = _read(*places[i])
        if np.ptp(slices) > 0:
            found.append(slices)
        if len(found) == MOST_BLOCKS:
            break
    if not found:
        raise ValueError("data.path: got voxels of one intensity alone, wanted some to learn from")
    whole = (Box((0, 0, 0), tuple(size)),)
    z = np.arange(size[0], dtype=np.float32)
    blocks = [cut_blocks(slices, z, whole) for slices in found]
    return jax.tree.map(lambda *leaf: np.concatenate(leaf), *blocks)


def boxes_of_size(shape: Sequence[int], size: Sequence[int]) -> list[Box]:
    """Cover a volume with the fewest boxes of one size, none larger than it."""
    starts = [
        np.linspace(0, length - n, -(-length // n)).round().astype(int).tolist()
        for length, n in zip(shape, size, strict=True)
    ]
    return [Box(start, tuple(size)) for start in itertools.product(*starts)]


def _open(config: Any, path: str, factor: int) -> Observed:
    """Open a further volume, and make sure that it is sampled as the first is."""
    data = config.data.copy_and_resolve_references().unlock()
    data.update(path=path, crop="", missing=())
    volume = open_observed(data)
    if whole_factor(volume) != factor:
        raise ValueError(
            f"data.paths: got {path} with {whole_factor(volume)} px from slice to slice, wanted "
            f"{factor} as in data.path"
        )
    return volume


def _read(volume: Observed, box: Box) -> np.ndarray:
    """Read the valid slices of a box, f32[V, H, W], intensity in [0, 1]."""
    return part_of(volume, Grid(tuple((n,) for n in box.start), box.shape)).unit_valid
