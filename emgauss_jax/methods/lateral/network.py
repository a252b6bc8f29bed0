"""The network: an axial plane as it was observed, to the same plane with all of its rows.

Letters: R observed rows, k planes for every observed slice, C columns, F features.
"""

import flax.linen as nn
import jax

from emgauss_jax.methods.layers import Conv3x3, reach_of


class LateralNet(nn.Module):
    """Residual convolutions on the observed grid; the last gives every row its k planes at once.

    All work is done at the observed resolution, where a pixel costs a k-th of what it costs on
    the isotropic grid. From row to row structures move by several px: taps are spread out along
    the rows, so that what belongs together is seen together. The last kernel starts at zero, so
    that nothing is added at the start.

    Source: EDSR without batch norm, as niiv's encoder; planes as channels as in ESPCN; dilation
    as in IRCNN.
    """

    factor: int
    features: int
    blocks: int

    @nn.compact
    def __call__(self, rows: jax.Array) -> jax.Array:
        """Map f32[R, C] to what is added to an interpolation, f32[R, C, k]."""
        he, small = (
            nn.initializers.he_normal(),
            nn.initializers.variance_scaling(0.02, "fan_in", "truncated_normal"),
        )
        hidden = Conv3x3(self.features, he)(rows[..., None])
        for i in range(self.blocks):
            reach = reach_of(i)
            inner = Conv3x3(self.features, he, reach)(nn.relu(hidden))
            hidden = hidden + Conv3x3(self.features, small, reach)(nn.relu(inner))
        return Conv3x3(self.factor, nn.initializers.zeros_init())(nn.relu(hidden))
