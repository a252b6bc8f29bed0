"""A network small enough for tests, with parameters that do something."""

import jax

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


def stirred(params, size=0.2):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    moved = [a + size * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)
