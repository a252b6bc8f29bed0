"""Interpolation along motion: optical flow from slice to slice, found coarse to fine.

Structures run obliquely through a stack, and from slice to slice they move by more px than they
are wide. Gradients at full resolution miss such a motion, so coarse images are matched first.
Letters: V valid slices, Q queried planes, H W lateral size in px.

Source: TV-L1 flow, Zach, Pock and Bischof 2007, its total variation by Chambolle's projection.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from emgauss_jax.methods.base import gap_around

SMOOTHING = 2.0  # px, blur before matching, because noise does not follow the motion
ATTACHMENT = 2.0  # weight of the intensity error (in standard deviations) against smoothness
TIGHTNESS = 0.3  # of the tie between the flow and its smoothed copy
STEP = 0.25  # of the projection: the largest that converges in two dimensions
WARPS, STEPS, PROJECTIONS = 5, 10, 2
SMALLEST = 16  # px, least side of the coarsest level
SHARE = 0.8  # fraction of a flow that is followed, because a motion found is not always real
AT_ONCE = 4  # pairs or planes computed together: what a CPU's caches hold


class Flows(NamedTuple):
    """Where every pixel of a slice lies in its neighbour."""

    forth: jax.Array  # f32[V - 1, 2, H, W], px (y, x), from each slice to the next
    back: jax.Array  # f32[V - 1, 2, H, W], from the next slice back to each


def match(first: jax.Array, second: jax.Array) -> jax.Array:
    """Find the flow for which first(p) = second(p + flow).

    Args:
      first: f32[H, W], smooth, of unit variance.
      second: f32[H, W].

    Returns:
      f32[2, H, W], px.
    """
    shapes = [first.shape]
    while min(shapes[-1]) >= 2 * SMALLEST:
        shapes.append(tuple(n // 2 for n in shapes[-1]))
    flow = jnp.zeros((2, *shapes[-1]))
    for shape in reversed(shapes):
        scale = jnp.asarray(shape, flow.dtype) / jnp.asarray(flow.shape[1:], flow.dtype)
        flow = jax.image.resize(flow, (2, *shape), "linear") * scale[:, None, None]
        flow = _refine(
            *(jax.image.resize(image, shape, "linear") for image in (first, second)), flow
        )
    return flow


def _refine(first: jax.Array, second: jax.Array, flow: jax.Array) -> jax.Array:
    """Improve a flow at one resolution."""

    def once(carry, _):
        flow, dual = carry
        moved = warp(second, flow)
        slope = jnp.stack(jnp.gradient(moved))
        steep = jnp.square(slope).sum(axis=0) + 1e-9
        still = moved - first - (slope * flow).sum(axis=0)

        def step(carry, _):
            flow, dual = carry
            error = still + (slope * flow).sum(axis=0)
            most = ATTACHMENT * TIGHTNESS
            flow -= jnp.clip(error / steep, -most, most) * slope
            return jax.vmap(_smooth)(flow, dual), None

        return jax.lax.scan(step, (flow, dual), length=STEPS)[0], None

    dual = jnp.zeros((2, *flow.shape))  # a gradient for each component
    return jax.lax.scan(once, (flow, dual), length=WARPS)[0][0]


def _smooth(rough: jax.Array, dual: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Reduce the total variation of f32[H, W]; also return its dual variable, f32[2, H, W]."""
    smooth = rough
    for _ in range(PROJECTIONS):
        gradient = jnp.stack(
            [
                jnp.diff(smooth, axis=i, append=jax.lax.slice_in_dim(smooth, -1, None, axis=i))
                for i in (0, 1)
            ]
        )
        size = jnp.sqrt(jnp.square(gradient).sum(axis=0))
        dual = (dual - STEP * gradient) / (1 + STEP / TIGHTNESS * size)
        smooth = rough - sum(jnp.diff(dual[i], axis=i, prepend=0) for i in (0, 1))
    return smooth, dual


def warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    """Sample f32[H, W] at p + flow, f32[2, H, W] px; beyond the border, repeat its last px."""
    places = jnp.indices(image.shape) + flow
    return jax.scipy.ndimage.map_coordinates(image, list(places), order=1, mode="nearest")


def find_flows(slices: np.ndarray) -> Flows:
    """Match every slice with the next one, both ways.

    Args:
      slices: f32[V, H, W], valid ones, two or more, of at least 2 x 2 px.
    """
    smooth = gaussian_filter(slices, (0, SMOOTHING, SMOOTHING))
    return _match_all((smooth - smooth.mean()) / (smooth.std() + 1e-6))


@jax.jit
def _match_all(slices: jax.Array) -> Flows:
    def both_ways(pair):
        return Flows(match(*pair), match(*pair[::-1]))

    return jax.lax.map(both_ways, (slices[:-1], slices[1:]), batch_size=AT_ONCE)


@jax.jit
def along(flows: Flows, slices: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Interpolate planes along flows.

    Args:
      flows: between the slices.
      slices: f32[V, H, W], valid ones.
      place: f32[Q], depths counted in valid slices, 0 to V - 1.

    Returns:
      f32[Q, H, W], and the standard deviation of voxels that randomly equal either slice.
    """

    def plane(place):
        lower, past = gap_around(place, len(slices))
        forth, back = SHARE * flows.forth[lower], SHARE * flows.back[lower]
        rest = 1 - past
        # A flow is defined on its own slice but used on the plane, so both flows are averaged.
        below = (warp(slices[lower], -past * forth) + warp(slices[lower], past * back)) / 2
        above = (warp(slices[lower + 1], rest * forth) + warp(slices[lower + 1], -rest * back)) / 2
        deviation = jnp.sqrt(rest * past) * jnp.abs(above - below)
        return rest * below + past * above, deviation

    return jax.lax.map(plane, place, batch_size=AT_ONCE)


def fill_in(slices: np.ndarray, place: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Find the flows between two or more slices and interpolate along them; see `along`."""
    return along(find_flows(slices), slices, place)
