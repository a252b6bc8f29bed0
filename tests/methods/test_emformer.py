"""EMformer: windows, attention, training pieces, and planes at any depth and of missing slices."""

import functools
import itertools
import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emgauss_jax.methods import interpolate, registry
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.emformer import method, pieces
from emgauss_jax.methods.emformer.attention import WindowAttention, sine_code
from emgauss_jax.methods.emformer.head import double
from emgauss_jax.methods.emformer.network import Network, Sizes, kept_blocks, merge, split
from emgauss_jax.methods.emformer.turns import reversals
from emgauss_jax.methods.emformer.windows import areas, cut, join, windows_of
from emgauss_jax.methods.rows import Missing

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
SIZES = Sizes(
    features=4,
    deep_features=4,
    scales=2,
    stage_blocks=2,
    groups=1,
    heads=2,
    window=(2, 2, 4),
    head_features=4,
    doublings=1,
    drop=0.5,
)


def settings(factor=2.0, thick=False, missing=(0, 0, 0), **changes):
    small = dict(batch=2, frames=2, rows=4, columns=12, ssim_weight=1.0)
    return method.Settings(factor, thick, Missing(*missing), SIZES, **(small | changes))


def block(z=range(5), shape=(14, 17), seed=0):
    values = np.random.default_rng(seed).uniform(0.2, 0.8, (len(z), *shape)).astype(np.float32)
    return Block(jnp.asarray(values), jnp.asarray(z, jnp.float32), jnp.ones(len(z), bool))


def stirred(params, size=0.2):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    moved = [a + size * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


@functools.cache
def started(thick=False):
    """Parameters that do something; the same for every size of a stack."""
    return stirred(jax.jit(functools.partial(method.init, settings(thick=thick)))(
        jax.random.key(0), None
    ))  # fmt: skip


@functools.cache
def drawing(thick=False, missing=(0, 0, 0)):
    """Both functions of a method, compiled."""
    made = method.build(settings(thick=thick, missing=missing))
    return jax.jit(made.predict), jax.jit(made.predict_with_error)


def test_as_many_parameters_as_published():
    """1,436,841, and 360 for the channel that says which rows are there: 1 x 3 x 3 to 40."""
    config = runpy.run_path(str(CONFIGS / "emformer.py"))["get_config"]()
    made = registry.build("emformer", config, registry.Sampled(8.0))
    params = jax.eval_shape(made.init, jax.random.key(0), None)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1_436_841 + 9 * 40


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
    ],
)
def test_attention_is_that_of_a_plain_mask_in_value_and_gradient(shape, shifted, mutual):
    """Up to frames without a partner, which `test_a_frame_without_a_partner` looks at."""
    window, heads = (2, 2, 4), 2
    module = WindowAttention(heads, window, shifted, mutual)
    grid = jax.random.normal(jax.random.key(1), (*shape, 4))
    params = stirred(jax.jit(module.init)(jax.random.key(0), grid), 0.3)["params"]
    inner = slice(1, -1) if mutual and shifted and shape[0] > 2 else slice(None)
    weigh = jax.random.normal(jax.random.key(2), grid[inner].shape)

    def ours(params, grid):
        values = module.apply({"params": params}, grid)[inner]
        return jnp.sum(weigh * values), values

    def theirs(params, grid):
        values = plain(params, grid, window, shifted, mutual, heads)[inner]
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


def test_changes_of_scale_undo_each_other():
    grid = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    assert merge(grid).shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(split(merge(grid)), grid)
    four = merge(grid)[0, 1, 2].reshape(2, 2, 3)  # columns, rows, features
    np.testing.assert_array_equal(four, grid[0, 2:4, 4:6].swapaxes(0, 1))


def test_two_rows_of_every_second_feature():
    grid = jnp.arange(2 * 3.0).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(double(grid)[0, :, 0], [[0, 2, 4], [1, 3, 5]])


def test_blocks_are_dropped_by_key_and_none_of_the_first():
    draw = jax.vmap(lambda key: kept_blocks(key, SIZES))
    kept = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))
    assert kept.shape == (2000, SIZES.blocks, 2)
    assert (kept[:, 0] == 1).all()
    np.testing.assert_allclose(np.unique(kept[:, -1]), [0, 2])  # half of them, twice as much
    np.testing.assert_allclose(kept.mean(axis=0), 1, atol=0.1)


def test_what_stands_in_a_missing_row_is_not_looked_at():
    network = Network(SIZES, 0.0)
    rows = jax.random.normal(jax.random.key(0), (2, 6, 8))
    valid = jnp.array([True, True, False, False, True, True])
    keep, given = jnp.ones((SIZES.blocks, 2)), (jnp.array([1.0, 2.5]), jnp.float32(0.5))
    params = stirred(jax.jit(network.init)(jax.random.key(1), rows, valid, *given, keep))
    draw = jax.jit(lambda rows, valid: network.apply(params, rows, valid, *given, keep))
    want = draw(rows, valid)
    np.testing.assert_array_equal(draw(rows.at[:, 2:4].set(7.0), valid), want)
    assert np.abs(draw(rows, jnp.ones(6, bool)) - want).max() > 1e-3


