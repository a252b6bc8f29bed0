"""Interpolation baselines: exact where they must be, and the published table on real data."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.methods.base import Block
from emgauss_jax.methods.interpolate import (
    BLUR_CANDIDATES,
    TABLE,
    baselines,
    choose_blur,
    linear_blur,
    weights,
)

ALL = (*TABLE, "cubic_mean")
KINDS = ("nearest", "linear", "cubic", "cubic_mean")
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def make_block(slices, missing=()):
    valid = np.ones(len(slices), bool)
    valid[list(missing)] = False
    return Block(np.asarray(slices, np.float32), np.arange(len(slices), dtype=np.float32), valid)


def psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2))


def real(name):
    tifffile = pytest.importorskip("tifffile")
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}")
    return tifffile.imread(path).astype(np.float32) / 255


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("z_valid", [[0, 1], [0, 2, 3], [0, 1, 2, 4, 5, 6], [3]])
def test_weights_reproduce_a_constant_and_clamp(kind, z_valid):
    z = np.linspace(-2, 9, 45)
    w = weights(kind, z_valid, z)
    assert w.shape == (45, len(z_valid))
    np.testing.assert_allclose(w.sum(axis=1), 1.0, atol=1e-10)
    reach = 0.5 if kind == "cubic_mean" else 0.0
    ends = weights(kind, z_valid, [z_valid[0] - reach, z_valid[-1] + reach])
    np.testing.assert_allclose(w[0], ends[0], atol=1e-12)
    np.testing.assert_allclose(w[-1], ends[1], atol=1e-12)


@pytest.mark.parametrize("kind", ("nearest", "linear", "cubic"))
@pytest.mark.parametrize("z_valid", [[0, 1], [0, 2, 3], [0, 1, 2, 4, 5]])
def test_weights_pass_through_the_slices(kind, z_valid):
    np.testing.assert_allclose(weights(kind, z_valid, z_valid), np.eye(len(z_valid)), atol=1e-12)


def test_orders_are_what_the_names_say():
    z_valid, z = np.array([0.0, 1, 2, 4, 5]), np.linspace(0, 5, 41)
    np.testing.assert_allclose(weights("linear", z_valid, z) @ (3 * z_valid - 1), 3 * z - 1)
    cubic = 2 * z_valid**3 - z_valid**2 + 4
    np.testing.assert_allclose(weights("cubic", z_valid, z) @ cubic, 2 * z**3 - z**2 + 4)
    three = np.array([0.0, 1, 3])  # a parabola is the order possible
    np.testing.assert_allclose(weights("cubic", three, z[:25]) @ three**2, z[:25] ** 2, atol=1e-12)
    near = weights("nearest", z_valid, [0.4, 0.6, 2.9, 3.1]) @ z_valid
    np.testing.assert_array_equal(near, [0, 1, 2, 4])


@pytest.mark.parametrize("z_valid", [[0, 1], [0, 1, 2], [0, 1, 2, 4, 5]])
def test_cubic_mean_keeps_the_mean_of_every_slice(z_valid):
    # On an interval the result is a polynomial of degree 2: Simpson's rule is exact.
    z_valid = np.array(z_valid, float)
    w = [weights("cubic_mean", z_valid, z_valid + d) for d in (-0.5, 0.0, 0.5)]
    np.testing.assert_allclose((w[0] + 4 * w[1] + w[2]) / 6, np.eye(len(z_valid)), atol=1e-10)


def test_unknown_kind_is_one_clear_line():
    with pytest.raises(ValueError, match="got 'quintic', wanted nearest"):
        weights("quintic", [0, 1], [0.5])


@pytest.mark.parametrize("name", ALL)
def test_missing_slices_are_never_used(name):
    rng = np.random.default_rng(0)
    slices = rng.random((7, 12, 13))
    block = make_block(slices, missing=[2])
    slices[2] = np.nan
    poisoned = make_block(slices, missing=[2])
    z = np.linspace(0, 6, 25)
    expected, got = (baselines(each, z, (name,))[name] for each in (block, poisoned))
    np.testing.assert_array_equal(got, expected)
    assert got.shape == (25, 12, 13)
    assert got.dtype == np.float32
    if name == "linear":
        halfway = (block.slices[1] + block.slices[3]) / 2
        np.testing.assert_allclose(got[z == 2.0][0], halfway, atol=1e-6)


def test_linear_blur_follows_the_depth_law():
    slices = np.random.default_rng(1).random((6, 40, 41)).astype(np.float32)
    block = make_block(slices, missing=[3])
    s = 1.5
    z = np.array([1.0, 0.5, 0.25, 3.0, 2.5, 6.0])
    got = linear_blur(block, z, s)
    linear = baselines(block, z, ("linear",))["linear"]
    np.testing.assert_array_equal(got[0], linear[0])  # on a slice: not touched
    # d / (gap / 2): middle 1, quarter 1/2, middle of the double gap 1, its quarter 1/2, outside 1.
    ratios = [1, 1 / 2, 1, 1 / 2, 1]
    for plane, before, ratio in zip(got[1:], linear[1:], ratios, strict=True):
        np.testing.assert_allclose(plane, gaussian_filter(before, s * ratio**0.5), atol=1e-6)


def test_choose_blur_grows_with_disorder_and_reads_observed_slices_only():
    rng = np.random.default_rng(2)
    pattern = gaussian_filter(rng.random((48, 48)), 1.0)
    still = np.repeat(pattern[None], 7, axis=0)
    assert choose_blur(make_block(still)) == BLUR_CANDIDATES[0]
    assert choose_blur(make_block(rng.random((7, 48, 48)))) == BLUR_CANDIDATES[-1]
    assert choose_blur(make_block(rng.random((4, 8, 8)), missing=[1, 2])) == 1.0


def test_baselines_list_the_table():
    block = make_block(np.random.default_rng(3).random((2, 8, 9)))
    table = baselines(block, np.array([0.0, 0.5, 1.0]))
    assert set(table) == {"nearest", "linear", "linear_blur", "cubic"}
    for planes in table.values():
        np.testing.assert_allclose(planes[[0, 2]], block.slices, atol=1e-6)


@pytest.mark.parametrize(("name", "linear"), [("fib25_a", 24.07), ("fib25_b", 23.96)])
def test_published_linear_table_at_factor_8(name, linear):
    reference = real(f"{name}.ome.tif")[:129]
    block = make_block(reference[::8])
    hidden = np.arange(129) % 8 > 0
    z = np.arange(129) / 8
    got = baselines(block, z)
    assert psnr(got["linear"][hidden], reference[hidden]) == pytest.approx(linear, abs=0.006)
    scores = {s: psnr(linear_blur(block, z[hidden], s), reference[hidden]) for s in BLUR_CANDIDATES}
    chosen = psnr(got["linear_blur"][hidden], reference[hidden])
    assert chosen == pytest.approx(scores[choose_blur(block)])
    assert chosen > max(scores.values()) - 0.1
    if name == "fib25_a":
        assert max(scores.values()) == pytest.approx(24.49, abs=0.006)


def test_published_averaging_table():
    cube = real("fib25_b.ome.tif")[60:188, 60:188, 60:188]
    block = make_block(cube.reshape(16, 8, 128, 128).mean(axis=1))
    got = baselines(block, (np.arange(128) - 3.5) / 8, ALL)
    assert psnr(got["linear"], cube) == pytest.approx(25.54, abs=0.006)
    assert psnr(got["cubic_mean"], cube) == pytest.approx(26.39, abs=0.006)
