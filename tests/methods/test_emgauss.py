"""The constraints of EMGauss: deformation, stages, teacher, density control."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.slice_profile import THIN, averaged
from emgauss_jax.methods import registry
from emgauss_jax.methods.base import Block
from emgauss_jax.methods.emgauss import density, method, model, schedule
from emgauss_jax.methods.emgauss.deformation import Deformation, mlp, spline
from emgauss_jax.render.gaussians import AlphaGaussians, Gaussians, activate
from emgauss_jax.render.rasterize import RenderSettings
from emgauss_jax.render.reference import reference
from tests import tiny_runs

SHAPE = (20, 26)
STAGES = schedule.Stages(warmup=4, joint=2, ramp_end=16)
ALPHA = RenderSettings(blend="alpha", backend="tiled", capacity=128)


def settings(**changes):
    return model.Settings(**{"stages": STAGES, "holdout_every": 0} | changes)


def block(slices=5, seed=0, missing=()):
    rng = np.random.default_rng(seed)
    valid = np.ones(slices, bool)
    valid[list(missing)] = False
    values = rng.uniform(0.2, 0.8, (slices, *SHAPE)).astype(np.float32)
    return Block(jnp.asarray(values), jnp.arange(slices, dtype=jnp.float32), jnp.asarray(valid))


def stirred(params, size=0.05):
    """Stir what is learned, and have all Gaussians alive."""
    params = tiny_runs.stirred(params, size)
    alive = jnp.ones_like(params.canonical.alive)
    return params._replace(canonical=params.canonical._replace(alive=alive))


FIELDS = ("means", "log_scales", "angles", "amplitudes")
BUILDS = [spline, functools.partial(mlp, layers=3, width=16, octaves=4)]
DEFORMATIONS = [build(fields=FIELDS) for build in BUILDS]
BLENDS = [(RenderSettings(), FIELDS), (ALPHA, (*FIELDS[:3], "opacity_logits"))]


def configured(config, deformation):
    """Build the method of a config of configs/ with one of its deformations."""
    config = tiny_runs.default(config)
    config.emgauss.deformation = deformation
    return registry.build("emgauss", config, registry.AxialSampling())


@pytest.mark.parametrize("name", ["spline", "mlp"])
def test_defaults_are_those_of_the_default_config(name):
    made, deformation = configured("emgauss", name).predict.args  # bound by `method.build`
    assert made == model.Settings()
    started, wanted = (
        jax.eval_shape(lambda d=d: d.init(jax.random.key(0), 3, 2))
        for d in (deformation, {"spline": spline, "mlp": mlp}[name]())
    )
    assert started == wanted


@pytest.mark.parametrize("name", ["spline", "mlp"])
@pytest.mark.parametrize(
    ("config", "kind"), [("emgauss", Gaussians), ("emgauss_paper", AlphaGaussians)]
)
def test_both_deformations_fit_the_gaussians_of_a_config(config, kind, name):
    made = configured(config, name)
    params = jax.eval_shape(made.init, jax.random.key(0), block())
    assert isinstance(params.canonical, kind)
    assert jax.eval_shape(made.predict, params, block(), jnp.zeros(3)).shape == (3, *SHAPE)


def test_an_offset_of_a_field_that_is_not_there_is_refused():
    made = method.build(settings(render=ALPHA), spline())
    params = jax.eval_shape(made.init, jax.random.key(0), block())
    with pytest.raises(InputError, match=r"got offsets of \['amplitudes'\] with blend 'alpha'"):
        jax.eval_shape(made.predict, params, block(), jnp.zeros(3))


@pytest.mark.parametrize("build", BUILDS, ids=["spline", "mlp"])
@pytest.mark.parametrize("fields", [(), ("colour",)])
def test_fields_that_do_not_exist_are_refused(build, fields):
    with pytest.raises(InputError, match=r"\.fields: got .*, wanted some of \['means'"):
        build(fields=fields)


@pytest.mark.parametrize("deformation", DEFORMATIONS, ids=["spline", "mlp"])
def test_deformation_is_the_identity_at_the_start(deformation):
    b, made = block(), settings()
    params = model.init(made, deformation, jax.random.key(0), b)
    for z in (0.0, 0.37, 2.0, 4.0):
        moved, _ = model.deform(made, deformation, params, b, jnp.float32(z))
        for a, want in zip(moved, params.canonical, strict=True):
            np.testing.assert_array_equal(a, want)


@pytest.mark.parametrize("build", BUILDS, ids=["spline", "mlp"])
@pytest.mark.parametrize(("render", "fields"), BLENDS, ids=["sum", "alpha"])
def test_what_may_change_with_depth(build, render, fields):
    b, deformation, made = block(), build(fields=fields), settings(render=render)
    params = stirred(model.init(made, deformation, jax.random.key(0), b))

    def at(made, z):
        return model.deform(made, deformation, params, b, jnp.float32(z))[0]

    def differs(made, name):
        return bool(jnp.any(getattr(at(made, 0.3), name) != getattr(at(made, 2.6), name)))

    changing = {name for name in params.canonical._fields if differs(made, name)}
    assert changing == set(fields) - {"angles"}
    assert not differs(dataclasses.replace(made, deform_opacity=False), fields[-1])
    if render == ALPHA:
        assert differs(dataclasses.replace(made, deform_rotation=True), "angles")


@pytest.mark.parametrize("deformation", DEFORMATIONS, ids=["spline", "mlp"])
def test_beyond_the_slices_is_the_nearest_depth_they_show(deformation):
    """That of an averaged slice's first plane: no network is asked what it was never taught."""
    b, made = block(), settings(profile=averaged(2))
    params = stirred(model.init(made, deformation, jax.random.key(0), b))
    for beyond, seen in ((-3.0, -0.25), (4.5, 4.25)):
        found = [
            model.deform(made, deformation, params, b, jnp.float32(z))[0] for z in (beyond, seen)
        ]
        jax.tree.map(np.testing.assert_array_equal, *found)


