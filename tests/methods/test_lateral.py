"""The lateral prior: its pairs, its network, and what it can learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods import interpolate, lateral_pairs
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.lateral import method
from emgauss_jax.methods.layers import Conv3x3
from tests.tiny_runs import stirred


def settings(factor=4, profile=THIN, **changes):
    small = dict(features=4, blocks=1, batch=2, rows=3, columns=16)
    return method.Settings(factor, profile, **(small | changes))


def block(slices=5, shape=(20, 26), seed=0):
    values = np.random.default_rng(seed).uniform(0.2, 0.8, (slices, *shape)).astype(np.float32)
    return Block(jnp.asarray(values), jnp.arange(slices, dtype=jnp.float32), jnp.ones(slices, bool))


@pytest.mark.parametrize("reach", [1, 2])
def test_the_convolution_is_one(reach):
    image = jax.random.normal(jax.random.key(0), (5, 7, 3))
    layer = Conv3x3(4, jax.nn.initializers.normal(), reach)
    params = stirred(layer.init(jax.random.key(1), image), 0.1)
    want = jax.lax.conv_general_dilated(
        image[None], params["params"]["kernel"], (1, 1), "SAME", rhs_dilation=(1, reach),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
    )[0] + params["params"]["bias"]  # fmt: skip
    np.testing.assert_allclose(layer.apply(params, image), want, atol=1e-5)


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
@pytest.mark.parametrize("factor", [2, 5])
def test_planes_lie_where_degradation_took_them_from(factor, profile):
    """A slice is the mean of its planes, or the plane at its own depth."""
    rows = 4
    depths = profile.plane_depths(rows, factor)
    np.testing.assert_allclose(np.diff(depths), 1 / factor)
    image = jnp.asarray(depths, jnp.float32)[:, None]
    np.testing.assert_allclose(profile.degrade(image, factor)[:, 0], np.arange(rows), atol=1e-6)


def test_pieces_come_from_both_lateral_axes_and_both_ways_up():
    y, x = jnp.meshgrid(jnp.arange(20.0), jnp.arange(26.0), indexing="ij")
    slices = jnp.stack([y + 100 * x] * 3)
    draw = functools.partial(lateral_pairs.draw_image, planes=9, columns=5)
    images = jax.vmap(draw, (0, None))(jax.random.split(jax.random.key(0), 64), slices)
    steps = {float(image[1, 0] - image[0, 0]) for image in images}
    assert steps == {1.0, -1.0, 100.0, -100.0}
    whole = lateral_pairs.draw_image(jax.random.key(0), slices[:, :9, :9], 9, 9)
    assert sorted(np.ravel(whole)) == sorted(np.ravel(slices[0, :9, :9]))


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_starts_as_an_interpolation(profile):
    b, made = block(), settings(profile=profile)
    z = np.float32(profile.plane_depths(5, 4))
    params = method.init(made, jax.random.key(0), b)
    kind = profile.interpolation
    want = interpolate.baselines(b, z, (kind,))[kind]
    if not profile.is_plane:
        # sampled planes of it keep the mean of a slice roughly, the method's exactly
        parts = want.reshape(5, 4, *want.shape[1:])
        want = (parts + (b.slices[:, None] - parts.mean(axis=1, keepdims=True))).reshape(want.shape)
    np.testing.assert_allclose(method.predict(made, params, b, z), want, atol=1e-5)


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_agrees_with_what_was_observed(profile):
    b, made = block(), settings(profile=profile)
    params = stirred(method.init(made, jax.random.key(0), b), 0.1)
    planes = method.predict(made, params, b, np.float32(profile.plane_depths(5, 4)))
    kept = profile.degrade(planes.reshape(len(planes), -1), 4).reshape(b.slices.shape)
    np.testing.assert_allclose(kept, b.slices, atol=1e-5)
    assert np.abs(planes[1] - b.slices[0]).max() > 0.05  # and only with that


def test_is_linear_between_its_planes():
    b, made = block(), settings()
    params = stirred(method.init(made, jax.random.key(0), b), 0.1)
    planes = method.predict(made, params, b, jnp.float32([0.5, 0.625, 0.75]))
    np.testing.assert_allclose(planes[1], (planes[0] + planes[2]) / 2, atol=1e-5)


def test_a_turned_stack_gives_the_turned_volume():
    b, made = block(shape=(20, 20)), settings()
    params = stirred(method.init(made, jax.random.key(0), b), 0.1)
    z = np.float32(THIN.plane_depths(5, 4))
    planes = method.predict(made, params, b, z)
    swapped = method.predict(made, params, b._replace(slices=b.slices.swapaxes(1, 2)), z)
    np.testing.assert_allclose(swapped, planes.swapaxes(1, 2), atol=1e-5)
    turned = method.predict(made, params, b._replace(slices=b.slices[::-1, ::-1, ::-1]), z)
    np.testing.assert_allclose(turned, planes[::-1, ::-1, ::-1], atol=1e-5)


@pytest.mark.slow
def test_learns_what_interpolation_does_not_know():
    """Between the rows of blobs the best guess is better than a straight line."""
    volume = gaussian_filter(np.random.default_rng(0).normal(size=(33, 40, 40)), 2.0)
    volume = (0.5 + 0.3 * np.tanh(3 * volume / volume.std())).astype(np.float32)
    made = settings(features=16, blocks=2, batch=4, rows=9, columns=32)
    seen = volume[::4]
    b = Block(jnp.asarray(seen), jnp.arange(9.0), jnp.ones(9, bool))
    params = method.init(made, jax.random.key(0), b)

    adam = optax.adam(5e-3)

    @jax.jit
    def descend(params, moments, key):
        grad = jax.grad(lambda p: method.loss(made, p, p, b, key, 0, {})[0])(params)
        updates, moments = adam.update(grad, moments)
        return optax.apply_updates(params, updates), moments

    moments = adam.init(params)
    for key in jax.random.split(jax.random.key(1), 200):
        params, moments = descend(params, moments, key)
    z = np.float32(THIN.plane_depths(9, 4))
    linear = interpolate.baselines(b, z, ("linear",))["linear"]
    error, rival = (
        float(np.mean((v - volume) ** 2)) for v in (method.predict(made, params, b, z), linear)
    )
    assert error < 0.9 * rival


def test_bad_settings():
    with pytest.raises(ValueError, match="wanted factor 2"):
        settings(factor=1)
