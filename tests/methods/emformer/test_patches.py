"""What the network learns from: pieces of any factor, turned, with rows missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods.emformer import patches


def test_pieces_of_a_whole_factor():
    target = np.random.default_rng(0).uniform(size=(2, 13, 3)).astype(np.float32)
    means, place, known, there = patches.average(jnp.asarray(target), 4, jnp.float32(3))
    np.testing.assert_allclose(means, target[:, :12].reshape(2, 4, 3, 3).mean(2), atol=1e-5)
    np.testing.assert_allclose(place[:3], [-1 / 3, 0, 1 / 3], atol=1e-6)
    assert known.tolist() == [True] * 12 + [False] and there.all()
    picked, place, known, there = patches.pick(jnp.asarray(target), 4, jnp.float32(3))
    np.testing.assert_array_equal(picked, target[:, :12:3])
    np.testing.assert_allclose(place[:10], np.arange(10) / 3, atol=1e-6)
    assert known.tolist() == [True] * 10 + [False] * 3 and there.all()


def test_pieces_of_a_fractional_factor():
    """2.5 px: whole px and halves are averaged; of thin rows each gap has its own whole px."""
    target = np.random.default_rng(0).uniform(size=(1, 10, 2)).astype(np.float32)
    means, place, known, _ = patches.average(jnp.asarray(target), 4, jnp.float32(2.5))
    a, b, c = target[0, :3]
    np.testing.assert_allclose(means[0, 0], (a + b + c / 2) / 2.5, atol=1e-5)
    c, d, e = target[0, 2:5]
    np.testing.assert_allclose(means[0, 1], (c / 2 + d + e) / 2.5, atol=1e-5)
    np.testing.assert_allclose(place[0], 0.5 / 2.5 - 0.5, atol=1e-6)
    assert known.all()
    picked, place, known, _ = patches.pick(jnp.asarray(target), 4, jnp.float32(2.5))
    np.testing.assert_array_equal(picked[0], target[0, [0, 2, 5, 8]])
    np.testing.assert_allclose(place[:6], [0, 1 / 2, 1, 4 / 3, 5 / 3, 2], atol=1e-6)
    assert known.tolist() == [True] * 9 + [False]


def test_rows_beyond_a_piece_are_missing():
    """10 px hold two rows of 4 px, or three thin ones 4 px apart."""
    target = np.random.default_rng(0).uniform(size=(1, 10, 2)).astype(np.float32)
    means, _, known, there = patches.average(jnp.asarray(target), 4, jnp.float32(4))
    np.testing.assert_allclose(means[:, :2], target[:, :8].reshape(1, 2, 4, 2).mean(2), atol=1e-5)
    assert there.tolist() == [True, True, False, False] and known.sum() == 8
    _, _, known, there = patches.pick(jnp.asarray(target), 4, jnp.float32(4))
    assert there.tolist() == [True, True, True, False] and known.sum() == 9


@pytest.mark.parametrize(
    ("field", "factor", "profile", "rows", "size", "factors"),
    [
        ((144, 150), 8.0, averaged(4), 12, 144, (2, 12)),
        ((100, 150), 8.0, averaged(4), 12, 100, (2, 12)),
        ((40, 50), 8.0, averaged(4), 5, 40, (2, 12)),
        ((17, 50), 8.0, averaged(4), 2, 16, (2, 8)),
        ((17, 50), 8.0, THIN, 3, 17, (2, 8)),
        ((144, 144), 16.0, THIN, 9, 144, (2, 16)),
        ((144, 144), 1.5, averaged(4), 12, 144, (1.5, 12)),
    ],
)
def test_pieces_fit_into_a_block(field, factor, profile, rows, size, factors):
    most = patches.Shape(4, 12, 0, 48)
    shape, found = patches.shape_of_piece((3, *field), most, factor, profile)
    assert shape == (3, rows, size, min(48, *field))
    np.testing.assert_allclose(found, factors)
    degrade = patches.average if not profile.is_plane else patches.pick
    for each in (*found, factor):  # two rows or more, and all of them at its own
        *_, there = degrade(jnp.zeros((1, size, 1)), rows, jnp.float32(each))
        assert there.sum() >= 2
    assert there.all()


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
def test_a_piece_keeps_two_rows_whatever_is_missing(profile):
    slices, shape = jnp.zeros((2, 26, 26)), patches.Shape(2, 6, 25, 12)
    draw = jax.jit(
        jax.vmap(
            lambda key: patches.draw_piece(key, slices, shape, (2.0, 12.0, 4.0), profile).valid
        )
    )
    valid = np.asarray(draw(jax.random.split(jax.random.key(0), 500)))
    assert valid.sum(axis=1).min() == 2 and valid.sum(axis=1).max() == 6


def test_missing_rows_are_runs_up_to_three_and_at_the_ends_too():
    draw = jax.vmap(lambda key: patches.draw_valid(key, 6))
    valid = np.asarray(draw(jax.random.split(jax.random.key(0), 600)))
    runs = {tuple(np.flatnonzero(~each).tolist()) for each in valid}
    want = {tuple(range(a, a + n)) for n in (1, 2, 3) for a in range(7 - n)} | {()}
    assert runs == want
    few = np.asarray(jax.vmap(lambda key: patches.draw_valid(key, 3))(
        jax.random.split(jax.random.key(0), 99)
    ))  # fmt: skip
    assert (few.sum(axis=1) >= 2).all()


def test_pieces_are_turned_in_eight_ways():
    """A slice distance up, a row down, a column right: never its mirror image."""
    z, y, x = np.meshgrid(*map(np.arange, (3, 4, 4)), indexing="ij")
    slices = jnp.asarray(100.0 * z + 10 * y + x)
    shape = patches.Shape(3, 2, 4, 4)
    draw = jax.jit(jax.vmap(lambda key: patches._cut(key, slices, shape)))
    cuts = np.unique(np.asarray(draw(jax.random.split(jax.random.key(0), 200))), axis=0)
    assert len(cuts) == 8
    for piece in cuts:
        steps = [piece[1, 0, 0], piece[0, 1, 0], piece[0, 0, 1]] - piece[0, 0, 0]
        axes = np.array([[s == 100, s == 10, s == 1] for s in np.abs(steps)], float)
        assert np.linalg.det(axes * np.sign(steps)[:, None]) == pytest.approx(1)