def test_mlp_does_not_move_its_own_input():
    deformation, b, made = mlp(layers=2, width=8, octaves=2), block(), settings()
    params = stirred(model.init(made, deformation, jax.random.key(0), b))

    def total(means):
        depth = model.depth_of(model.Knots.of(settings(), b), b, jnp.float32(1.5))
        offsets = deformation.apply(params.deformation, means, SHAPE, depth)
        return sum(jnp.sum(leaf) for leaf in offsets.values())

    np.testing.assert_array_equal(jax.grad(total)(params.canonical.means), 0.0)


def loss(made, student, other, b, key, step, weights=None):
    """The scalar loss, with the loss weights of its own settings."""
    weights = weights or method.loss_weights(made)
    return method.loss(made, spline(), student, other, b, key, jnp.int32(step), weights)[0]


@pytest.mark.parametrize("step", [11, 12])  # a pseudo iteration and a real one
def test_the_teacher_gets_no_gradient(step):
    b, made = block(), settings()
    params = stirred(model.init(made, spline(), jax.random.key(0), b))
    taught = stirred(params, 0.1)
    assert bool(STAGES.is_pseudo(jnp.int32(step))) == (step == 11)

    def value(student, other):
        key = jax.random.key(3)
        return loss(made, student, other, b, key, step)

    student_grad, teacher_grad = jax.jit(jax.grad(value, argnums=(0, 1)))(params, taught)
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(teacher_grad))
    assert jnp.any(student_grad.canonical.means != 0)


def test_pseudo_labels_weigh_from_first_to_last():
    b, made = block(), settings()
    params = stirred(model.init(made, spline(), jax.random.key(0), b))
    taught = stirred(params, 0.1)
    value = functools.partial(loss, made, params, taught, b, jax.random.key(3))
    plain = {"ssim_weight": 0.2, "stages.weight_first": 1.0, "stages.weight_last": 1.0}
    for step, first, last, want in ((7, 0.25, 1, 0.325), (11, 0.1, 1, 0.55), (17, 0.1, 2, 2)):
        weights = plain | {"stages.weight_first": first, "stages.weight_last": last}
        ratio = value(step, weights) / value(step, plain)
        assert float(ratio) == pytest.approx(want, rel=1e-5)


def test_stages():
    steps = jnp.arange(20)
    pseudo = np.asarray(STAGES.is_pseudo(steps))
    np.testing.assert_array_equal(np.flatnonzero(pseudo), np.arange(7, 20, 2))
    ramp = np.asarray(STAGES.ramp(steps))
    np.testing.assert_allclose(ramp[[0, 6, 11, 16, 19]], [0, 0, 0.5, 1, 1], atol=1e-6)
    assert not np.any(dataclasses.replace(STAGES, use_teacher=False).is_pseudo(steps))


