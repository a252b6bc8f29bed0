"""Planes of any part of the output, blended from all blocks that reach it.

A part needs the regions around it and nothing else, so that parts may be made in any order, by any
process, and come out alike.
Letters: Q planes, H W size of the part in px.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax.data.errors import FitError
from emgauss_jax.data.tiling import Box, Grid, blend_weights
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.region import FitStore, Fitted
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pseudo_labels.uncertainty import standard_error

REGIONS = 12  # held at once: more than meet in a tile


class Fits(NamedTuple):
    """The finished fits of a run, opened when they are needed."""

    run: Run
    bounds: np.ndarray  # i64[regions, 2, 3], where each starts and stops: z, y, x
    predict: Callable[..., Any]  # compiled
    draw_error: Callable[..., Any] | None  # likewise; None, the method does not know its error
    open: Callable[[int], Fitted]
    errors: Callable[[int], Callable[[np.ndarray], np.ndarray]]  # of a region, by depth
    slab: int  # planes drawn at once


def open_fits(run: Run, store: FitStore) -> Fits:
    """Open the finished fits of a run; nothing is read yet."""
    method = run.template.method
    open_one = functools.lru_cache(REGIONS)(store.open)

    def errors(index: int) -> Callable[[np.ndarray], np.ndarray]:
        fitted = open_one(index)
        return standard_error(fitted.region.observed, fitted.labels)

    both = method.predict_with_error
    draw_error = both and jax.jit(lambda *given: both(*given)[1])
    errors = functools.lru_cache(REGIONS)(errors)
    bounds = np.array([(box.start, box.stop) for box in (one.bounds for one in run.regions)])
    predict, slab = jax.jit(method.predict), fitting_of(method).planes_at_once
    return Fits(run, bounds, predict, draw_error, open_one, errors, slab)


class Share(NamedTuple):
    """What blocks add to a part of the output."""

    window: tuple[slice, slice]  # y, x px of the part
    source: tuple[slice, slice]  # the same px, in the blocks
    along: tuple[np.ndarray, np.ndarray, np.ndarray]  # f64[Q], f64[h], f64[w] of the window

    @property
    def weight(self) -> np.ndarray:
        """f64[Q, h, w], the product of the three."""
        z, y, x = self.along
        return z[:, None, None] * (y[:, None] * x)


def share_of(run: Run, blocks: Grid, z: np.ndarray, part: Box) -> Share | None:
    """Weigh blocks over a part of the output; None where they do not reach it.

    Args:
      blocks: of the run's grid.
      z: f64[Q], depths, input-slice units.
      part: its y and x, px; z is not looked at.
    """
    z_valid = run.observed.z_valid
    place = np.interp(z, z_valid, np.arange(len(z_valid)))  # blocks count valid slices
    bounds, lows, highs = blocks.bounds, [], []
    for axis in (1, 2):
        lows.append(max(part.start[axis], bounds.start[axis]))
        highs.append(min(part.stop[axis], bounds.stop[axis]))
    outside = place[-1] < bounds.start[0] - 1 or place[0] > bounds.stop[0]
    if outside or lows[0] >= highs[0] or lows[1] >= highs[1]:
        return None
    coords = (place, np.arange(lows[0], highs[0]), np.arange(lows[1], highs[1]))
    along = blend_weights(blocks, run.grid, coords)
    if not all(weights.any() for weights in along):
        return None
    return Share(_window(lows, highs, part), _window(lows, highs, bounds), along)


def _window(lows: list[int], highs: list[int], box: Box) -> tuple[slice, slice]:
    """Count px from the start of a box."""
    (_, y, x), (y0, x0), (y1, x1) = box.start, lows, highs
    return slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)


def render(fits: Fits, z: np.ndarray, part: Box) -> np.ndarray:
    """Render planes of a part of the field.

    Args:
      fits: finished.
      z: f64[Q], at most `fits.slab` depths, input-slice units.
      part: its y and x, px.

    Returns:
      f32[Q, H, W], intensity in [0, 1] or a little beyond.

    Raises:
      FitError: a plane that could not be drawn.
    """
    return _blended(fits, fits.predict, z, part)


def _blended(fits: Fits, draw: Callable[..., Any], z: np.ndarray, part: Box) -> np.ndarray:
    """Draw planes of all blocks that reach a part, and blend them."""
    total = np.zeros((len(z), *part.shape[1:]), np.float32)
    for index, region, _ in _reaching(fits, z, part):
        for i, start in enumerate(box.start for box in region.boxes):
            one = Grid(tuple((n,) for n in start), region.size)
            share = share_of(fits.run, one, z, part)
            if share:
                mine = share.along[0] > 0  # planes of weight 0 are not drawn
                planes = _draw(fits, draw, index, i, z[mine])
                total[mine, *share.window] += share.weight[mine] * planes[:, *share.source]
    return total


def expected_error(fits: Fits, z: np.ndarray, part: Box) -> np.ndarray:
    """Estimate the standard error of planes f64[Q] of a part: f32[Q, H, W], intensity."""
    if fits.draw_error:
        return _blended(fits, fits.draw_error, z, part)
    total = np.zeros((len(z), *part.shape[1:]), np.float32)
    for index, _, share in _reaching(fits, z, part):
        total[:, *share.window] += share.weight * fits.errors(index)(z)[:, *share.source]
    return total


def _reaching(fits: Fits, z: np.ndarray, part: Box) -> Iterator[tuple[int, Grid, Share]]:
    """Find the regions that reach a part of the output."""
    starts, stops = fits.bounds[:, 0, 1:], fits.bounds[:, 1, 1:]
    near = ((stops > part.start[1:]) & (starts < part.stop[1:])).all(axis=1)  # of 50,000, a column
    for index in np.flatnonzero(near):
        region = fits.run.regions[index]
        share = share_of(fits.run, region, z, part)
        if share:
            yield int(index), region, share


def _draw(
    fits: Fits, draw: Callable[..., Any], region: int, block: int, z: np.ndarray
) -> np.ndarray:
    """Draw planes of one block; padded to `slab` depths, so that one program serves all."""
    fitted = fits.open(region)
    constant = fitted.region.constants[block]
    if not np.isnan(constant):
        value = constant if draw is fits.predict else 0.0
        return np.broadcast_to(value, (len(z), *fitted.region.boxes[block].shape[1:]))
    padded = np.concatenate([z, np.full(fits.slab - len(z), z[-1])]).astype(np.float32)
    planes = np.asarray(draw(*fitted.block(block), padded))[: len(z)]
    if not np.isfinite(planes).all():
        raise FitError(
            f"region {region}, block {block}: got planes that could not be drawn, wanted finite "
            "ones: the fit is damaged, or (emgauss) tiles overflow: raise emgauss.render.capacity"
        )
    return planes
