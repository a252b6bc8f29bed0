"""Three stages, and the depths and weights of the teacher's pseudo-labels.

Warm-up (deformation frozen), joint, teacher-student: the stages are a function of the step, so one
compiled program serves all three. The freeze itself is a learning rate of 0 (`training.optimizer`).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from emgauss_jax.data.errors import InputError
from emgauss_jax.methods.base import Block, bracket


@dataclasses.dataclass(frozen=True)
class Stages:
    """When each stage begins; iterations.

    Source: EMGauss, section 3: 2k warm-up, 1k joint, then real and pseudo iterations alternate;
      the weight of pseudo-labels rises linearly from 0.1 at 3k to 1.0 at 10k, of 18k in all. That
      their depths spread over the gap in that same interval is ours: the paper gives no numbers.
      The numbers here are ours, for 4k in all.

    Raises:
      InputError: a stage of less than no iterations, one that ends before it begins, or a weight
        that is none.
    """

    warmup: int = 200
    joint: int = 1_000
    ramp_end: int = 2_000
    weight_first: float = 0.1
    weight_last: float = 1.0
    use_teacher: bool = True

    def __post_init__(self):
        if min(self.warmup, self.joint) < 0:
            raise InputError(
                f"emgauss.stages: got warmup {self.warmup} and joint {self.joint}, wanted 0 or "
                "more iterations of each"
            )
        if self.ramp_end < self.warmup + self.joint:
            raise InputError(
                f"emgauss.stages.ramp_end: got {self.ramp_end}, wanted warmup + joint "
                f"({self.warmup + self.joint}) or later"
            )
        for name in ("weight_first", "weight_last"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"emgauss.stages.{name}: got {getattr(self, name)}, wanted 0 or more"
                )

    def ramp(self, step: jax.Array) -> jax.Array:
        """Rise from 0 at the start of the teacher stage to 1 at `ramp_end`."""
        start = self.warmup + self.joint
        return jnp.clip((step - start) / max(self.ramp_end - start, 1), 0.0, 1.0)

    def is_pseudo(self, step: jax.Array, labelled: bool = False) -> jax.Array:
        """Tell whether an iteration learns from pseudo-labels: every second one of the last stage.

        Args:
          step: i32[].
          labelled: the labels are another's, and need no teacher.
        """
        since = step - (self.warmup + self.joint)
        return (self.use_teacher or labelled) & (since >= 0) & (since % 2 == 1)


def pseudo_depths(key: jax.Array, block: Block, spread: jax.Array, count: int) -> jax.Array:
    """Draw depths around the middles of the gaps between valid slices.

    Args:
      key: PRNG key, consumed.
      block: K observed slices.
      spread: f32[] in [0, 1]: 0, the middles alone; 1, all of every gap.
      count: Q, depths to draw.

    Returns:
      f32[Q], input-slice units. Wide gaps are drawn in proportion to their width.
    """
    place_key, offset_key = jax.random.split(key)
    first, last = block.z[0], block.z[-1]
    place = jax.random.uniform(place_key, (count,), minval=first, maxval=last)
    offset = jax.random.uniform(offset_key, (count,), minval=-0.5, maxval=0.5)

    def one(place, offset):
        gap = bracket(block, place)
        low, high = block.z[gap.lower], block.z[gap.upper]
        return (low + high) / 2 + spread * offset * (high - low)

    return jax.vmap(one)(place, offset)


def real_slices(key: jax.Array, block: Block, count: int) -> jax.Array:
    """Draw valid observed slices, evenly.

    Returns:
      i32[Q], indices into K.
    """
    chance = block.valid / block.valid.sum()
    return jax.random.choice(key, block.z.shape[0], (count,), p=chance)
