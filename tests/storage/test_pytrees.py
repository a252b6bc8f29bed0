"""Pytrees in files: read to the bit, or refused with the leaf's name."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from emgauss_jax.data.errors import InputError
from emgauss_jax.storage import pytrees

TREE = {"bias": np.zeros(3, np.float32), "kernel": np.arange(9, dtype=np.float32).reshape(3, 3)}


def test_every_dtype_comes_back_to_the_bit_whatever_its_layout(tmp_path):
    """safetensors alone would write the bytes of a transposed array as they lie in memory."""
    numbers = np.arange(6).reshape(2, 3)
    tree = {
        "turned": numbers.astype(np.uint16).T,
        "strided": numbers.astype(np.float32)[:, ::2],
        "nested": [np.float16(numbers), (np.asarray(True), np.asarray(np.int32(7)))],
        "none of it": np.zeros((0, 2), np.uint8),
    }
    pytrees.write(tmp_path / "a.safetensors", "fit", tree, {"said": [1, "ä"]})
    arrays, about = pytrees.read(tmp_path / "a.safetensors", "fit")
    assert about == {"said": [1, "ä"]}
    found = pytrees.like(arrays, tree, "a")
    for name, leaf in pytrees.named(tree).items():
        got = pytrees.named(found)[name]
        assert got.dtype == leaf.dtype and got.shape == leaf.shape
        np.testing.assert_array_equal(got, leaf)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (
            {"amplitude": np.zeros(7, np.float32), "basis": np.zeros((2, 2, 2), np.float32)},
            r"amplitude: got no such array, wanted float32\[7\]",
        ),
        (TREE | {"more": np.zeros(1)}, r"more: got no such array, wanted float64\[1\]"),
        ({"bias": TREE["bias"]}, r"kernel: got float32\[3, 3\], wanted no such array"),
        (TREE | {"bias": np.zeros(4, np.float32)}, r"bias: got float32\[3\], wanted float32\[4\]"),
        (TREE | {"bias": np.zeros(3)}, r"bias: got float32\[3\], wanted float64\[3\]"),
        ({"network": TREE}, r"bias: got float32\[3\], wanted no such array"),
    ],
)
def test_a_tree_of_another_structure_shape_or_dtype_is_refused_by_name(other, match, tmp_path):
    pytrees.write(tmp_path / "a.safetensors", "fit", TREE, {})
    arrays, _ = pytrees.read(tmp_path / "a.safetensors", "fit")
    with pytest.raises(InputError, match=match):
        pytrees.like(arrays, other, "a")


def test_two_leaves_of_one_shape_are_not_swapped(tmp_path):
    """By position they would be: the order of the keys is another."""
    one = {"a": np.zeros(2, np.float32), "b": np.ones(2, np.float32)}
    pytrees.write(tmp_path / "x", "fit", {"b": one["b"], "a": one["a"]}, {})
    found = pytrees.like(pytrees.read(tmp_path / "x", "fit")[0], one, "x")
    assert found["a"].max() == 0 and found["b"].min() == 1


def test_files_of_something_else_are_refused_in_one_line(tmp_path):
    (tmp_path / "text").write_text("no arrays")
    save_file(TREE, tmp_path / "foreign")
    pytrees.write(tmp_path / "network", "network", TREE, {})
    save_file(TREE, tmp_path / "newer", {"emgauss_jax": '{"kind": "fit", "version": 2}'})
    whole = tmp_path / "whole"
    pytrees.write(whole, "fit", TREE, {"said": 1})
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:-5])
    turned = bytearray(whole.read_bytes())
    turned[-2] ^= 1  # of an array
    (tmp_path / "turned").write_bytes(turned)
    edited = whole.read_bytes().replace(b"said", b"sAid")
    (tmp_path / "edited").write_bytes(edited)
    for name, match in {
        "nowhere": "cannot be read",
        "text": "cannot be read",
        "cut": "cannot be read",
        "turned": "got a damaged or edited file",
        "edited": "got a damaged or edited file",
        "foreign": "got 'another safetensors file', wanted a fit of emgauss_jax",
        "network": "got 'network', wanted a fit",
        "newer": "got version 2, wanted 1; fit again",
    }.items():
        with pytest.raises(InputError, match=re.escape(match)) as caught:
            pytrees.read(tmp_path / name, "fit")
        assert name in str(caught.value) and "\n" not in str(caught.value)
