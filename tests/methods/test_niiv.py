"""niiv: its networks see what lies around in space, at any resolution, up to the border."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods import interpolate
from emgauss_jax.methods.axial_rows import Missing, between
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.niiv import method
from emgauss_jax.methods.niiv.network import Decoder, Encoder, attend, positional_code
from tests.tiny_runs import stirred


def settings(factor=4, profile=THIN, **changes):
    small = dict(features=4, blocks=2, width=8, layers=2, batch=2, rows=3, columns=16, queries=5)
    return method.Settings(factor, profile, Missing(), **(small | changes))


def block(slices=5, shape=(20, 26), seed=0):
    values = np.random.default_rng(seed).uniform(0.2, 0.8, (slices, *shape)).astype(np.float32)
    return Block(jnp.asarray(values), jnp.arange(slices, dtype=jnp.float32), jnp.ones(slices, bool))


def started(some):
    return stirred(method.init(some, jax.random.key(0), None))


@pytest.mark.parametrize(("blocks", "count"), [(6, 779_713), (16, 1_518_273)])
def test_as_many_parameters_as_published(blocks, count):
    sizes = dict(features=64, blocks=blocks, width=256, layers=5)
    params = jax.eval_shape(
        functools.partial(method.init, settings(8, **sizes)), jax.random.key(0), None
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_at_the_start_planes_are_interpolated():
    some, stack = settings(), block()
    params, z = method.init(some, jax.random.key(0), stack), np.array([0.0, 1.3, 2.5, 4.0])
    drawn = method.build(some).predict(params, stack, jnp.asarray(z, jnp.float32))
    want = interpolate.baselines(stack, z, ("linear",))["linear"]
    np.testing.assert_allclose(drawn, want, atol=1e-5)


def test_attention_looks_at_what_lies_around_in_space():
    """Which latents the attention at row 3.25, column 4 depends on: those of rows 2 to 5."""
    grid, place = jax.random.normal(jax.random.key(0), (8, 9, 2)), jnp.array([3.25])
    slope = jax.jacrev(lambda grid: attend(grid, grid, grid, place)[0, 4].sum())(grid)
    seen = np.argwhere(np.abs(slope).sum(axis=-1) > 0)
    assert seen.tolist() == [[r, c] for r in (2, 3, 4, 5) for c in (3, 4, 5)]


def published(params, latents, rows, place):
    """Decode as published, without its reshape: interpolate, project, attend; place by place."""

    def dense(name, value):
        return value @ params[name]["kernel"] + params[name]["bias"]

    columns = rows.shape[1]

    def one(z, c):
        beside = jnp.clip(c + jnp.arange(-1, 2), 0, columns - 1)
        around = between(latents[:, beside], z + jnp.arange(-1.0, 2.0))
        projected = dense("projections", around.reshape(9, -1))
        query, key, value = jnp.split(projected, 3, axis=-1)
        share = jax.nn.softmax(key @ query[4] / np.sqrt(latents.shape[-1]))
        code, intensity = positional_code(z[None])[0], between(rows[:, c], z[None])
        hidden = jnp.concatenate([dense("attended", share @ value), intensity, code])
        return dense("Dense_1", jax.nn.relu(dense("Dense_0", hidden)))[0]

    along = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(along, in_axes=(0, None))(place, jnp.arange(columns))


def test_the_decoder_is_the_published_one_in_value_and_gradient():
    latents = jax.random.normal(jax.random.key(0), (4, 5, 6))
    rows, place = jax.random.normal(jax.random.key(1), (4, 5)), jnp.array([-0.4, 0, 1.25, 2.5, 3.3])
    decoder = Decoder(8, 1)
    params = stirred(jax.jit(decoder.init)(jax.random.key(2), latents, rows, place))["params"]
    weigh = jax.random.normal(jax.random.key(4), (5, 5))

    def ours(params, latents):
        planes = decoder.apply({"params": params}, latents, rows, place)
        return jnp.sum(weigh * planes), planes

    def theirs(params, latents):
        planes = published(params, latents, rows, place)
        return jnp.sum(weigh * planes), planes

    both = [
        jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(params, latents)
        for f in (ours, theirs)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-3), *both)


def test_a_shifted_input_shifts_the_output():
    """Away from the border, along columns by a px and along z by a slice."""
    some = settings(blocks=1)
    params, rows = started(some), jax.random.normal(jax.random.key(1), (16, 30))
    place = jnp.linspace(5.0, 8.0, 10)
    decode = functools.partial(method.decode, some, params)
    want = decode(rows, place)
    inner = slice(8, 22)
    np.testing.assert_allclose(
        decode(jnp.roll(rows, 2, axis=1), place)[:, 10:24], want[:, inner], atol=1e-4
    )
    np.testing.assert_allclose(
        decode(jnp.roll(rows, 1, axis=0), place + 1)[:, inner], want[:, inner], atol=1e-4
    )


@pytest.mark.parametrize("profile", [THIN, pytest.param(averaged(4), marks=pytest.mark.slow)])
def test_a_stack_of_one_intensity_stays_one_up_to_the_border(profile):
    some = settings(profile=profile)
    stack = block()._replace(slices=jnp.full((5, 20, 26), 0.3))
    drawn = method.build(some).predict(started(some), stack, jnp.linspace(0, 4, 9))
    np.testing.assert_allclose(drawn, drawn[0, 10, 10], atol=1e-5)
    encoder = Encoder(4, 2)
    latents = encoder.apply(
        stirred(encoder.init(jax.random.key(0), jnp.zeros((3, 3)))), jnp.ones((6, 9))
    )
    np.testing.assert_allclose(latents, jnp.broadcast_to(latents[3, 4], latents.shape), atol=1e-4)


def test_planes_are_alike_whatever_else_is_asked():
    some, stack = settings(), block()
    draw = functools.partial(method.build(some).predict, started(some), stack)
    fine, coarse = draw(jnp.arange(0, 4.01, 1 / 6)), draw(jnp.arange(0, 4.01, 1 / 2))
    np.testing.assert_allclose(fine[::3], coarse, atol=1e-5)


def test_planes_are_continuous_in_z():
    some, stack = settings(), block()
    near = method.build(some).predict(started(some), stack, jnp.array([2 - 1e-5, 2.0, 2 + 1e-5]))
    np.testing.assert_allclose(near[0], near[1], atol=5e-3)
    np.testing.assert_allclose(near[2], near[1], atol=5e-3)


def test_a_turned_stack_gives_the_views_in_turn():
    some, stack = settings(), block()
    params, z = started(some), jnp.array([0.5, 3.2])
    first, second = method.views(some, params, stack, z)
    turned = stack._replace(slices=stack.slices.swapaxes(1, 2))
    other, one = method.views(some, params, turned, z)
    np.testing.assert_allclose(one.swapaxes(1, 2), first, atol=1e-3)
    np.testing.assert_allclose(other.swapaxes(1, 2), second, atol=1e-3)
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("profile", [pytest.param(THIN, marks=pytest.mark.slow), averaged(4)])
def test_the_expected_error_has_the_size_of_the_true_one_where_that_is_known(profile):
    """At half the resolution: every second slice is hidden; of thick ones two make one."""
    some, stack = settings(profile=profile), block(slices=6)
    params = started(some)
    y, x = (n // 2 * 2 for n in stack.slices.shape[1:])
    fine = np.asarray(stack.slices[:, :y, :x]).reshape(6, y // 2, 2, x // 2, 2).mean((2, 4))
    if not profile.is_plane:
        coarse, truth = (fine[::2] + fine[1::2]) / 2, fine
        depths = np.arange(12) / 4 - 0.375  # halves of the fine slices
    else:
        coarse, truth, depths = fine[::2], fine[1:-1:2], np.array([0.5, 1.5])
    known = Block(jnp.asarray(coarse), jnp.arange(3.0), jnp.ones(3, bool))
    views = jax.jit(functools.partial(method.views, some, params))
    parts = [
        view.reshape(len(truth), -1, *view.shape[1:]).mean(1)
        for view in views(known, jnp.asarray(depths, jnp.float32))
    ]
    error = np.sqrt(np.mean((np.mean(parts, axis=0) - truth) ** 2))
    spread = np.sqrt(np.mean((parts[0] - parts[1]) ** 2)) / 2
    z = jnp.array([0.5, 2.25])
    first, second = views(stack, z)
    _, expected = jax.jit(method.build(some).predict_with_error)(params, stack, z)
    np.testing.assert_allclose(
        expected, error / spread * abs(first - second) / 2, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("profile", [pytest.param(THIN, marks=pytest.mark.slow), averaged(4)])
def test_it_learns(profile):
    """Stripes that interpolation cannot follow."""
    some = settings(factor=2, profile=profile, features=8, width=16, batch=4, queries=5)
    y = np.arange(24)[:, None] + np.arange(20)
    stack = block()._replace(
        slices=jnp.asarray(0.5 + 0.3 * np.sin(1.1 * y + np.arange(5)[:, None, None]))
    )
    params = method.init(some, jax.random.key(0), stack)

    @jax.jit
    def step(params, key):
        loss = lambda params: method.loss(some, params, None, stack, key, 0, {})  # noqa: E731
        grads, metrics = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda a, g: a - 0.05 * g, params, grads), metrics["loss"]

    losses = []
    for key in jax.random.split(jax.random.key(1), 150):
        params, one = step(params, key)
        losses.append(float(one))
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])


def test_numbers_that_cannot_work():
    with pytest.raises(ValueError, match="queries"):
        settings(queries=0)
