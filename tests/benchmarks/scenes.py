"""Splats to draw: drawn at random, crowded, or fitted. Letters: N splats, H W size in px."""

import pathlib
import runpy
from typing import Any

import jax.numpy as jnp
import numpy as np

from emgauss_jax.methods.base import Block
from emgauss_jax.methods.emgauss.model import deform, uncertainty
from emgauss_jax.pipeline.region import open_region
from emgauss_jax.pipeline.region_store import read_fitted
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.pseudo_labels.store import Labels
from emgauss_jax.pseudo_labels.weights import SourceWeights
from emgauss_jax.render.gaussians import Splats, activate
from emgauss_jax.storage.run_dir import read_workdir
from emgauss_jax.training.problem import Problem

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "emgauss.py"
FACTOR = 8  # every 8th plane of the phantom is observed
BUMPS = 64  # of the clustered scene
BUMP_WEIGHT = 1.5  # standard deviation of the logarithm of a bump's weight
UNJUDGED = SourceWeights({}, 1.0, {}, 1.0, {})  # of blank labels, which no source has made


def uniform(count: int, size: int, seed: int) -> Splats:
    """Spread axis-aligned splats evenly over (size, size) px."""
    rng = np.random.default_rng(seed)
    return _scene(rng, rng.uniform(-0.5, size - 0.5, (count, 2)))


def clustered(count: int, size: int, seed: int) -> Splats:
    """Crowd the splats of `uniform` into bumps, a few of which hold most: a heavy-tailed density.

    Args:
      count: N.
      size: H = W, px.
      seed: of positions and all else.
    """
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(0.0, BUMP_WEIGHT, BUMPS)
    bump = rng.choice(BUMPS, count, p=weight / weight.sum())
    centres = rng.uniform(0, size, (BUMPS, 2))
    widths = size / 32 * rng.lognormal(0.0, 0.5, BUMPS)
    means = centres[bump] + widths[bump, None] * rng.standard_normal((count, 2))
    return _scene(rng, means % size - 0.5)


def _scene(rng: np.random.Generator, means: np.ndarray) -> Splats:
    """Give splats at f64[N, 2] px the sizes and greys that all scenes share."""
    count = len(means)
    return Splats(
        means=jnp.asarray(means, jnp.float32),
        scales=jnp.asarray(rng.uniform(0.8, 1.8, (count, 2)), jnp.float32),
        angles=None,
        opacities=jnp.asarray(rng.uniform(0.05, 0.9, count), jnp.float32),
        intensities=jnp.asarray(rng.uniform(0.1, 1.0, count), jnp.float32),
    )


def target(shape: tuple[int, int]) -> np.ndarray:
    """Draw the image that every loss compares with: f32[H, W]."""
    return np.random.default_rng(0).uniform(0.0, 1.0, shape).astype(np.float32)


def fitted(workdir: pathlib.Path) -> tuple[Splats, tuple[int, int]]:
    """Read block 0 of a finished fit in the middle of its first gap.

    Args:
      workdir: made by the train command.

    Returns:
      The N splats, and the block's (H, W) px.

    Raises:
      ValueError: there is no finished fit.
    """
    run = prepare(read_workdir(workdir), workdir)
    params, block = read_fitted(run, 0, workdir).block(0)
    splats = splats_at(run, params, block, (block.z[0] + block.z[1]) / 2)
    return splats, block.slices.shape[1:]


def splats_at(run: Run, params: Any, block: Block, z: float) -> Splats:
    """Carry the Gaussians of a block to a depth and activate them, as `cloud.render` does.

    Args:
      run: whose method it is.
      params: of the block.
      block: the observed slices.
      z: input-slice units.
    """
    settings, deformation = run.template.method.predict.args  # bound by `method.build`
    gaussians, _ = deform(settings, deformation, params, block, jnp.float32(z))
    return activate(
        gaussians,
        min_scale=settings.min_scale,
        rotated=settings.rotation or settings.deform_rotation,
        blur=params.gap_blur * uncertainty(block, z),
    )


def phantom(planes: int, size: int, gaussians_per_px: float | None = None) -> Run:
    """Prepare the default config on one block of the phantom.

    Args:
      planes: of the phantom, of which every FACTOR-th is observed.
      size: H = W, px.
      gaussians_per_px: None keeps the config's own.
    """
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.data.path = "phantom"
    config.data.phantom_shape = (planes, size, size)
    config.data.simulate_factor = FACTOR
    config.block.max_size = (planes, size, size)
    if gaussians_per_px is not None:
        config.emgauss.gaussians_per_px = gaussians_per_px
    return prepare(config)


def first_block(run: Run) -> Problem:
    """State the fit of the first block alone; where a run makes labels, its own are blank."""
    region, labels = open_region(run, 0), None
    if run.label_template:
        planes, z, per_slice = run.label_template.blank(region.observed)
        labels = Labels(planes, planes, z, per_slice, UNJUDGED)
    return Problem(run.template, region.cut([0], labels))