def test_pseudo_depths_spread_from_the_middle_of_each_gap():
    b = block(slices=6, missing=[2, 3])  # gaps 0-1, 1-4 and 4-5
    middle = schedule.pseudo_depths(jax.random.key(0), b, jnp.float32(0), 300)
    assert set(np.asarray(middle).tolist()) == {0.5, 2.5, 4.5}
    wide = np.asarray(schedule.pseudo_depths(jax.random.key(0), b, jnp.float32(1), 3000))
    assert wide.min() < 0.05 and wide.max() > 4.95
    # evenly over the whole depth: 3/5 of them in the gap of three slices, within 5 sigma
    share = np.mean((wide > 1) & (wide < 4))
    assert abs(share - 0.6) < 5 * np.sqrt(0.6 * 0.4 / 3000)


def test_missing_slices_are_never_looked_at():
    b = block(missing=[1, 3])
    loud = b._replace(slices=b.slices.at[jnp.array([1, 3])].set(1e3))
    made = settings(planes_per_step=4)

    @jax.jit
    def losses(each):
        params = model.init(made, spline(), jax.random.key(0), each)
        run = functools.partial(loss, made, params, params, each)
        return jax.vmap(lambda key: run(key, 0))(jax.random.split(jax.random.key(1), 6))

    np.testing.assert_array_equal(losses(b), losses(loud))


def test_jittered_grid_is_even():
    for count in (1, 7, 130, 1000):
        points = np.asarray(model.jittered_grid(jax.random.key(0), count, SHAPE))
        assert points.shape == (count, 2)
        assert (points >= -0.5).all() and (points <= np.array(SHAPE) - 0.5).all()
    upper, left = (points < (np.array(SHAPE) - 1) / 2).mean(axis=0)
    assert abs(upper - 0.5) < 0.05 and abs(left - 0.5) < 0.05


def test_an_averaged_slice_is_the_mean_of_its_planes():
    b = block()
    params = stirred(model.init(settings(), spline(), jax.random.key(0), b))
    made = settings(profile=averaged(3))
    drawn, _ = model.render(made, spline(), params, b, jnp.float32(2), made.profile)
    depths = 2 + jnp.array(made.profile.offsets)
    thin = method.predict(made, spline(), params, b, depths)
    np.testing.assert_allclose(drawn, thin.mean(axis=0), atol=1e-6)


def test_uncertainty():
    b = block(slices=6, missing=[2, 3])
    z = jnp.asarray([0.0, 0.5, 0.125, 1.0, 2.5, 5.0])
    got = jax.vmap(functools.partial(model.uncertainty, b))(z)
    np.testing.assert_allclose(got, [0, 1, 0.5, 0, 3**model.POWER, 0], atol=1e-6)


def test_only_the_gap_blur_learns_from_a_hidden_slice():
    b, made = block(), settings(holdout_every=1)
    params = stirred(model.init(made, spline(), jax.random.key(0), b))

    def value(p, each):
        return method.holdout_loss(made, spline(), p, each, jax.random.key(1))

    error, grad = jax.value_and_grad(value)(params, b)
    assert error > 0 and grad.gap_blur != 0
    rare = dataclasses.replace(made, holdout_every=2)
    total = jax.grad(lambda p: loss(rare, p, params, b, jax.random.key(1), 11))(params)
    assert total.gap_blur == 0 and jnp.any(total.canonical.means != 0)  # not from pseudo-labels
    rest = grad._replace(gap_blur=jnp.zeros(()))
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(rest))
    two = block(missing=[1, 2, 3])  # nothing lies between two valid slices
    assert value(params, two) == 0 and not jnp.any(jax.grad(value)(params, two).gap_blur)


def test_blur_of_a_sum_is_a_blur_of_its_image():
    inside = gaussians(8)._replace(means=jnp.full((8, 2), 30.0) + jnp.arange(8.0)[:, None])
    draw = functools.partial(activate, inside)
    shape = (70, 70)
    want = gaussian_filter(np.asarray(reference(draw(), shape, blend="sum")), 2.0, truncate=8)
    np.testing.assert_allclose(reference(draw(blur=2.0), shape, blend="sum"), want, atol=1e-4)


