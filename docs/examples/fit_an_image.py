"""Fit Gaussians to one image with the building blocks of the renderer and an optimizer of optax.

python docs/examples/fit_an_image.py [IMAGE.tif]

Without an image it takes a section of procedural tissue. Every amplitude begins at 0, so the first
PSNR is that of a uniform grey. A gradient of 0 leaves angles and `alive` as they are.
"""

import sys

import jax
import jax.numpy as jnp
import optax
import tifffile

import emgauss_jax as eg
from emgauss_jax.data.phantom import tissue

grey = jnp.float32(tifffile.imread(sys.argv[1]) if sys.argv[1:] else tissue((1, 96, 96))[0])
image = (grey - grey.min()) / (grey.max() - grey.min())
count = image.size // 4
means, zeros = eg.jittered_grid(jax.random.key(0), count, image.shape), jnp.zeros(count)
start = eg.Gaussians(means, jnp.zeros((count, 2)), zeros, amplitudes=zeros, alive=jnp.ones(count))
adam = optax.adam(0.02)


def draw(gaussians):
    return eg.rasterize(eg.activate(gaussians), image.shape, background=image.mean())[0]


def step(carry, _):
    gaussians, state = carry
    grads = jax.grad(lambda g: jnp.mean(jnp.square(draw(g) - image)))(gaussians)
    updates, state = adam.update(grads, state)
    return (optax.apply_updates(gaussians, updates), state), None


(fitted, _), _ = jax.lax.scan(step, (start, adam.init(start)), length=200)
print(f"PSNR at the start: {eg.psnr(draw(start), image):.2f} dB")
print(f"PSNR at the end: {eg.psnr(draw(fitted), image):.2f} dB, {count} Gaussians")
