"""Windows, and attention in them beside a plain mask."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emgauss_jax.methods.emformer.attention import WindowAttention, sine_code
from emgauss_jax.methods.emformer.windows import areas, cut, join, windows_of
from tests.tiny_runs import stirred

WINDOWS = [
    windows_of(shape, size, shifted)
    for shape, size in (((4, 4, 8), (2, 2, 4)), ((3, 5, 7), (2, 2, 4)), ((1, 1, 9), (2, 3, 4)))
    for shifted in (False, True)
]


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_windows_are_put_back_at_sizes_that_do_not_divide(windows):
    grid = np.arange(np.prod(windows.shape) * 2.0).reshape(*windows.shape, 2)
    parts = cut(jnp.asarray(grid), windows)
    assert parts.shape[1] == np.prod(windows.size)
    np.testing.assert_array_equal(join(parts, windows), grid)


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_tokens_see_what_lies_beside_them(windows):
    """In a window, all that is real and no farther away than the window is wide."""
    places = np.stack(np.meshgrid(*map(np.arange, windows.shape), indexing="ij"), axis=-1)
    tokens = np.asarray(cut(jnp.asarray(places + 1.0), windows))  # 0, 0, 0: padding
    area = areas(windows)
    area = np.zeros(tokens.shape[:2], int) if area is None else area
    real = tokens.any(axis=-1)
    apart = np.abs(tokens[:, :, None] - tokens[:, None])
    near = (apart < windows.size).all(axis=-1) & real[:, :, None] & real[:, None]
    same = (area[:, :, None] == area[:, None]) & real[:, :, None] & real[:, None]
    np.testing.assert_array_equal(same, near)
    assert not (area[:, :, None] == area[:, None])[real[:, :, None] ^ real[:, None]].any()


def plain(params, grid, window, shifted, mutual, heads):
    """Attend from every token to every other with a mask, as long as both are of one window."""
    shape, features = grid.shape[:3], grid.shape[3]
    size = [window[0], *(min(w, n) for w, n in zip(window[1:], shape[1:], strict=True))]
    shift = [w // 2 if shifted and w < n else 0 for w, n in zip(size, shape, strict=True)]
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    number = (places - shift) // size
    together = (number[:, None] == number[None]).all(axis=-1)
    tokens = grid.reshape(-1, features)

    def project(name, values):
        made = values @ params[name]["kernel"] + params[name]["bias"]
        return [part.reshape(len(values), heads, -1) for part in jnp.split(made, 3, axis=-1)]

    def attend(query, key, value, mask, bias=0.0):
        scores = jnp.einsum("qhf,khf->hqk", query, key) / np.sqrt(features // heads) + bias
        weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
        weights = jnp.where(mask.any(axis=1)[:, None], weights, 0)
        return jnp.einsum("hqk,khf->qhf", weights, value).reshape(len(mask), -1)

    apart = np.clip(places[:, None] - places[None] + np.array(window) - 1, 0, None)
    apart = np.minimum(apart, 2 * np.array(window) - 2)
    bias = params["bias"][tuple(np.moveaxis(apart, -1, 0))].transpose(2, 0, 1)
    seen = attend(*project("own", tokens), together, bias)
    if mutual:
        inside = (places - shift) % size
        code = sine_code(window[1:], tuple(size[1:]), features).reshape(*size[1:], features)
        query, key, value = project("other", tokens + code[inside[:, 1], inside[:, 2]])
        # At a token stands what the one at its place in the other frame sees in its own frame.
        partner = places + np.where(inside[:, :1] == 0, (1, 0, 0), (-1, 0, 0))
        index = {tuple(place): i for i, place in enumerate(places.tolist())}
        there = [index.get(tuple(place), -1) for place in partner.tolist()]
        alike = together & (places[:, None, 0] == places[None, :, 0])
        mask = alike & (np.array(there) >= 0)[:, None]
        seen = jnp.concatenate([attend(query[np.array(there)], key, value, mask), seen], axis=-1)
    out = seen @ params["joined"]["kernel"] + params["joined"]["bias"]
    return out.reshape(grid.shape)


@pytest.mark.parametrize(
    ("shape", "shifted", "mutual"),
    [
        ((4, 4, 8), True, False),
        ((4, 4, 8), True, True),
        ((4, 3, 6), True, False),
        ((4, 3, 6), False, True),
        ((2, 1, 6), True, True),
        ((3, 3, 6), False, True),
        ((5, 3, 6), True, True),
    ],
)
def test_attention_is_that_of_a_plain_mask_in_value_and_gradient(shape, shifted, mutual):
    window, heads = (2, 2, 4), 2
    module = WindowAttention(heads, window, shifted, mutual)
    grid = jax.random.normal(jax.random.key(1), (*shape, 4))
    params = stirred(jax.jit(module.init)(jax.random.key(0), grid), 0.3)["params"]
    weigh = jax.random.normal(jax.random.key(2), grid.shape)

    def ours(params, grid):
        values = module.apply({"params": params}, grid)
        return jnp.sum(weigh * values), values

    def theirs(params, grid):
        values = plain(params, grid, window, shifted, mutual, heads)
        return jnp.sum(weigh * values), values

    both = [
        jax.jit(jax.value_and_grad(each, (0, 1), has_aux=True))(params, grid)
        for each in (ours, theirs)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-4), *both)


def test_a_frame_without_a_partner():
    """Of three frames the last sees itself alone; what the others hold is nothing to it."""
    module = WindowAttention(2, (2, 2, 4), False, True)
    grid = jax.random.normal(jax.random.key(1), (3, 2, 4, 4))
    params = stirred(jax.jit(module.init)(jax.random.key(0), grid), 0.3)
    apply = jax.jit(module.apply)
    before, after = apply(params, grid), apply(params, grid.at[:2].set(5.0))
    np.testing.assert_allclose(before[2], after[2], atol=1e-6)
    assert np.abs(before[:2] - after[:2]).max() > 0.1
