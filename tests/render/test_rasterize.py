"""Fast rasterizers equal the reference, in value and in every gradient leaf."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.render.binned import PLACES, find_bins, plan
from emgauss_jax.render.gaussians import AlphaGaussians, Gaussians, Splats, activate, conics
from emgauss_jax.render.rasterize import RenderSettings, rasterize
from emgauss_jax.render.reference import reference
from emgauss_jax.render.tiled import build_lists

SHAPE = (40, 53)  # not a multiple of the tile, and not square
CUTOFF = 3.5


def random_splats(n=60, rotated=True, seed=0, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    means = rng.uniform((-3, -3), (SHAPE[0] + 3, SHAPE[1] + 3), (n, 2))
    return Splats(
        means=jnp.asarray(means, dtype),
        scales=jnp.asarray(rng.uniform(0.7, 4.0, (n, 2)), dtype),
        angles=jnp.asarray(rng.uniform(-3, 3, n), dtype) if rotated else None,
        opacities=jnp.asarray(rng.uniform(0.05, 0.9, n), dtype),
        intensities=jnp.asarray(rng.uniform(0.1, 1.0, n), dtype),
    )


def weighted(draw, shape=SHAPE):
    """A scalar of the image whose gradient differs at every pixel."""
    weights = jnp.asarray(np.random.default_rng(7).normal(size=shape), jnp.float32)
    return lambda splats, ground: jnp.sum(draw(splats, ground) * weights)


def assert_same(fast, slow, splats, shape=SHAPE):
    ground = jnp.float32(0.3)
    np.testing.assert_allclose(
        jax.jit(fast)(splats, ground), slow(splats, ground), rtol=2e-6, atol=3e-6
    )
    got = jax.jit(jax.grad(weighted(fast, shape), argnums=(0, 1)))(splats, ground)
    want = jax.jit(jax.grad(weighted(slow, shape), argnums=(0, 1)))(splats, ground)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("blend", ["alpha", "sum"])
@pytest.mark.parametrize("rotated", [True, False])
def test_tiled_equals_reference(blend, rotated):
    settings = RenderSettings(blend=blend, backend="tiled", cutoff=CUTOFF, capacity=64)
    assert_same(
        lambda s, b: rasterize(s, SHAPE, settings, b)[0],
        lambda s, b: reference(s, SHAPE, blend=blend, background=b, cutoff=CUTOFF),
        random_splats(rotated=rotated),
    )


@pytest.mark.parametrize("widest", [1.5, 4.0, 40.0])
def test_binned_equals_reference(widest):
    """Of every level: within a cell's halo, beyond it, and as wide as the plane."""
    shape, n = (150, 139), 300
    rng = np.random.default_rng(3)
    splats = random_splats(n, rotated=False)._replace(
        means=jnp.asarray(rng.uniform(-6, 150, (n, 2)), jnp.float32),
        scales=jnp.asarray(np.exp(rng.uniform(np.log(0.7), np.log(widest), (n, 2))), jnp.float32),
    )
    levels = plan(shape, n)
    assert len(levels) == 3
    used = np.searchsorted([v.first for v in levels], find_bins(splats, levels, 6.0), "right") - 1
    assert len(set(used.tolist())) == {1.5: 2, 4.0: 2, 40.0: 3}[widest]
    settings = RenderSettings(blend="sum", backend="binned", cutoff=6.0)
    assert_same(
        lambda s, b: rasterize(s, shape, settings, b)[0],
        lambda s, b: reference(s, shape, blend="sum", background=b),
        splats,
        shape,
    )


def test_binned_draws_lists_longer_than_a_pass():
    n = 3 * PLACES + 5
    near = np.random.default_rng(0).uniform(5, 9, (n, 2))
    splats = random_splats(n, rotated=False)._replace(means=jnp.asarray(near, jnp.float32))
    settings = RenderSettings(blend="sum", backend="binned", cutoff=6.0)
    assert_same(
        lambda s, b: rasterize(s, SHAPE, settings, b)[0],
        lambda s, b: reference(s, SHAPE, blend="sum", background=b),
        splats,
    )