def gaussians(n, seed=0):
    rng = np.random.default_rng(seed)
    f32 = functools.partial(jnp.asarray, dtype=jnp.float32)
    return Gaussians(
        f32(rng.uniform(2, 18, (n, 2))), f32(rng.normal(0.3, 0.1, (n, 2))), jnp.zeros(n),
        f32(rng.normal(0, 0.5, n)), jnp.ones(n),
    )  # fmt: skip


def test_copies_keep_the_sum_as_it_was_at_any_depth():
    control = density.DensityControl(every=1, start=0, prune=0.0, growth=0.5, jitter=0.0)
    made, b, deformation = settings(control=control, alive_fraction=0.5), block(), spline(FIELDS)
    params = tiny_runs.stirred(model.init(made, deformation, jax.random.key(0), b))
    alive = (params.canonical.alive > 0.5).astype(jnp.float32)
    params = params._replace(canonical=params.canonical._replace(alive=alive))
    run = jax.jit(functools.partial(method.maintain, made, deformation))
    after, _, fresh = run(params, params, b, jax.random.key(1), jnp.int32(0))
    assert int(after.canonical.alive.sum()) == int(1.5 * alive.sum())
    assert int(fresh.canonical.angles.sum()) == int(0.5 * alive.sum())
    draw = jax.jit(functools.partial(method.predict, made, deformation))
    pictures = [draw(each, b, jnp.asarray([0.0, 1.3, 4.0])) for each in (params, after)]
    np.testing.assert_allclose(*pictures, atol=1e-5)


def test_copies_let_through_what_their_source_did():
    means, scales, angles, logits, alive = gaussians(3)
    one = AlphaGaussians(means, scales, angles, logits, jnp.full(3, 0.5), alive)
    source, fresh = jnp.asarray([0, 1, 1]), jnp.asarray([False, False, True])
    shared = density.share(one, source, density.count_sharers(source, fresh))
    opacity = jax.nn.sigmoid(shared.opacity_logits)
    want = 1 - jax.nn.sigmoid(one.opacity_logits[1])
    np.testing.assert_allclose((1 - opacity[1]) * (1 - opacity[2]), want, rtol=1e-5)
    np.testing.assert_array_equal(shared.opacity_logits[0], one.opacity_logits[0])


def test_plan_copies_prunes_and_grows_within_capacity():
    control = density.DensityControl(prune=0.1, growth=0.5)
    importance = jnp.asarray([0.01, 0.5, 0.5, 0.02, 0.5, 0.5, 0.0, 0.0])
    alive = jnp.asarray([1, 1, 1, 1, 1, 1, 0, 0], jnp.float32)
    source, fresh, now = density.plan_copies(jax.random.key(0), importance, alive, control)
    living = {1, 2, 4, 5}
    # two are pruned and half of the four living may be born: two births in all
    assert int(fresh.sum()) == 2 and int(now.sum()) == 6
    assert set(np.asarray(source)[np.asarray(fresh)].tolist()) <= living
    kept = ~np.asarray(fresh)
    np.testing.assert_array_equal(np.asarray(source)[kept], np.arange(8)[kept])


@pytest.mark.parametrize("angle", [0.0, np.pi / 2])
def test_what_reaches_into_the_field_is_important(angle):
    """Of two outside it, wide along one axis, the one that lies towards it counts."""
    b, made = block(), settings(render=ALPHA, rotation=True)
    deformation = spline(("opacity_logits",))
    params = model.init(made, deformation, jax.random.key(0), b)
    count = params.canonical.angles.shape[0]
    one = params.canonical._replace(
        means=jnp.full((count, 2), 10.0).at[:, 0].set(-10.0),
        log_scales=jnp.log(jnp.full((count, 2), 1.0).at[:, 1].set(20.0)),
        angles=jnp.full(count, angle),
        alive=jnp.ones(count),
    )
    found = method.importance(made, deformation, params._replace(canonical=one), b)
    assert bool((found > 0.4).all()) == (angle > 0) and bool((found == 0).all()) == (angle == 0)


