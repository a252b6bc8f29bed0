"""The CUDA rasterizer equals the reference, interpreted, and lowers for CUDA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from emgauss_jax.render.gaussians import Splats
from emgauss_jax.render.pallas_tiled import pallas_tiled
from emgauss_jax.render.rasterize import RenderSettings, rasterize
from emgauss_jax.render.reference import reference
from emgauss_jax.render.tiled import TILE, build_lists, tiled

SHAPE = (40, 53)  # not a multiple of the tile, and not square
CUTOFF = 3.5


def random_splats(n=60, rotated=True, seed=0, low=-3.0, high=(43.0, 56.0), widest=4.0):
    rng = np.random.default_rng(seed)
    return Splats(
        means=jnp.asarray(rng.uniform(low, high, (n, 2)), jnp.float32),
        scales=jnp.asarray(rng.uniform(0.7, widest, (n, 2)), jnp.float32),
        angles=jnp.asarray(rng.uniform(-3, 3, n), jnp.float32) if rotated else None,
        opacities=jnp.asarray(rng.uniform(0.05, 1.2, n), jnp.float32),  # some reach MAX_ALPHA
        intensities=jnp.asarray(rng.uniform(0.1, 1.0, n), jnp.float32),
    )


def drawer(blend, interpret=True, capacity=64):
    """The image alone, as a function of splats and background."""
    return lambda splats, ground: pallas_tiled(
        splats,
        SHAPE,
        blend=blend,
        background=ground,
        cutoff=CUTOFF,
        capacity=capacity,
        interpret=interpret,
    )[0]


def definition(blend):
    return lambda s, b: reference(s, SHAPE, blend=blend, background=b, cutoff=CUTOFF)


def weighted(draw):
    """A scalar of the image whose gradient differs at every pixel, and the image."""
    weights = jnp.asarray(np.random.default_rng(7).normal(size=SHAPE), jnp.float32)

    def scalar(splats, ground):
        image = draw(splats, ground)
        return jnp.sum(image * weights), image

    return jax.value_and_grad(scalar, argnums=(0, 1), has_aux=True)


def assert_same(fast, slow, splats):
    ground = jnp.float32(0.3)
    (_, image), got = jax.jit(weighted(fast))(splats, ground)
    (_, right), want = jax.jit(weighted(slow))(splats, ground)
    np.testing.assert_allclose(image, right, rtol=2e-6, atol=3e-6)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("blend", ["alpha", "sum"])
@pytest.mark.parametrize("rotated", [True, False])
def test_equals_reference(blend, rotated):
    assert_same(drawer(blend), definition(blend), random_splats(rotated=rotated))


def test_a_long_list_beside_empty_tiles():
    n = 300
    splats = random_splats(n, rotated=False, low=5.0, high=10.0, widest=1.2)
    splats = splats._replace(opacities=splats.opacities * 0.1)
    lengths = jnp.diff(build_lists(splats, SHAPE, "alpha", CUTOFF, 64).starts)
    assert lengths.tolist() == [n] + [0] * 11  # means and boxes all lie within tile (0, 0)

    def slow(s, b):  # not the reference, whose product over hundreds takes long to compile
        return tiled(s, SHAPE, blend="alpha", background=b, cutoff=CUTOFF, capacity=64)[0]

    assert_same(drawer("alpha"), slow, splats)


def test_under_vmap_equals_one_by_one():
    many = [random_splats(30, seed=s) for s in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *many)
    grad = jax.jit(weighted(drawer("alpha")))
    together = jax.jit(jax.vmap(grad, in_axes=(0, None)))(stacked, 0.2)
    for i, splats in enumerate(many):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(grad(splats, 0.2)), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5)


def test_overflow_counts_the_missing_places():
    n, places = 20, 3 * 4  # one place for each tile
    splats = random_splats(n, rotated=False, low=5.0, high=10.0, widest=1.2)
    draw = functools.partial(
        pallas_tiled, shape=SHAPE, blend="alpha", cutoff=CUTOFF, capacity=1, interpret=True
    )
    image, overflow = jax.jit(draw)(splats)
    assert TILE == 16 and int(overflow) == n - places
    first = jax.tree.map(lambda a: a[:places], splats)
    want = jax.jit(definition("alpha"))(first, 0.0)
    np.testing.assert_allclose(image, want, rtol=2e-6, atol=3e-6)


def test_it_asks_for_a_card():
    settings = RenderSettings(blend="alpha", backend="pallas", cutoff=CUTOFF, capacity=64)
    with pytest.raises(ValueError, match="got a cpu, wanted a CUDA GPU"):
        rasterize(random_splats(20), SHAPE, settings, 0.3)


def lower(f, *args):
    """The program for a CUDA card, which need not be present."""
    card = jax.sharding.AbstractDevice(device_kind="NVIDIA A100", num_cores=None, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=card)
    with jax.sharding.use_abstract_mesh(mesh):
        return jax.jit(f).trace(*args).lower(lowering_platforms=("cuda",)).as_text()


@pytest.fixture(scope="module")
def can_lower():
    """Skip where this JAX lowers not even a copy without a card."""

    def copy(source, target):
        target[:] = source[:]

    one = jax.ShapeDtypeStruct((16,), jnp.float32)
    kernel = pl.pallas_call(copy, out_shape=one, compiler_params=triton.CompilerParams())
    try:
        lower(kernel, jnp.zeros(16))
    except Exception as error:
        pytest.skip(f"this JAX cannot lower Pallas without a GPU: {error}")


@pytest.mark.parametrize("blend", ["alpha", "sum"])
def test_lowers_for_cuda(blend, can_lower):
    draw = drawer(blend, interpret=False)
    many = jax.tree.map(lambda a: jnp.stack([a, a]), random_splats())
    grad = weighted(draw)
    for text, kernels in (
        (lower(draw, random_splats(), 0.3), ["_draw_kernel"]),
        (lower(grad, random_splats(), 0.3), ["_draw_kernel", "_grad_kernel"]),
        (lower(jax.vmap(grad, (0, None)), many, 0.3), ["_draw_kernel", "_grad_kernel"]),
    ):
        assert text.count("stablehlo.custom_call @__gpu$xla.gpu.triton") == len(kernels)
        assert all(f'name = "{kernel}"' in text for kernel in kernels)