@pytest.mark.parametrize("backend", ["binned", "tiled"])
def test_a_sum_also_teaches_what_adds_nothing_yet(backend):
    splats = random_splats(rotated=False)._replace(opacities=jnp.zeros(60))
    cutoff = {"binned": 6.0, "tiled": CUTOFF}[backend]
    settings = RenderSettings(blend="sum", backend=backend, cutoff=cutoff)
    assert_same(
        lambda s, b: rasterize(s, SHAPE, settings, b)[0],
        lambda s, b: reference(s, SHAPE, blend="sum", background=b, cutoff=cutoff),
        splats,
    )


def test_binned_error_is_bounded_by_the_cutoff():
    splats = random_splats(rotated=False)
    settings = RenderSettings(blend="sum", backend="binned", cutoff=2.0)
    image, _ = rasterize(splats, SHAPE, settings)
    error = jnp.abs(image - reference(splats, SHAPE, blend="sum")).max()
    weight = jnp.sum(jnp.abs(splats.opacities * splats.intensities))
    assert 0 < float(error) <= float(weight) * np.exp(-(2.0**2) / 2)


@pytest.mark.parametrize(("blend", "backend"), [("alpha", "tiled"), ("sum", "binned")])
def test_under_vmap_equals_one_by_one(blend, backend):
    settings = RenderSettings(blend=blend, backend=backend, cutoff=CUTOFF, capacity=64)
    many = [random_splats(seed=s, rotated=backend == "tiled") for s in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *many)
    grad = jax.jit(jax.grad(weighted(lambda s, b: rasterize(s, SHAPE, settings, b)[0])))
    together = jax.vmap(grad, in_axes=(0, None))(stacked, 0.2)
    for i, splats in enumerate(many):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(grad(splats, 0.2)), strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-4)


def test_cutoff_error_is_bounded():
    splats = random_splats()
    cut = reference(splats, SHAPE, blend="sum", cutoff=CUTOFF)
    whole = reference(splats, SHAPE, blend="sum")
    bound = float(jnp.sum(splats.opacities * splats.intensities)) * np.exp(-(CUTOFF**2) / 2)
    assert 0 < float(jnp.abs(cut - whole).max()) <= bound


def test_a_tile_may_hold_more_than_its_share():
    n, tiles = 20, 3 * 4
    splats = random_splats(n)._replace(
        means=jnp.full((n, 2), 8.0), scales=jnp.full((n, 2), 0.8), angles=None
    )  # all within tile (0, 0)
    settings = RenderSettings(blend="sum", backend="tiled", cutoff=CUTOFF, capacity=2)
    image, overflow = rasterize(splats, SHAPE, settings)
    assert n <= 2 * tiles and int(overflow) == 0
    want = reference(splats, SHAPE, blend="sum", cutoff=CUTOFF)
    np.testing.assert_allclose(image, want, rtol=1e-5, atol=1e-6)


def test_overflow_is_seen_even_where_it_is_beyond_counting():
    n, shape = 2**17 + 1, (2048, 2048)  # every splat in each of 2^14 tiles
    wide = jnp.full((n, 2), 1e4)
    splats = Splats(wide / 10, wide, None, jnp.ones(n), jnp.ones(n))
    assert build_lists(splats, shape, "sum", CUTOFF, 1).overflow > 2**30


@pytest.mark.parametrize(
    ("blend", "backend"),
    [pytest.param("alpha", "tiled", marks=pytest.mark.slow), ("sum", "binned")],
)
def test_float32_gradients_under_x64(blend, backend):
    splats = random_splats(12, rotated=False)
    with jax.enable_x64(True):
        settings = RenderSettings(blend=blend, backend=backend)
        grad = jax.grad(lambda s: rasterize(s, SHAPE, settings)[0].sum())(splats)
    assert grad.means.dtype == jnp.float32 and np.isfinite(grad.means).all()


