"""Fit one small stack with several learning rates at once; a slice that no fit sees chooses one.

python docs/examples/vmapped_sweep.py [STEPS]

A method is pure functions of arrays, so `jax.vmap` over the rate makes one program of all fits.
A rate of 0 leaves the Gaussians as they begin, at the mean slice. `launch/sweep.py` sweeps over the
settings of whole runs.
"""

import sys

import jax
import jax.numpy as jnp
import optax

import emgauss_jax as eg
from emgauss_jax.data.phantom import tissue

HIDDEN = 4  # the slice that no fit sees
RATES = jnp.array([0.0, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1])
steps = int(sys.argv[1]) if sys.argv[1:] else 150

slices, depths = jnp.float32(tissue((17, 32, 32))[::2]) / 255, jnp.arange(9.0)
block = eg.Block(slices, depths, valid=depths != HIDDEN)
emgauss = eg.build_emgauss(eg.Settings(eg.Stages(use_teacher=False), holdout_every=0), eg.spline())


def fit(rate):
    """Fit with one learning rate, and draw the hidden slice."""
    key, adam = jax.random.key(0), optax.adam(rate)

    def step(carry, number):
        params, state = carry
        given = (params, block, jax.random.fold_in(key, number), number, emgauss.weights)
        grads, _ = jax.grad(emgauss.loss, has_aux=True)(params, *given)
        updates, state = adam.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

    params = emgauss.init(key, block)
    (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), jnp.arange(steps))
    return emgauss.predict(params, block, depths[HIDDEN, None])[0]


scores = [float(eg.psnr(plane, slices[HIDDEN])) for plane in jax.jit(jax.vmap(fit))(RATES)]
print("learning rate  PSNR of the hidden slice, dB")
for rate, score in zip(RATES, scores, strict=True):
    print(f"{rate:13g}  {score:.2f}{'  best' if score == max(scores) else ''}")
