"""What changes along depth: deformations under one contract.

A deformation maps a canonical Gaussian and a depth to offsets, in plane only: the axial position
and size of all Gaussians are global constants, which an orthographic render of one depth never
needs. All are the identity at the start. To try another, write a function that returns a
`Deformation` and name it in `DEFORMATIONS`; its options are the config section of that name.
Which Gaussians are deformed depends on the blend, and an offset has the name of the field that it
is added to: `amplitudes` of those in a sum, `opacity_logits` of those for alpha blending.
Letters: N Gaussians, H W block size in px.
"""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from emgauss_jax.data.errors import InputError


class Depth(NamedTuple):
    """One depth, as a deformation sees it."""

    t: jax.Array  # f32[], 0 at the first slice of the block, 1 at the last
    hat: jax.Array  # f32[knots], linear interpolation weights of the two knots around it


# What is added to the canonical Gaussians before activation, by the names of their fields:
# f32[N, ...] like the field, in its unit. A field that is not named stays as it is.
Offsets = dict[str, jax.Array]


class Deformation(NamedTuple):
    """A deformation as pure functions.

    `init(key, count N, knots) -> params`
    `apply(params, means f32[N, 2], shape (H, W), depth) -> Offsets`
    `gaussian_axes`: the axis of each leaf of params that counts Gaussians, so that density control
        can copy what a Gaussian has learned; None for a leaf that all Gaussians share. An int or
        None for all leaves, or a pytree prefix of params with an int or None at each of its ends,
        exactly as `in_axes` of `jax.vmap`.
    `divide(params, count f32[N]) -> params`: divide what each Gaussian adds to its amplitude by
        the number of those that now share it. By default nothing is divided, and the offsets of
        copies add up until they have learned otherwise.
    """

    init: Callable[..., Any]
    apply: Callable[..., Offsets]
    gaussian_axes: Any
    divide: Callable[..., Any] = lambda params, count: params


SHAPES = {"means": (2,), "log_scales": (2,), "angles": (), "amplitudes": (), "opacity_logits": ()}


def _check_fields(kind: str, fields: tuple[str, ...]) -> None:
    """Raise where no field is named, or one that no offset can have."""
    if not fields or not set(fields) <= set(SHAPES):
        raise InputError(f"{kind}.fields: got {list(fields)}, wanted some of {list(SHAPES)}")


def spline(fields: tuple[str, ...] = ("amplitudes",)) -> Deformation:
    """Give every Gaussian a linear spline of offsets along depth.

    A missing slice is a knot that `Depth.hat` never names, so the spline spans the gap.

    Args:
      fields: of the Gaussians, those that change with depth; the others have no knots.

    Raises:
      InputError: a field that does not exist.

    Source: ours; EMGauss leaves the form of the deformation network open to its constraints.
    """
    _check_fields("spline", fields)

    def init(key: jax.Array, count: int, knots: int) -> dict[str, jax.Array]:
        del key
        return {name: jnp.zeros((knots, count, *SHAPES[name])) for name in fields}

    def apply(params, means: jax.Array, shape: tuple[int, int], depth: Depth) -> Offsets:
        del means, shape
        # A product with the hat weights, not an index: its gradient is a product too.
        return {name: jnp.tensordot(depth.hat, knots, axes=1) for name, knots in params.items()}

    def divide(params, count: jax.Array) -> dict[str, jax.Array]:
        return {
            name: knots / count if name == "amplitudes" else knots for name, knots in params.items()
        }

    return Deformation(init, apply, gaussian_axes=1, divide=divide)


def encode(x: jax.Array, octaves: int) -> jax.Array:
    """Append sin and cos of 2^k x for k < octaves.

    Args:
      x: f32[..., C].

    Returns:
      f32[..., C * (1 + 2 * octaves)].

    Source: Deformable 3D Gaussians, positional encoding (raw value kept, no pi).
    """
    scaled = x[..., None, :] * (2.0 ** jnp.arange(octaves))[:, None]
    waves = jnp.concatenate([jnp.sin(scaled), jnp.cos(scaled)], axis=-1)
    return jnp.concatenate([x, waves.reshape(*x.shape[:-1], -1)], axis=-1)


class DeformationMLP(nn.Module):
    """The network Phi: encoded (mean, t) to C offsets, zero at the start."""

    layers: int
    width: int
    octaves: int
    outputs: int  # C
    skip: int = 5  # the encoding enters again after this layer

    @nn.compact
    def __call__(self, means: jax.Array, t: jax.Array) -> jax.Array:
        """Map f32[N, 2] in [-1, 1] and f32[] to f32[N, C]."""
        times = jnp.broadcast_to(t, (means.shape[0], 1))
        code = jnp.concatenate([encode(means, self.octaves), encode(times, self.octaves)], axis=-1)
        hidden = code
        for layer in range(self.layers):
            hidden = nn.relu(nn.Dense(self.width)(hidden))
            if layer + 1 == self.skip:
                hidden = jnp.concatenate([code, hidden], axis=-1)
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros, name="heads")(hidden)


def mlp(
    layers: int = 8,
    width: int = 256,
    octaves: int = 10,
    fields: tuple[str, ...] = ("means", "log_scales", "angles", "amplitudes"),
) -> Deformation:
    """Share one network Phi(mean, t) among all Gaussians.

    Args:
      layers, width: of the network.
      octaves: of the encoding of positions and depth.
      fields: of the Gaussians, those that change with depth.

    Raises:
      InputError: a field that does not exist.

    Source: EMGauss, section 3, on the network of Deformable 3D Gaussians (8 layers of 256); heads
      at zero as in gsplat's dynamic module. Centres enter detached. The one output layer holds
      all linear heads.
    """
    _check_fields("mlp", fields)
    *ends, outputs = accumulate(math.prod(SHAPES[name]) for name in fields)
    network = DeformationMLP(layers, width, octaves, outputs)

    def init(key: jax.Array, count: int, knots: int) -> dict[str, Any]:
        del count, knots
        return network.init(key, jnp.zeros((1, 2)), jnp.zeros(()))["params"]

    def apply(params, means: jax.Array, shape: tuple[int, int], depth: Depth) -> Offsets:
        half = (max(shape) - 1) / 2  # px of one unit of the box [-1, 1]
        centre = (jnp.asarray(shape) - 1) / 2
        unit = (jax.lax.stop_gradient(means) - centre) / half
        out = network.apply({"params": params}, unit, depth.t)
        parts = zip(fields, jnp.split(out, ends, axis=1), strict=True)
        offsets = {name: part.reshape(-1, *SHAPES[name]) for name, part in parts}
        if "means" in offsets:
            offsets["means"] *= half
        return offsets

    return Deformation(init, apply, gaussian_axes=None)


DEFORMATIONS = {"spline": spline, "mlp": mlp}