def test_overflow_counts_the_missing_places():
    n, places = 20, 3 * 4
    splats = random_splats(n)._replace(
        means=jnp.full((n, 2), 8.0), scales=jnp.full((n, 2), 0.8), angles=None
    )  # all within tile (0, 0)
    settings = RenderSettings(blend="sum", backend="tiled", cutoff=CUTOFF, capacity=1)
    image, overflow = rasterize(splats, SHAPE, settings)
    assert int(overflow) == n - places
    first = jax.tree.map(lambda a: a[:places], splats)
    np.testing.assert_allclose(
        image, reference(first, SHAPE, blend="sum", cutoff=CUTOFF), atol=3e-6
    )


@pytest.mark.parametrize("blend", ["alpha", "sum"])
def test_reference_gradient_by_finite_differences(blend):
    with jax.enable_x64(True):
        splats = random_splats(6, dtype=jnp.float64)
        weights = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))

        @jax.jit
        def scalar(s):
            return jnp.sum(weights * reference(s, SHAPE, blend=blend, background=0.2))

        grads = jax.grad(scalar)(splats)
        for name, grad in grads._asdict().items():
            value = getattr(splats, name)
            assert value.dtype == jnp.float64
            numeric = np.zeros(value.shape)
            for place in np.ndindex(value.shape):
                step = jnp.zeros_like(value).at[place].set(1e-5)
                up = scalar(splats._replace(**{name: value + step}))
                down = scalar(splats._replace(**{name: value - step}))
                numeric[place] = (up - down) / 2e-5
            np.testing.assert_allclose(grad, numeric, rtol=1e-5, atol=1e-6)


def test_one_gaussian_by_hand():
    splat = Splats(
        jnp.array([[10.0, 20.0]]),
        jnp.array([[2.0, 5.0]]),
        jnp.array([np.pi / 2]),  # a quarter turn: 2 px along x, 5 px along y
        jnp.array([0.5]),
        jnp.array([0.8]),
    )
    image = reference(splat, SHAPE, blend="alpha", background=0.25)
    at = 0.5 * np.exp(-0.5 * (3 / 5) ** 2 - 0.5 * (4 / 2) ** 2)
    np.testing.assert_allclose(image[13, 24], 0.8 * at + 0.25 * (1 - at), rtol=1e-5)
    np.testing.assert_allclose(conics(splat)[0], [1 / 25, 0, 1 / 4], atol=1e-7)


@pytest.mark.parametrize(("kind", "blend"), [(Gaussians, "sum"), (AlphaGaussians, "alpha")])
def test_the_dead_are_not_drawn(kind, blend):
    n = 5
    ones = kind(jnp.full((n, 2), 9.0), jnp.zeros((n, 2)), *[jnp.ones(n)] * (len(kind._fields) - 2))
    draw = functools.partial(reference, shape=SHAPE, blend=blend)
    assert draw(activate(ones)).max() > 0
    np.testing.assert_array_equal(draw(activate(ones._replace(alive=jnp.zeros(n)))), 0.0)


def test_two_gaussians_by_hand_with_the_defaults():
    """A sigma of sqrt(3) / 2 px and the floor of 1/2 px make 1 px; what is negative darkens."""
    scales = jnp.full((2, 2), np.log(np.sqrt(0.75)))
    means = jnp.array([[10.0, 20.0], [30.0, 40.0]])
    pair = Gaussians(means, scales, jnp.zeros(2), jnp.array([0.5, -0.25]), jnp.ones(2))
    image, overflow = rasterize(activate(pair), SHAPE)
    got = [image[10, 20], image[11, 22], image[30, 40], image[20, 0]]
    np.testing.assert_allclose(got, [0.5, 0.5 * np.exp(-2.5), -0.25, 0.0], atol=1e-6)
    assert int(overflow) == 0


def test_wrong_settings_say_what_was_wanted():
    with pytest.raises(ValueError, match="binned draws blend 'sum' only"):
        RenderSettings(blend="alpha", backend="binned")
    for wrong in ({"cutoff": 0.0}, {"cutoff": float("nan")}, {"capacity": 0}):
        with pytest.raises(ValueError, match=r"render: got cutoff .*, wanted more than 0"):
            RenderSettings(**wrong)
    with pytest.raises(ValueError, match="backend: got 'gpu'"):
        RenderSettings(backend="gpu")
    with pytest.raises(ValueError, match="wanted angles None"):
        rasterize(random_splats(), SHAPE, RenderSettings())
