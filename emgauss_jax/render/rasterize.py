"""The one public door to all rasterizers.

All are plain JAX, which XLA compiles for CPU and GPU alike. A kernel in Pallas for Triton was
removed: no card ever judged it, and JAX deprecates that backend since 0.11. What may one day follow
for a GPU is a kernel in Mosaic GPU, or one in Warp through FFI.
"""

import dataclasses

import jax
import jax.numpy as jnp

from emgauss_jax.data.errors import InputError
from emgauss_jax.render.binned import binned
from emgauss_jax.render.gaussians import Splats
from emgauss_jax.render.reference import reference
from emgauss_jax.render.tiled import tiled

BACKENDS = ("reference", "tiled", "binned")
AXIS_ALIGNED = ("binned",)
BLENDS = ("alpha", "sum")


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """How splats are drawn; static and hashable.

    Raises:
      InputError: a name that does not exist, or a backend that cannot draw the blend.
    """

    blend: str = "sum"  # "alpha" or "sum"
    backend: str = "binned"  # one of BACKENDS
    cutoff: float = 3.5  # sigma up to which a splat is drawn (tiled, binned)
    capacity: int = 512  # places in lists, for a tile on average (tiled)

    def __post_init__(self):
        if self.backend not in BACKENDS:
            raise InputError(f"backend: got {self.backend!r}, wanted one of {BACKENDS}")
        if self.blend not in BLENDS:
            raise InputError(f"blend: got {self.blend!r}, wanted one of {BLENDS}")
        if not self.cutoff > 0 or self.capacity < 1:
            raise InputError(
                f"render: got cutoff {self.cutoff} and capacity {self.capacity}, "
                "wanted more than 0 and 1 or more"
            )
        if self.backend in AXIS_ALIGNED and self.blend != "sum":
            raise InputError(f"backend {self.backend} draws blend 'sum' only: got {self.blend!r}")


DEFAULT = RenderSettings()


def rasterize(
    splats: Splats,
    shape: tuple[int, int],
    settings: RenderSettings = DEFAULT,
    background: jax.Array | float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Draw splats on one plane.

    Args:
      splats: N splats, in order (alpha blending: the first lies in front).
      shape: (H, W), px.
      settings: blend and backend.
      background: f32[], grey behind (alpha) or under (sum) all splats.

    Returns:
      The image f32[H, W], and i32[] the tile overflow: how many places the tiles' lists lacked
      (always 0 for backends without lists).

    Raises:
      InputError: rotated splats given to a backend that draws axis-aligned ones only.
    """
    if settings.backend == "tiled":
        return tiled(
            splats,
            shape,
            blend=settings.blend,
            background=background,
            cutoff=settings.cutoff,
            capacity=settings.capacity,
        )
    if settings.backend in AXIS_ALIGNED and splats.angles is not None:
        raise InputError(f"backend {settings.backend}: got rotated splats, wanted angles None")
    if settings.backend == "binned":
        image = binned(splats, shape, background=background, cutoff=settings.cutoff)
    else:
        image = reference(splats, shape, blend=settings.blend, background=background)
    return image, jnp.int32(0)
