"""Checkpoints: the newest is read to the bit; another tree, or a damaged one, is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.data.errors import InputError
from emgauss_jax.methods import registry
from emgauss_jax.methods.base import Block
from emgauss_jax.training import checkpoint
from emgauss_jax.training.problem import FitSettings, Problem, make_template, shapes_of, start_chunk
from tests.tiny_runs import tiny


def state_of(seed=0):
    """The state of two fits of the default method, at its start, with their keys."""
    config = tiny(seed=seed)
    method = registry.build("emgauss", config, registry.AxialSampling(4.0))
    slices = np.random.default_rng(0).random((2, 3, 12, 14), np.float32)
    along = np.tile(np.arange(3, dtype=np.float32), (2, 1))
    blocks = Block(slices, along, np.ones((2, 3), bool))
    template = make_template(
        method, shapes_of(jax.tree.map(lambda leaf: leaf[0], blocks)), jax.random.key(seed),
        config.optimizer.rates.to_dict(), {}, FitSettings(**config.train),
    )  # fmt: skip
    state, _, keys, _ = start_chunk(Problem(template, blocks), [0, 1])
    return {"state": state, "keys": jax.random.key_data(keys)}


def test_the_newest_is_kept_and_read_to_the_bit(tmp_path):
    tree = state_of()
    assert checkpoint.restore(tmp_path / "chunk", tree) is None
    for step in (10, 20):
        moved = jax.tree.map(lambda leaf, s=step: (leaf + s).astype(leaf.dtype), tree)
        checkpoint.save(tmp_path / "chunk", step, moved)
    assert [each.name for each in (tmp_path / "chunk").iterdir()] == ["20"]
    found = checkpoint.restore(tmp_path / "chunk", tree)
    assert jax.tree.structure(found) == jax.tree.structure(moved)
    for got, want in zip(*map(jax.tree.leaves, (found, moved)), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def test_another_tree_is_refused_by_the_name_of_its_leaf(tmp_path):
    tree = state_of()
    checkpoint.save(tmp_path, 5, tree)
    state = tree["state"]
    means = state.params.canonical.means
    for wrong, kind in (
        (means[:, :-1], f"float32{list(means[:, :-1].shape)}"),
        (means.astype(jnp.float16), f"float16{list(means.shape)}"),  # orbax alone would cast it
    ):
        params = state.params._replace(canonical=state.params.canonical._replace(means=wrong))
        wanted = tree | {"state": state._replace(params=params)}
        name = "state/params/canonical/means"
        match = f"{name}: got float32{list(means.shape)}, wanted {kind};"
        with pytest.raises(InputError, match=re.escape(match)):
            checkpoint.restore(tmp_path, wanted)
    with pytest.raises(InputError, match="extra: got no such array"):
        checkpoint.restore(tmp_path, tree | {"extra": jnp.zeros(2)})


def test_a_damaged_one_is_refused_in_one_line(tmp_path):
    tree = state_of()
    checkpoint.save(tmp_path, 5, tree)
    largest = max((tmp_path / "5").rglob("*"), key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    turned = bytearray(whole)
    turned[len(turned) // 2] ^= 1
    for content in (bytes(turned), whole[: len(whole) // 2]):
        largest.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            checkpoint.restore(tmp_path, tree)
    largest.write_bytes(whole)
    assert checkpoint.restore(tmp_path, tree) is not None