def test_pieces_of_a_whole_factor():
    target = np.random.default_rng(0).uniform(size=(2, 13, 3)).astype(np.float32)
    means, place, known, there = pieces.average(jnp.asarray(target), 4, jnp.float32(3))
    np.testing.assert_allclose(means, target[:, :12].reshape(2, 4, 3, 3).mean(2), atol=1e-5)
    np.testing.assert_allclose(place[:3], [-1 / 3, 0, 1 / 3], atol=1e-6)
    assert known.tolist() == [True] * 12 + [False] and there.all()
    picked, place, known, there = pieces.pick(jnp.asarray(target), 4, jnp.float32(3))
    np.testing.assert_array_equal(picked, target[:, :12:3])
    np.testing.assert_allclose(place[:10], np.arange(10) / 3, atol=1e-6)
    assert known.tolist() == [True] * 10 + [False] * 3 and there.all()


def test_pieces_of_a_fractional_factor():
    """2.5 px: whole px and halves are averaged; of thin rows each gap has its own whole px."""
    target = np.random.default_rng(0).uniform(size=(1, 10, 2)).astype(np.float32)
    means, place, known, _ = pieces.average(jnp.asarray(target), 4, jnp.float32(2.5))
    a, b, c = target[0, :3]
    np.testing.assert_allclose(means[0, 0], (a + b + c / 2) / 2.5, atol=1e-5)
    c, d, e = target[0, 2:5]
    np.testing.assert_allclose(means[0, 1], (c / 2 + d + e) / 2.5, atol=1e-5)
    np.testing.assert_allclose(place[0], 0.5 / 2.5 - 0.5, atol=1e-6)
    assert known.all()
    picked, place, known, _ = pieces.pick(jnp.asarray(target), 4, jnp.float32(2.5))
    np.testing.assert_array_equal(picked[0], target[0, [0, 2, 5, 8]])
    np.testing.assert_allclose(place[:6], [0, 1 / 2, 1, 4 / 3, 5 / 3, 2], atol=1e-6)
    assert known.tolist() == [True] * 9 + [False]


def test_rows_beyond_a_piece_are_missing():
    """10 px hold two rows of 4 px, or three thin ones 4 px apart."""
    target = np.random.default_rng(0).uniform(size=(1, 10, 2)).astype(np.float32)
    means, _, known, there = pieces.average(jnp.asarray(target), 4, jnp.float32(4))
    np.testing.assert_allclose(means[:, :2], target[:, :8].reshape(1, 2, 4, 2).mean(2), atol=1e-5)
    assert there.tolist() == [True, True, False, False] and known.sum() == 8
    _, _, known, there = pieces.pick(jnp.asarray(target), 4, jnp.float32(4))
    assert there.tolist() == [True, True, True, False] and known.sum() == 9


@pytest.mark.parametrize(
    ("field", "factor", "thick", "rows", "size", "factors"),
    [
        ((144, 150), 8.0, True, 12, 144, (2, 12)),
        ((100, 150), 8.0, True, 12, 100, (2, 12)),
        ((40, 50), 8.0, True, 5, 40, (2, 12)),
        ((17, 50), 8.0, True, 2, 16, (2, 8)),
        ((17, 50), 8.0, False, 3, 17, (2, 8)),
        ((144, 144), 16.0, False, 9, 144, (2, 16)),
        ((144, 144), 1.5, True, 12, 144, (1.5, 12)),
    ],
)
def test_pieces_fit_into_a_block(field, factor, thick, rows, size, factors):
    most = pieces.Shape(4, 12, 0, 48)
    shape, found = pieces.shape_of_piece((3, *field), most, factor, thick)
    assert shape == (3, rows, size, min(48, *field))
    np.testing.assert_allclose(found, factors)
    degrade = pieces.average if thick else pieces.pick
    for each in (*found, factor):  # two rows or more, and all of them at its own
        *_, there = degrade(jnp.zeros((1, size, 1)), rows, jnp.float32(each))
        assert there.sum() >= 2
    assert there.all()


@pytest.mark.parametrize("thick", [False, True])
def test_a_piece_keeps_two_rows_whatever_is_missing(thick):
    slices, shape = jnp.zeros((2, 26, 26)), pieces.Shape(2, 6, 25, 12)
    draw = jax.jit(
        jax.vmap(lambda key: pieces.draw_piece(key, slices, shape, (2.0, 12.0, 4.0), thick).valid)
    )
    valid = np.asarray(draw(jax.random.split(jax.random.key(0), 500)))
    assert valid.sum(axis=1).min() == 2 and valid.sum(axis=1).max() == 6


