"""Damaged slices are found by the stack's own statistics, and sound stacks are left alone."""

import types

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.data import damaged_slices
from emgauss_jax.data.damaged_slices import find_damaged
from emgauss_jax.data.opening import open_unmeasured
from emgauss_jax.data.volume import create_volume


def stack(count=12, seed=0, noise=4.0):
    """Tissue that changes from slice to slice, uint8."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=(count, 48, 40)), (2, 3, 3))
    values = 120 + 40 * smooth / smooth.std() + noise * random.normal(size=smooth.shape)
    return values.clip(0, 255).astype(np.uint8)


def opened(tmp_path, values, missing=(), factor=0, name="stack.ome.tif"):
    path = tmp_path / name
    with create_volume(path, values.shape, values.dtype, (40.0, 10.0, 10.0)) as writer:
        writer[:, :, :] = values
    return open_unmeasured(
        types.SimpleNamespace(
            path=str(path), dataset="", series=-1, z_nm="", voxel_nm=(0, 0, 0), crop="",
            missing=missing,
            simulate_factor=factor, degradation="subsample",
        )
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.0, 4.0, 25.0])
def test_a_sound_stack_has_none(tmp_path, seed, noise):
    assert find_damaged(opened(tmp_path, stack(seed=seed, noise=noise))) == []


@pytest.mark.parametrize("contrast", [2.0, 3.0])
def test_a_sound_stack_whose_contrast_grows_has_none(tmp_path, contrast):
    values = stack(40, noise=0.0) / 255.0 - 0.5
    values *= np.linspace(1 / contrast, 1, 40)[:, None, None]
    assert find_damaged(opened(tmp_path, (255 * (values + 0.5)).astype(np.uint8))) == []


def coarse(seed):
    """Few structures in every slice: by chance some slices differ from both neighbours by more."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=(30, 64, 64)), (1, 8, 8), mode="wrap")
    return (120 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def test_chance_in_a_small_field_calls_no_slice_foreign(tmp_path, monkeypatch):
    stacks = [opened(tmp_path, coarse(seed), name=f"{seed}.ome.tif") for seed in range(16)]
    assert not any(map(find_damaged, stacks))
    monkeypatch.setattr(damaged_slices, "SCATTER", 0)  # a threshold that does not know the scatter
    assert sum(map(bool, map(find_damaged, stacks))) >= 4


@pytest.mark.parametrize("size", [32, 128])
def test_a_foreign_slice_stands_out_the_more_px_there_are(tmp_path, size):
    """It differs by 1.6 times the usual, which in a small field is chance."""
    random = np.random.default_rng(1)
    smooth = gaussian_filter(random.normal(size=(21, size, size)), (0.6, 3, 3), mode="wrap")
    values = smooth[:20] / smooth[:20].std()
    values[8] = 1.25 * smooth[20] / smooth[20].std()
    found = find_damaged(opened(tmp_path, (120 + 30 * values).clip(0, 255).astype(np.uint8)))
    assert [each.index for each in found] == ([8] if size == 128 else [])


def damage(values, index, how):
    random = np.random.default_rng(7)
    if how == "blank":
        values[index] = 117
    elif how == "noise":
        values[index] = random.integers(0, 256, values[index].shape)
    elif how == "dark":
        values[index] = values[index] // 3
    elif how == "moved":
        values[index] = np.roll(values[index], (20, 17), (0, 1))
    else:
        values[index] = values[index - 1]


@pytest.mark.parametrize("index", [1, 5, 11])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("blank", "blank"),
        ("noise", "unlike"),
        ("dark", "unlike"),
        ("moved", "unlike"),
        ("repeated", "repeats"),
    ],
)
def test_a_damaged_slice_is_found_and_said_why(tmp_path, index, how, reason):
    values = stack()
    damage(values, index, how)
    (found,) = find_damaged(opened(tmp_path, values))
    assert found.index == index and found.reason.startswith(reason)


def test_many_and_the_first_one(tmp_path):
    values = stack(20)
    for index, how in ((0, "noise"), (6, "blank"), (7, "blank"), (13, "dark"), (19, "moved")):
        damage(values, index, how)
    assert [each.index for each in find_damaged(opened(tmp_path, values))] == [0, 6, 7, 13, 19]


@pytest.mark.parametrize(
    ("count", "indices"), [(6, (1, 2)), (12, (2, 5, 8)), (12, (0, 1, 11)), (20, (3, 6, 9, 12, 15))]
)
@pytest.mark.parametrize("how", ["noise", "dark"])
def test_sound_slices_beside_foreign_ones_are_left_alone(tmp_path, count, indices, how):
    values = stack(count)
    random = np.random.default_rng(1)
    for index in indices:
        if how == "noise":
            values[index] = random.integers(0, 256, values[index].shape)
        else:
            values[index] = values[index] // random.uniform(2.5, 8)
    found = [each.index for each in find_damaged(opened(tmp_path, values))]
    assert found == list(indices)


@pytest.mark.parametrize(
    ("count", "indices"), [(6, (3,)), (8, (2, 5)), (12, (2, 5, 8)), (20, (3, 6, 9, 12, 15))]
)
def test_copies_are_found_where_many_are(tmp_path, count, indices):
    """Their differences, of nothing, are not what is usual."""
    values = stack(count)
    for index in indices:
        values[index] = values[index - 1]
    assert [each.index for each in find_damaged(opened(tmp_path, values))] == list(indices)


def test_slices_that_are_not_finite(tmp_path):
    """A px that is not among those that are looked at otherwise."""
    values = np.repeat(np.repeat(stack(), 7, axis=1), 7, axis=2).astype(np.float32)
    values[4, 3, 3] = np.nan
    (found,) = find_damaged(opened(tmp_path, values))
    assert found == (4, "not finite")


def test_what_is_stored_in_tiles_is_looked_at_in_tiles(tmp_path):
    """Wider than a tile, which thinning does not divide."""
    random = np.random.default_rng(0)
    smooth = gaussian_filter(random.normal(size=(6, 4, 2100)), (2, 0, 3))
    values = (100 + 1000 * smooth).astype(np.float32)
    values[2] = random.normal(100, 500, values[2].shape)
    values[4, 2, 2050] = np.inf
    found = find_damaged(opened(tmp_path, values, name="stack.ome.zarr"))
    assert [(each.index, each.reason[:6]) for each in found] == [(2, "unlike"), (4, "not fi")]


def test_what_is_called_missing_is_not_looked_at(tmp_path):
    values = stack()
    damage(values, 5, "blank")
    assert find_damaged(opened(tmp_path, values, missing=(5,))) == []


def test_counted_after_simulation(tmp_path):
    values = stack(36)
    damage(values, 9, "noise")
    damage(values, 11, "noise")  # held out
    assert [each.index for each in find_damaged(opened(tmp_path, values, factor=3))] == [3]


def test_where_most_is_damaged_nothing_can_be_told(tmp_path):
    values = stack()
    for index in range(1, 11, 2):
        damage(values, index, "repeated")
    with pytest.raises(ValueError, match=r"got 5 of 12 slices that look damaged \(1, 3, 5, 7, 9\)"):
        find_damaged(opened(tmp_path, values))
