"""A network small enough for tests."""

from emgauss_jax.methods.emformer.network import Sizes

SIZES = Sizes(
    features=4,
    deep_features=4,
    scales=2,
    stage_blocks=2,
    groups=1,
    heads=2,
    window=(2, 2, 4),
    head_features=4,
    doublings=1,
    drop=0.5,
)
