"""Our rasterizers as cases to time, and what each has to compute at least.

Letters: N splats, M pairs of a tile and a splat, H W image size in px.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.render.binned import find_bins, plan
from emgauss_jax.render.gaussians import Splats
from emgauss_jax.render.rasterize import AXIS_ALIGNED, RenderSettings, rasterize
from emgauss_jax.render.tiled import TILE, build_lists, tile_grid
from tests.benchmarks.scenes import target
from tests.benchmarks.separable import SeparableSettings, separable

FLOAT = 4  # bytes

Settings = RenderSettings | SeparableSettings

BACKENDS = {
    "separable": SeparableSettings(),
    "binned": RenderSettings(blend="sum", backend="binned"),
    "tiled": RenderSettings(blend="sum", backend="tiled"),
    "tiled alpha": RenderSettings(blend="alpha", backend="tiled"),
}

# Operations for each pixel of each pair, an exponential counted as one. Forward: 14 for the falloff
# (2 offsets, 9 for the quadratic form, 2 for the exponential, 1 for the cutoff), 1 for the opacity,
# then the blend: 2 in a sum, 6 in alpha. Backward: all of it again, 15 for the sums over pixels,
# and the gradients of alpha, opacity and intensity.
TILED_OPERATIONS = {"sum": 17 + 17 + 15 + 4, "alpha": 21 + 21 + 15 + 14}


class Ours(NamedTuple):
    """A backend, compiled; both take splats whose leaves may carry a leading block axis."""

    forward: Callable[[Splats], jax.Array]  # -> f32[..., H, W]
    both: Callable[[Splats], Splats]  # -> the gradient of the loss


class Work(NamedTuple):
    """What forward and backward must do together at least."""

    flops: float
    bytes: float


def draw(splats: Splats, shape: tuple[int, int], settings: Settings) -> jax.Array:
    """Draw splats with a backend of the package or with `separable`: f32[H, W]."""
    if isinstance(settings, SeparableSettings):
        return separable(splats, shape)
    return rasterize(splats, shape, settings)[0]


def can_turn(settings: Settings) -> bool:
    """Tell whether a backend draws rotated splats."""
    return settings.backend not in (*AXIS_ALIGNED, SeparableSettings.backend)


def ours(settings: Settings, shape: tuple[int, int], blocks: bool = False) -> Ours:
    """Build the two functions that are timed.

    Args:
      settings: backend and blend.
      shape: (H, W), px.
      blocks: whether splats carry a leading block axis.
    """
    wanted = jnp.asarray(target(shape))

    forward = functools.partial(draw, shape=shape, settings=settings)

    def loss(splats):
        return 0.5 * jnp.sum(jnp.square(forward(splats) - wanted))

    grad = jax.grad(loss)
    return Ours(*(jax.jit(jax.vmap(f) if blocks else f) for f in (forward, grad)))


def check_lists(splats: Splats, shape: tuple[int, int], settings: RenderSettings) -> None:
    """Make sure that tile lists hold all pairs.

    Raises:
      ValueError: they do not, so that the work timed would not be the work asked for.
    """
    overflow = int(_lists(splats, shape, settings).overflow)
    if overflow:
        raise ValueError(
            f"capacity: got {settings.capacity}, wanted room for {overflow} more pairs"
        )


def list_lengths(splats: Splats, shape: tuple[int, int], settings: Settings) -> np.ndarray | None:
    """Measure the lists of all tiles, or of all cells of the finest level; None without lists."""
    if settings.backend == "tiled":
        return np.diff(np.asarray(_lists(splats, shape, settings).starts))
    if settings.backend == "binned":
        return _bins(splats, shape, settings)[: plan(shape, len(splats.means))[0].cells]
    return None


def _lists(splats, shape, settings):
    build = functools.partial(
        build_lists, shape=shape, blend=settings.blend, capacity=settings.capacity
    )
    return jax.jit(functools.partial(build, cutoff=settings.cutoff))(splats)


def _bins(splats, shape, settings) -> np.ndarray:
    """Count the splats of every bin of `binned`: i64[B]."""
    levels = plan(shape, len(splats.means))
    bins = np.asarray(find_bins(splats, levels, settings.cutoff))
    return np.bincount(bins, minlength=levels[-1].first + 1)


def count(splats: Splats, shape: tuple[int, int], settings: Settings) -> Work:
    """Count the arithmetic and the traffic of one forward and backward of a backend."""
    counters = {"separable": count_separable, "binned": count_binned}
    return counters.get(settings.backend, count_tiled)(splats, shape, settings)


def count_separable(splats: Splats, shape: tuple[int, int], settings: Settings) -> Work:
    """Count three products of N x H by N x W and the profiles.

    A product is 2 N H W: one forward, one for the gradient of each axis. A profile's number takes 5
    operations and 7 in its gradient. It is written, read by two products and by its own gradient,
    which is written and read in turn: 6 times its size.
    """
    del settings
    number, (height, width) = len(splats.means), shape
    profiles = number * (height + width)
    return Work(
        6 * number * height * width + 12 * profiles,
        FLOAT * (6 * profiles + 4 * height * width),
    )


def count_binned(splats: Splats, shape: tuple[int, int], settings: RenderSettings) -> Work:
    """Count three products over the patch of each splat's own level, and the profiles.

    Only splats count, not the empty places of a pass. A profile's number takes 5 operations, 5
    when it is drawn again, and 7 in its moments. The table's 5 numbers of a splat are sorted, read
    twice, and their gradients written and sorted back; patches are written and read in both passes.
    """
    levels, held = plan(shape, len(splats.means)), _bins(splats, shape, settings)
    flops, moved = 0.0, FLOAT * (5 * 7 * len(splats.means) + 4 * shape[0] * shape[1])
    for level in levels:
        here = held[level.first : level.first + level.cells].sum()
        high, wide = level.patch
        flops += here * (6 * high * wide + 17 * (high + wide))
        moved += FLOAT * 4 * level.cells * high * wide
    return Work(float(flops), float(moved))


def count_tiled(splats: Splats, shape: tuple[int, int], settings: RenderSettings) -> Work:
    """Count every pair at the 256 pixels of its tile.

    The list's entry and a splat's 7 numbers are read twice, the 7 of its gradient written and read;
    a pixel's two numbers are written forward and, with their gradients, read backward.
    """
    pairs = int(list_lengths(splats, shape, settings).sum())
    pixels = tile_grid(shape)[0] * tile_grid(shape)[1] * TILE**2
    return Work(
        float(pairs * TILE**2 * TILED_OPERATIONS[settings.blend]),
        float(FLOAT * (pairs * (2 * 8 + 2 * 7) + pixels * 6)),
    )
