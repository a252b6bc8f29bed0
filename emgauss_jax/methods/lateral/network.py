"""The network: it maps the observed rows of an axial plane to all rows of the plane.

Letters: R observed rows, k planes for every observed slice, C columns, F features.
"""

import flax.linen as nn
import jax

from emgauss_jax.methods.layers import Conv3x3, reach_of


class LateralNet(nn.Module):
    """Residual convolutions on the observed grid; the last gives every row its k planes at once.

    The network works at the observed resolution, at a k-th of the cost of the isotropic grid.
    Structures move by several px from row to row, so taps are dilated along the rows to see the
    same structure in neighbouring rows. The last kernel starts at 0, so the network adds nothing
    at first.

    Source: EDSR without batch norm, like niiv's encoder; planes as channels as in ESPCN; dilation
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