@pytest.mark.parametrize("build", BUILDS, ids=["spline", "mlp"])
@pytest.mark.parametrize(("render", "fields"), BLENDS, ids=["sum", "alpha"])
def test_maintain_only_when_due(build, render, fields):
    control = density.DensityControl(every=10, start=10, stop=30, growth=0.5)
    made, b = settings(control=control, render=render, alive_fraction=0.5), block()
    deformation = build(fields=fields)
    params = model.init(made, deformation, jax.random.key(0), b)
    run = jax.jit(functools.partial(method.maintain, made, deformation))
    for step, due in ((5, False), (10, True), (25, False), (30, False)):
        after, taught, fresh = run(params, params, b, jax.random.key(1), jnp.int32(step))
        grown = float(after.canonical.alive.sum()) - float(params.canonical.alive.sum())
        assert (grown > 0) == due
        assert bool(fresh.canonical.means.any()) == due
        np.testing.assert_array_equal(after.canonical.alive, taught.canonical.alive)
        for leaf, old in zip(jax.tree.leaves(after), jax.tree.leaves(params), strict=True):
            assert leaf.shape == old.shape


def test_what_is_drawn_axis_aligned_cannot_turn():
    with pytest.raises(ValueError, match="wanted 'tiled'"):
        settings(rotation=True)


def low_rank(rank=3, gaussian_axes=None):
    """Amplitudes change by each Gaussian's own mixture of courses along depth that all share."""

    def init(key, count, knots):
        basis = jax.random.normal(key, (rank, knots))
        return {"coefficients": jnp.zeros((count, rank)), "basis": basis}

    def apply(params, means, shape, depth):
        return {"amplitudes": params["coefficients"] @ (params["basis"] @ depth.hat)}

    return Deformation(init, apply, gaussian_axes)


LOW_RANK_AXES = {"coefficients": 0, "basis": None}


@pytest.mark.parametrize("axes", [LOW_RANK_AXES, LOW_RANK_AXES | {"coefficients": -2}])
def test_a_copy_learns_on_from_its_source_and_what_is_shared_stays(axes):
    control = density.DensityControl(every=1, start=0, prune=0.0, growth=0.5)
    made, b = settings(control=control, alive_fraction=0.5), block()
    deformation = low_rank(gaussian_axes=axes)
    params = model.init(made, deformation, jax.random.key(0), b)
    names = jnp.arange(len(params.canonical.angles)) / 100.0  # angles are not drawn here
    own = params.deformation | {"coefficients": jnp.stack([names, -names, 2 * names], axis=1)}
    params = params._replace(canonical=params.canonical._replace(angles=names), deformation=own)
    taught = params._replace(deformation=jax.tree.map(lambda a: 3 * a, own))
    run = jax.jit(functools.partial(method.maintain, made, deformation))
    *both, fresh = run(params, taught, b, jax.random.key(1), jnp.int32(0))
    copied = fresh.canonical.angles
    assert copied.any() and not copied.all()
    for after, before, times in zip(both, (params, taught), (1, 3), strict=True):
        sources = after.canonical.angles
        np.testing.assert_array_equal(sources != names, copied)
        want = times * jnp.stack([sources, -sources, 2 * sources], axis=1)
        np.testing.assert_array_equal(after.deformation["coefficients"], want)
        np.testing.assert_array_equal(after.deformation["basis"], before.deformation["basis"])
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    np.testing.assert_array_equal(fresh.deformation["coefficients"], copied[:, None])
    assert fresh.deformation["basis"].shape == (1, 1) and not fresh.deformation["basis"].any()


@pytest.mark.parametrize(
    "axes",
    [0, 1, LOW_RANK_AXES | {"coefficients": 2}, LOW_RANK_AXES | {"coefficients": -3},
     LOW_RANK_AXES | {"basis": 1}, {"coefficients": 0}],
)  # fmt: skip
def test_axes_that_count_no_gaussians_are_refused(axes):
    made, b, deformation = settings(), block(), low_rank(gaussian_axes=axes)
    params = model.init(made, deformation, jax.random.key(0), b)
    run = functools.partial(method.maintain, made, deformation)
    with pytest.raises(ValueError, match=r"deformation\.gaussian_axes: got .*, wanted "):
        jax.eval_shape(run, params, params, b, jax.random.key(1), jnp.int32(0))


def labelled(b, per_slice=4, profile=THIN):
    """Give a block labels: the planes of its own slices, and noise between them."""
    thick = not profile.is_plane
    count = len(b.z) * per_slice if thick else (len(b.z) - 1) * per_slice + 1
    z = np.arange(count) / per_slice - thick * (per_slice - 1) / (2 * per_slice)
    planes = np.random.default_rng(1).uniform(0.2, 0.8, (count, *SHAPE)).astype(np.float16)
    return b._replace(labels=jnp.asarray(planes), label_z=jnp.asarray(z, jnp.float32))


