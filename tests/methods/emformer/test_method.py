"""Planes at any depth and of missing slices, in eight rotations; a step."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods import interpolate, registry
from emgauss_jax.methods.axial_rows import Missing
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.emformer import method
from emgauss_jax.methods.emformer.rotations import reversals
from tests.methods.emformer.tiny_sizes import SIZES
from tests.tiny_runs import default, stirred


def settings(factor=2.0, profile=THIN, missing=(0, 0, 0), **changes):
    small = dict(batch=2, frames=2, rows=4, columns=12, ssim_weight=1.0)
    return method.Settings(factor, profile, Missing(*missing), SIZES, **(small | changes))


def block(z=range(5), shape=(14, 17), seed=0):
    values = np.random.default_rng(seed).uniform(0.2, 0.8, (len(z), *shape)).astype(np.float32)
    return Block(jnp.asarray(values), jnp.asarray(z, jnp.float32), jnp.ones(len(z), bool))


@functools.cache
def started(profile=THIN):
    """Parameters that do something; the same for every size of a stack."""
    return stirred(jax.jit(functools.partial(method.init, settings(profile=profile)))(
        jax.random.key(0), None
    ))  # fmt: skip


@functools.cache
def drawing(profile=THIN):
    """Both functions of a method, compiled."""
    made = method.build(settings(profile=profile))
    return jax.jit(made.predict), jax.jit(made.predict_with_error)


def test_a_stack_is_turned_in_eight_rotations():
    matrices = set()
    for way, exchanged in itertools.product(itertools.product((False, True), repeat=2), (0, 1)):
        turned = reversals(np.array(way), bool(exchanged))
        order = [0, 2, 1] if exchanged else [0, 1, 2]
        matrix = np.eye(3)[order] * np.where(turned, -1, 1)[:, None]
        assert np.linalg.det(matrix) == pytest.approx(1)
        matrices.add(matrix.astype(int).tobytes())
    assert len(matrices) == 8


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_rotations_are_undone_exactly(profile, monkeypatch):
    """Of an interpolation, which knows no direction, all eight views are one."""

    def frames(settings, params, frames, valid, place):
        interpolate = functools.partial(method.interpolate, profile=profile)
        return jax.vmap(interpolate, (0, None))(frames, place)

    monkeypatch.setattr(method, "draw_frames", frames)
    stack, z = block(), np.array([0.0, 0.7, 2.5, 4.0])
    views = method.views(settings(profile=profile), None, stack, jnp.asarray(z, jnp.float32))
    kind = profile.interpolation
    want = interpolate.baselines(stack, z, (kind,))[kind]
    assert len(views) == 8
    for view in views:
        np.testing.assert_allclose(view, want, atol=2e-5)


@pytest.mark.slow
def test_at_the_start_planes_are_interpolated_across_missing_slices_too():
    stack, z = block([1, 2, 4, 5]), np.array([0.0, 1.3, 3.0, 5.0, 6.0])
    made = method.build(settings(missing=(1, 1, 1)))
    params = jax.jit(lambda: made.init(jax.random.key(0), None))()
    drawn = jax.jit(made.predict)(params, stack, jnp.asarray(z, jnp.float32))
    want = interpolate.baselines(stack, z, ("linear",))["linear"]
    np.testing.assert_allclose(drawn, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_a_stack_of_one_intensity_stays_one_up_to_the_border(profile):
    stack = block()._replace(slices=jnp.full((5, 14, 17), 0.3))
    drawn = drawing(profile)[0](started(profile), stack, jnp.linspace(0, 4, 9))
    np.testing.assert_allclose(drawn, 0.3, atol=1e-3)


@pytest.mark.slow
def test_planes_are_alike_whatever_else_is_asked_and_continuous():
    draw = functools.partial(drawing()[0], started(), block())
    fine, coarse = draw(jnp.arange(9) * 0.5), draw(jnp.array([0, 1, 2, 3, 4, 2 - 1e-5, 1, 1, 1.0]))
    np.testing.assert_allclose(fine[::2], coarse[:5], atol=1e-5)
    np.testing.assert_allclose(coarse[5], coarse[2], atol=1e-3)
    linear = interpolate.baselines(block(), np.arange(9) * 0.5, ("linear",))["linear"]
    assert np.abs(fine - linear).max() > 0.05  # the network has its say


@pytest.mark.slow
def test_a_rotated_stack_gives_rotated_planes():
    """All eight are taken: which of them a stack comes in does not matter."""
    stack, z = block(shape=(14, 14)), jnp.array([0.5, 3.2])
    draw = functools.partial(drawing()[0], started())
    turned = stack._replace(slices=jnp.rot90(stack.slices, axes=(1, 2)))
    np.testing.assert_allclose(draw(turned, z), jnp.rot90(draw(stack, z), axes=(1, 2)), atol=1e-4)
    upside = stack._replace(slices=stack.slices[::-1, ::-1])
    # A frame is put together with others a slice distance apart, counted from one end: of an even
    # number of px they are the same from the other.
    np.testing.assert_allclose(draw(upside, 4 - z), draw(stack, z)[:, ::-1], atol=1e-4)


@pytest.mark.slow
def test_the_expected_error_is_the_spread_of_the_views_scaled():
    stack, z = block(range(6)), jnp.array([0.5, 2.25])
    _, expected = drawing()[1](started(), stack, z)
    views = jax.jit(functools.partial(method.views, settings()))(started(), stack, z)
    ratio = np.asarray(expected) / np.asarray(views.std(axis=0))
    np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_a_step_teaches(profile):
    """Stripes that linear interpolation cannot follow; keys decide all that is random."""
    y = np.arange(14)[:, None] + np.arange(17)
    stack = block()._replace(
        slices=jnp.asarray(0.5 + 0.3 * np.sin(1.1 * y + np.arange(5)[:, None, None]))
    )
    made = method.build(settings(profile=profile, rows=7))  # of 14 px: always of factor 2
    params = jax.jit(lambda: made.init(jax.random.key(0), None))()
    descend = optax.adam(0.01)

    def loss(params, key):
        return made.loss(params, None, stack, key, 0, made.weights)[0]

    @jax.jit
    def step(state, key):
        params, moments = state
        value, grads = jax.value_and_grad(loss)(params, key)
        updates, moments = descend.update(grads, moments)
        return (optax.apply_updates(params, updates), moments), value

    key, other = jax.random.key(5), jax.random.key(6)
    start = (params, descend.init(params))
    first, again, differs = (float(step((started(), start[1]), k)[1]) for k in (key, key, other))
    assert first == again != differs
    state, judged = start, jax.random.split(jax.random.key(2), 40)
    for key in jax.random.split(jax.random.key(1), 150):
        state, _ = step(state, key)
    gain = np.subtract(*([float(step(each, k)[1]) for k in judged] for each in (start, state)))
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"features": 6}, "features of 4, 8, 12"),
        ({"heads": 3}, "multiples of 3 heads"),
        ({"window": (3, 2, 4)}, r"emformer\.window: got \(3, 2, 4\)"),
        ({"drop": 1.0}, "drop"),
        ({"columns": 5}, "columns 5"),
        ({"frames": 1}, "frames 1"),
        ({"ssim_weight": -1.0}, "ssim_weight -1"),
    ],
)
def test_numbers_that_cannot_work(changes, match):
    config = default("emformer_tiny")
    config.emformer.update(changes)
    with pytest.raises(ValueError, match=match):
        registry.build("emformer", config, registry.AxialSampling(8.0))