def test_missing_rows_are_runs_up_to_three_and_at_the_ends_too():
    draw = jax.vmap(lambda key: pieces.draw_valid(key, 6))
    valid = np.asarray(draw(jax.random.split(jax.random.key(0), 600)))
    runs = {tuple(np.flatnonzero(~each).tolist()) for each in valid}
    want = {tuple(range(a, a + n)) for n in (1, 2, 3) for a in range(7 - n)} | {()}
    assert runs == want
    few = np.asarray(jax.vmap(lambda key: pieces.draw_valid(key, 3))(
        jax.random.split(jax.random.key(0), 99)
    ))  # fmt: skip
    assert (few.sum(axis=1) >= 2).all()


def test_pieces_are_turned_in_eight_ways():
    """A slice distance up, a row down, a column right: never its mirror image."""
    z, y, x = np.meshgrid(*map(np.arange, (3, 4, 4)), indexing="ij")
    slices = jnp.asarray(100.0 * z + 10 * y + x)
    shape = pieces.Shape(3, 2, 4, 4)
    draw = jax.jit(jax.vmap(lambda key: pieces._cut(key, slices, shape)))
    cuts = np.unique(np.asarray(draw(jax.random.split(jax.random.key(0), 200))), axis=0)
    assert len(cuts) == 8
    for piece in cuts:
        steps = [piece[1, 0, 0], piece[0, 1, 0], piece[0, 0, 1]] - piece[0, 0, 0]
        axes = np.array([[s == 100, s == 10, s == 1] for s in np.abs(steps)], float)
        assert np.linalg.det(axes * np.sign(steps)[:, None]) == pytest.approx(1)


def test_a_stack_is_turned_in_eight_rotations():
    matrices = set()
    for way, exchanged in itertools.product(itertools.product((False, True), repeat=2), (0, 1)):
        turned = reversals(np.array(way), bool(exchanged))
        order = [0, 2, 1] if exchanged else [0, 1, 2]
        matrix = np.eye(3)[order] * np.where(turned, -1, 1)[:, None]
        assert np.linalg.det(matrix) == pytest.approx(1)
        matrices.add(matrix.astype(int).tobytes())
    assert len(matrices) == 8


@pytest.mark.parametrize("thick", [False, True])
def test_rotations_are_undone_exactly(thick, monkeypatch):
    """Of an interpolation, which knows no direction, all eight views are one."""

    def frames(settings, params, frames, valid, place):
        interpolate = functools.partial(method.interpolate, thick=thick)
        return jax.vmap(interpolate, (0, None))(frames, place)

    monkeypatch.setattr(method, "draw_frames", frames)
    stack, z = block(), np.array([0.0, 0.7, 2.5, 4.0])
    views = method.views(settings(thick=thick), None, stack, jnp.asarray(z, jnp.float32))
    kind = "cubic_mean" if thick else "linear"
    want = interpolate.baselines(stack, z, (kind,))[kind]
    assert len(views) == 8
    for view in views:
        np.testing.assert_allclose(view, want, atol=2e-5)


def test_at_the_start_planes_are_interpolated_across_missing_slices_too():
    stack, z = block([1, 2, 4, 5]), np.array([0.0, 1.3, 3.0, 5.0, 6.0])
    made = method.build(settings(missing=(1, 1, 1)))
    params = jax.jit(lambda: made.init(jax.random.key(0), None))()
    drawn = jax.jit(made.predict)(params, stack, jnp.asarray(z, jnp.float32))
    want = interpolate.baselines(stack, z, ("linear",))["linear"]
    np.testing.assert_allclose(drawn, want, atol=1e-5)


@pytest.mark.parametrize("thick", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_stack_of_one_intensity_stays_one_up_to_the_border(thick):
    stack = block()._replace(slices=jnp.full((5, 14, 17), 0.3))
    drawn = drawing(thick)[0](started(thick), stack, jnp.linspace(0, 4, 9))
    np.testing.assert_allclose(drawn, 0.3, atol=1e-3)


def test_planes_are_alike_whatever_else_is_asked_and_continuous():
    draw = functools.partial(drawing()[0], started(), block())
    fine, coarse = draw(jnp.arange(9) * 0.5), draw(jnp.array([0, 1, 2, 3, 4, 2 - 1e-5, 1, 1, 1.0]))
    np.testing.assert_allclose(fine[::2], coarse[:5], atol=1e-5)
    np.testing.assert_allclose(coarse[5], coarse[2], atol=1e-3)
    linear = interpolate.baselines(block(), np.arange(9) * 0.5, ("linear",))["linear"]
    assert np.abs(fine - linear).max() > 0.05  # the network has its say


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
@pytest.mark.parametrize("thick", [False, True])
def test_a_step_teaches(thick):
    """Stripes that linear interpolation cannot follow; keys decide all that is random."""
    y = np.arange(14)[:, None] + np.arange(17)
    stack = block()._replace(
        slices=jnp.asarray(0.5 + 0.3 * np.sin(1.1 * y + np.arange(5)[:, None, None]))
    )
    made = method.build(settings(thick=thick, rows=7))  # of 14 px: always of factor 2
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
    config = runpy.run_path(str(CONFIGS / "emformer_tiny.py"))["get_config"]()
    config.emformer.update(changes)
    with pytest.raises(ValueError, match=match):
        registry.build("emformer", config, registry.Sampled(8.0))
