"""One network for all blocks: what it learns from, its fit, and regions drawn by it.

It is fitted as one task; `network.safetensors` in the workdir is all that remains.
Letters: B blocks.
"""

import dataclasses
import functools
import itertools
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.stack import (
    SliceStack,
    measured,
    open_unmeasured,
    whole_factor,
    why_axes_differ,
)
from emgauss_jax.data.tiling import Box, Grid
from emgauss_jax.methods.base import Block
from emgauss_jax.metrics.scores import SMALLEST
from emgauss_jax.pipeline.cutting import cut_blocks, part_of
from emgauss_jax.pipeline.phase import Phase
from emgauss_jax.pipeline.region import FitStore, Fitted, open_region
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.trials import TrialFolders
from emgauss_jax.storage import network_file, pytrees
from emgauss_jax.storage.run_dir import claim_workdir
from emgauss_jax.training import chunk_plan, metrics_log
from emgauss_jax.training.block_axis import block_axis
from emgauss_jax.training.failures import Failure
from emgauss_jax.training.fit import fit
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.metrics_log import Watch
from emgauss_jax.training.problem import Problem, check
from emgauss_jax.training.sweep_results import failed, pick

MOST_BLOCKS = 64  # that are learned from: 340 MB of 64 x 144 x 144 voxels, as by default


def plan_fits(run: Run, workdir: pathlib.Path) -> Phase:
    """Plan the fit: one task, however many regions there are."""
    return Phase(
        name="fit",
        count=1,
        done=lambda task: is_done(workdir),
        do=lambda task: fit_network(run, workdir),
    )


def is_done(workdir: pathlib.Path) -> bool:
    """Tell whether the network is fitted and its checkpoints are deleted."""
    return network_file.is_there(workdir) and not (workdir / chunk_plan.FOLDER).exists()


def check_inputs(run: Run, workdir: pathlib.Path) -> None:
    """Make sure, before a fit is begun, that a network can learn from the volumes of a run.

    Raises:
      InputError: saying why it cannot.
    """
    if not network_file.is_there(workdir):
        check_can_fit(run)


def check_can_fit(run: Run) -> None:
    """Raise where no network can be fitted to the volumes of a run."""
    open_volumes(run)
    check(run.template)


def check_fitted(run: Run, workdir: pathlib.Path) -> None:
    """Raise where the network is not fitted."""
    network_file.read(workdir, run.template.method.init)


def open_volumes(run: Run) -> list[SliceStack]:
    """Open all volumes that are to be learned from; of the further ones none is read.

    Raises:
      InputError: one from whose lateral images nothing can be learned, or unlike the first.
    """
    config, volumes = run.config, [run.observed]
    for path in config.data.paths:
        data = config.data.copy_and_resolve_references().unlock()
        data.update(path=str(path), crop="", missing=())
        volumes.append(open_unmeasured(data))
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


def fit_network(run: Run, workdir: pathlib.Path) -> None:
    """Fit the network, unless that has been done; killed and started again, go on.

    Raises:
      InputError: volumes that cannot be learned from together.
      FitError: the fit failed, with the step.
    """
    if not network_file.is_there(workdir):
        problem, learned = problem_of(run)
        params = fit(problem, workdir)
        network_file.write(workdir, _only(params), learned, run.config)
    shutil.rmtree(workdir / chunk_plan.FOLDER, ignore_errors=True)


def _only(params: Any) -> Any:
    """Take the parameters of the only fit: leaves without the fit axis."""
    return jax.tree.map(lambda leaf: leaf[0], params)


def fits_in(run: Run, workdir: pathlib.Path) -> FitStore:
    """Give the network of a workdir; it is read with every region that it draws."""
    read = functools.partial(network_file.read, workdir, run.template.method.init)
    return drawn_by(run, read, lambda: network_file.read_learned(workdir))


def fit_in_memory(run: Run, watch: Callable[[str], Watch]) -> FitStore:
    """Fit the network; nothing is written to disk.

    Args:
      watch: gives who is told how far a part of the work is, by its name.
    """
    check_can_fit(run)
    problem, learned = problem_of(run)
    params = _only(fit(problem, None, watch("fit")))
    return drawn_by(run, lambda: params, lambda: learned)


def drawn_by(
    run: Run, params: Callable[[], Any], learned: Callable[[], network_file.Learned]
) -> FitStore:
    """Let a network draw all regions.

    Args:
      params: gives the network.
      learned: gives what it has learned from.
    """

    def open_one(index: int) -> Fitted:
        region, network = open_region(run, index), params()
        count = len(region.live)  # each block has the same parameters; none is copied
        shared = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *leaf.shape)), network)
        return Fitted(region, None, shared)

    def notes() -> dict[str, str]:
        others = run.config.data.paths
        told = {"learned from": str(learned())}
        return told | ({"learned from, too": ", ".join(others)} if others else {})

    def pack() -> tuple[Any, dict[str, Any]]:
        return {"params": params()}, {"learned": learned()._asdict()}

    return FitStore(open_one, lambda index: None, notes, pack)


def unpack(run: Run, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> FitStore:
    """Take the network out of what `FitStore.pack` has named.

    Raises:
      InputError: it is another method's.
    """
    wanted = jax.eval_shape(run.template.method.init, jax.random.key(0), None)
    params = pytrees.like(pytrees.part(arrays, "params"), wanted, "network")
    learned = network_file.Learned(**about["learned"])
    return drawn_by(run, lambda: params, lambda: learned)


def fit_trials(run: Run, hypers: Sequence[Hyper], folders: TrialFolders) -> dict[int, Failure]:
    """Fit a network for every trial, and leave each in the trial's folder.

    Returns:
      Trial -> why it failed, of those that did.
    """
    problem, learned = problem_of(run)
    problem = dataclasses.replace(problem, sweep=tuple(hypers))
    teachers = fit(problem, folders.fit)
    failures = failed(problem, folders.fit)
    for which, (workdir, config) in enumerate(folders.own):
        claim_workdir(workdir, config)
        if which not in failures:
            params = pick(problem, teachers, which)
            network_file.write(workdir, _only(params), learned, config)
            source = folders.fit / metrics_log.FILE
            metrics_log.copy_metrics(source, workdir / metrics_log.FILE, which)
    return failures


def problem_of(run: Run) -> tuple[Problem, network_file.Learned]:
    """State what the network is to be fitted to, and what it learns from."""
    blocks, learned = draw_blocks(run)
    return Problem(run.template, block_axis(run.template.method).fits_of(blocks)), learned


def draw_blocks(run: Run) -> tuple[Block, network_file.Learned]:
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
    learned = network_file.Learned(
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