@pytest.mark.parametrize("profile", [THIN, averaged(4)])
@pytest.mark.parametrize("per_slice", [2, 3, 4, 9])
def test_labels_bring_knots_of_their_own(per_slice, profile):
    b = labelled(block(), per_slice, profile)
    made = settings(label_knots=4, profile=profile)
    knots = model.Knots.of(made, b)
    hats = jax.vmap(lambda z: model.depth_of(knots, b, z).hat)(b.label_z)
    np.testing.assert_allclose(hats.sum(axis=1), 1.0, atol=1e-6)
    # depth is reproduced by a straight line over the knots, up to the last label
    line = (jnp.arange(knots.count) - knots.beyond) / knots.per_gap
    np.testing.assert_allclose(hats @ line, b.label_z, atol=1e-5)
    assert jnp.all(hats.sum(axis=0) > 0)  # none that nothing could teach
    for k, z in enumerate(b.z):
        assert model.depth_of(knots, b, z).hat[k * knots.per_gap + knots.beyond] == 1.0
    assert model.Knots.of(made, block()).count == len(b.z)


def test_labels_need_no_teacher():
    alone = dataclasses.replace(STAGES, use_teacher=False)
    assert bool(alone.is_pseudo(jnp.int32(11), True)) and not bool(alone.is_pseudo(jnp.int32(11)))


def test_labels_take_the_teachers_place():
    """On a pseudo iteration a render equal to the label leaves nothing to learn."""
    b, made, deformation = labelled(block()), settings(), spline()
    params = stirred(model.init(made, deformation, jax.random.key(0), b))
    assert params.deformation["amplitudes"].shape[0] == model.Knots.of(made, b).count
    draw = jax.vmap(functools.partial(model.render, made, deformation, params, b, profile=THIN))
    own = b._replace(labels=draw(b.label_z)[0])
    other = stirred(params, 0.3)
    errors = [method.loss(made, deformation, params, other, each, jax.random.key(2), jnp.int32(11),
              method.loss_weights(made))[1]["mse"] for each in (own, b)]  # fmt: skip
    assert errors[0] < 1e-6 and errors[1] > 1e-3  # labels are float16 in a run, here float32


def test_labels_leave_no_gap_to_blur():
    made = settings(holdout_every=1)
    assert model.init(made, spline(), jax.random.key(0), block()).gap_blur > 0
    assert model.init(made, spline(), jax.random.key(0), labelled(block())).gap_blur == 0


@pytest.mark.parametrize(
    ("kind", "numbers", "match"),
    [
        (schedule.Stages, {"warmup": -1}, "stages: got warmup -1 and joint 1000, wanted 0 or more"),
        (schedule.Stages, {"joint": -5}, "joint -5"),
        (schedule.Stages, {"ramp_end": 1_199}, r"ramp_end: got 1199, wanted .* \(1200\) or later"),
        (schedule.Stages, {"weight_first": -0.1}, "weight_first: got -0.1, wanted 0 or more"),
        (schedule.Stages, {"weight_last": float("nan")}, "weight_last: got nan"),
        (density.DensityControl, {"every": -1}, "control: got every -1"),
        (density.DensityControl, {"start": -1}, "start -1"),
        (
            density.DensityControl,
            {"start": 9, "stop": 8},
            "stop 8, wanted .* no earlier than start",
        ),
        (density.DensityControl, {"growth": 1.5}, "control.growth: got 1.5, wanted 0 to 1"),
        (density.DensityControl, {"growth": float("nan")}, "growth: got nan"),
        (density.DensityControl, {"prune": -1e-3}, "prune: got -0.001, wanted 0 or more"),
        (density.DensityControl, {"jitter": float("inf")}, "jitter: got inf"),
    ],
)
def test_stages_and_density_control_that_cannot_be_are_named(kind, numbers, match):
    with pytest.raises(InputError, match=f"^emgauss.*{match}"):
        kind(**numbers)


def test_the_least_stages_and_density_control_are_taken():
    schedule.Stages(warmup=0, joint=0, ramp_end=0, weight_first=0.0, weight_last=0.0)
    density.DensityControl(every=0, start=0, stop=0, prune=0.0, growth=0.0, jitter=0.0)
    density.DensityControl(growth=1.0)
