"""SIREN: the published network, and coordinates that mean what they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.siren import method


def settings(**changes):
    small = dict(anisotropy=4.0, profile=THIN, width=16, layers=2, points=64)
    return method.Settings(**(small | changes))


def block(slices):
    count = len(slices)
    return Block(jnp.asarray(slices), jnp.arange(count * 1.0), jnp.ones(count, bool))


def test_as_many_parameters_as_published():
    start = functools.partial(method.init, settings(width=256, layers=4))
    params = jax.eval_shape(start, jax.random.key(0), None)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 198_657


def test_the_first_layer_alone_starts_as_one():
    params = method.init(settings(width=64, layers=3), jax.random.key(0), None)["network"]
    for name, limit in (("Dense_0", 1 / 3), ("Dense_1", np.sqrt(6 / 64) / 30)):
        most = np.abs(params[name]["kernel"]).max()
        assert 0.9 * limit < most <= limit


def test_a_pixel_along_z_is_a_pixel_along_y():
    """A place k px deeper is a slice deeper: the same network drawn along either axis."""
    some, stack = settings(), block(np.zeros((5, 17, 17), np.float32))
    params = method.init(some, jax.random.key(0), None)
    swap = params["network"]["Dense_0"]["kernel"][jnp.array([1, 0, 2])]
    turned = {
        "network": params["network"] | {"Dense_0": params["network"]["Dense_0"] | {"kernel": swap}}
    }
    steps = jnp.arange(17.0)
    along_z = method.draw(some, params, stack, steps / 4, jnp.full(17, 8.0), jnp.full(17, 3.0))
    along_y = method.draw(some, turned, stack, jnp.full(17, 2.0), steps, jnp.full(17, 3.0))
    np.testing.assert_allclose(along_z, along_y, atol=1e-4)


def test_beyond_the_slices_is_the_nearest_depth_they_show():
    some, stack = settings(profile=averaged(2)), block(np.zeros((5, 9, 9), np.float32))
    params = method.init(some, jax.random.key(0), None)
    drawn = method.predict(some, params, stack, jnp.array([-3.0, -0.25, 4.25, 9.0, 4.0]))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[3], drawn[2])
    assert np.abs(drawn[3] - drawn[4]).max() > 1e-3


def test_an_averaged_slice_is_drawn_as_the_mean_of_its_planes():
    profile = averaged(2)
    some, params = settings(profile=profile), method.init(settings(), jax.random.key(0), None)
    stack = block(np.zeros((3, 9, 9), np.float32))
    planes = method.predict(
        some, params, stack, jnp.array([z + o for z in range(3) for o in profile.offsets])
    )
    own = stack._replace(slices=planes.reshape(3, 2, 9, 9).mean(axis=1))
    assert float(method.loss(some, params, None, own, jax.random.key(1), 0, {})[0]) < 1e-8


def test_a_missing_slice_is_not_looked_at():
    some, params = settings(), method.init(settings(), jax.random.key(0), None)
    stack = block(np.full((3, 9, 9), 0.5, np.float32))
    spoilt = stack._replace(
        slices=stack.slices.at[1].set(1e6), valid=jnp.array([True, False, True])
    )
    assert float(method.loss(some, params, None, spoilt, jax.random.key(1), 0, {})[0]) < 10


def test_numbers_that_cannot_work():
    with pytest.raises(ValueError, match="points"):
        settings(points=0)
