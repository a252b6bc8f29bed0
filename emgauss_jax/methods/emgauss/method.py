"""EMGauss: one cloud of planar Gaussians that deforms along depth.

In the last stage every second step learns from pseudo-labels: those of the block, made before the
fit, or else what the teacher, the EMA of the student, renders between slices.

Everything here is written for one block. Letters: N Gaussians, K observed slices, Q queried planes,
H W block size in px.

Source: EMGauss (CVPR 2026, arXiv 2512.06684), section 3.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from emgauss_jax.data.slice_profile import THIN
from emgauss_jax.methods.base import Block, Method, has_neighbours
from emgauss_jax.methods.emgauss import density, schedule
from emgauss_jax.methods.emgauss.deformation import Deformation
from emgauss_jax.methods.emgauss.losses import reconstruction_loss
from emgauss_jax.methods.emgauss.model import Params, Settings, deform, init, render
from emgauss_jax.render.gaussians import activate, extents

PLANES_AT_ONCE = 8  # rendered: what a CPU's caches hold, and few enough launches for a GPU


def loss(
    settings: Settings,
    deformation: Deformation,
    params: Params,
    teacher_params: Params,
    block: Block,
    key: jax.Array,
    step: jax.Array,
    weights: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Compare renders with observed slices or, every second step of the last stage, pseudo-labels.

    Args:
      params: the student.
      teacher_params: its EMA; gets no gradient.
      block: the observed slices, and its pseudo-labels if it has any.
      key: PRNG key, consumed.
      step: i32[], the iteration.
      weights: f32[] each, by the names of `loss_weights`.

    Returns:
      f32[], and metrics.
    """
    target_key, noise_key, holdout_key = jax.random.split(key, 3)
    draw = functools.partial(_draw, settings, deformation, block)
    pseudo = settings.stages.is_pseudo(step, block.labels is not None)
    z, target = _choose_target(settings, draw, teacher_params, block, target_key, step, pseudo)
    noise_left = jnp.clip(1 - step / settings.depth_noise_end, 0.0, 1.0)
    z += settings.depth_noise * noise_left * jax.random.normal(noise_key, z.shape)
    # The blur is judged on hidden slices alone: these targets would only teach it to hide noise.
    student = params._replace(gap_blur=jax.lax.stop_gradient(params.gap_blur))
    as_slices = functools.partial(draw, student, z, settings.profile)
    if block.labels is not None and settings.profile != THIN:  # labels are planes, not slices
        images, facts = jax.lax.cond(pseudo, functools.partial(draw, student, z, THIN), as_slices)
    else:
        images, facts = as_slices()
    error = reconstruction_loss(images, target, weights["ssim_weight"])
    first, last = weights["stages.weight_first"], weights["stages.weight_last"]
    ramp = settings.stages.ramp(step)
    total = jnp.where(pseudo, first + (last - first) * ramp, 1.0) * error
    if settings.holdout_every and block.labels is None:
        held_out = functools.partial(
            holdout_loss, settings, deformation, params, block, holdout_key
        )
        total += jax.lax.cond(step % settings.holdout_every == 0, held_out, lambda: 0.0)
    metrics = {
        "loss": total,
        "mse": jnp.mean(jnp.square(images - target)),
        "pseudo": pseudo.astype(jnp.float32),
        "motion_px": jnp.sqrt(facts["motion"].mean()),
        "gap_blur_px": params.gap_blur,
        "alive": params.canonical.alive.mean(),
        "tile_overflow": facts["tile_overflow"].max(),
    }
    return total, metrics


def _draw(settings, deformation, block, params, z, profile):
    """Render planes or slices at depths f32[Q]: f32[Q, H, W], and what is known of them."""
    one = functools.partial(render, settings, deformation, params, block, profile=profile)
    return jax.vmap(one)(z)


def _choose_target(settings, draw, teacher_params, block, key, step, pseudo):
    """Choose depths f32[Q] and their targets, f32[Q, H, W]: observed slices or pseudo-labels."""
    count, stages = settings.planes_per_step, settings.stages
    real_key, pseudo_key = jax.random.split(key)
    index = schedule.real_slices(real_key, block, count)
    if block.labels is not None:
        chosen = jax.random.randint(pseudo_key, (count,), 0, len(block.label_z))
        depths = block.label_z[chosen]
    else:
        depths = schedule.pseudo_depths(pseudo_key, block, stages.ramp(step), count)
    z = jnp.where(pseudo, depths, block.z[index])

    def pseudo_label():
        if block.labels is not None:
            return block.labels[chosen].astype(jnp.float32)
        return jax.lax.stop_gradient(draw(teacher_params, z, settings.profile)[0])

    return z, jax.lax.cond(pseudo, pseudo_label, lambda: block.slices[index])


def holdout_loss(
    settings: Settings, deformation: Deformation, params: Params, block: Block, key: jax.Array
) -> jax.Array:
    """Hide one observed slice and judge its interpolation; only `gap_blur` learns from it.

    Args:
      params: the student; all but `gap_blur` is taken as it is.
      block: the observed slices.
      key: PRNG key, consumed.

    Returns:
      f32[], mean squared error of the hidden slice rendered from its neighbours; 0 where no valid
      slice lies between two others.

    Source: ours. The hidden slice lies in a gap twice as wide, which `uncertainty` accounts for.
    """
    inner = has_neighbours(block.valid)
    chance = jnp.where(inner.any(), inner / jnp.maximum(inner.sum(), 1), 1 / inner.shape[0])
    index = jax.random.choice(key, inner.shape[0], p=chance)
    hidden = block._replace(valid=block.valid.at[index].set(False))
    fixed = jax.lax.stop_gradient(params)._replace(gap_blur=params.gap_blur)
    image, _ = render(settings, deformation, fixed, hidden, block.z[index], settings.profile)
    return jnp.where(inner.any(), jnp.mean(jnp.square(image - block.slices[index])), 0.0)


def predict(
    settings: Settings, deformation: Deformation, params: Params, block: Block, z: jax.Array
) -> jax.Array:
    """Render planes at any depth.

    Args:
      z: f32[Q], input-slice units.

    Returns:
      f32[Q, H, W]. Each is one plane, also where slices are averages. NaN where a tile's list
      overflowed, because a plane that lacks Gaussians must not be taken for a whole one.
    """

    def plane(depth):
        image, facts = render(settings, deformation, params, block, depth, THIN)
        return jnp.where(facts["tile_overflow"] > 0, jnp.nan, image)

    return jax.lax.map(plane, z, batch_size=PLANES_AT_ONCE)


def importance(
    settings: Settings, deformation: Deformation, params: Params, block: Block
) -> jax.Array:
    """Measure the most that each Gaussian adds to any pixel of any valid slice.

    Returns:
      f32[N]: the opacity, or the size of the amplitude; 0 outside the field.
    """

    field = jnp.asarray(block.slices.shape[1:])

    def peak(z):
        gaussians, _ = deform(settings, deformation, params, block, z)
        splats = activate(gaussians, min_scale=settings.min_scale, rotated=settings.rotated)
        reach = extents(splats, 3)
        seen = (splats.means > -reach) & (splats.means < field + reach)
        return jnp.where(seen.all(axis=-1), jnp.abs(splats.opacities), 0.0)

    peaks = jax.lax.map(peak, block.z)
    return jnp.max(jnp.where(block.valid[:, None], peaks, 0.0), axis=0)


def maintain(
    settings: Settings,
    deformation: Deformation,
    params: Params,
    teacher_params: Params,
    block: Block,
    key: jax.Array,
    step: jax.Array,
) -> tuple[Params, Params, Params]:
    """Prune and grow, in student and teacher alike, at the steps that are due.

    Returns:
      Student, teacher, and a pytree of bool like them: True where a place was filled anew.

    Raises:
      InputError: gaussian axes that do not fit the deformation's parameters.
    """
    control = settings.control

    def unchanged():
        nowhere = jnp.zeros(params.canonical.alive.shape, bool)
        return params, teacher_params, _fresh_like(params, nowhere, deformation)

    def upkeep():
        plan_key, scatter_key = jax.random.split(key)
        source, fresh, alive = density.plan_copies(
            plan_key,
            importance(settings, deformation, params, block),
            params.canonical.alive,
            control,
        )
        count = density.count_sharers(source, fresh)

        def copy(p: Params) -> Params:
            canonical = density.share(p.canonical, source, count)
            canonical = density.scatter(scatter_key, canonical, fresh, control)
            offsets = density.take(p.deformation, source, deformation.gaussian_axes)
            return p._replace(
                canonical=canonical._replace(alive=alive),
                deformation=deformation.divide(offsets, count),
            )

        return copy(params), copy(teacher_params), _fresh_like(params, fresh, deformation)

    return jax.lax.cond(density.due(control, step), upkeep, unchanged)


def _fresh_like(params: Params, fresh: jax.Array, deformation: Deformation) -> Params:
    """Shape fresh bool[N] like every leaf of params, each with ones but for its Gaussian axis."""
    return Params(
        canonical=density.along(params.canonical, fresh, 0),
        deformation=density.along(params.deformation, fresh, deformation.gaussian_axes),
        background=jnp.bool_(False),
        gap_blur=jnp.bool_(False),
    )


def loss_weights(settings: Settings) -> dict[str, float]:
    """Name the numbers of the loss that fits of one program may differ in."""
    return {
        "ssim_weight": settings.ssim_weight,
        "stages.weight_first": settings.stages.weight_first,
        "stages.weight_last": settings.stages.weight_last,
    }


def build(settings: Settings, deformation: Deformation) -> Method:
    """Bind settings and deformation into the functions of a method."""
    bind = functools.partial
    return Method(
        init=bind(init, settings, deformation),
        loss=bind(loss, settings, deformation),
        predict=bind(predict, settings, deformation),
        maintain=bind(maintain, settings, deformation),
        weights=loss_weights(settings),
        per_block=True,
    )
