"""Add a deformation: every Gaussian mixes a few courses along depth that all of them share.

python docs/examples/new_deformation.py [STEPS]

In a fork the function goes into methods/emgauss/deformation.py, and the settings into a config.
"""

import sys

import jax
import jax.numpy as jnp

import emgauss_jax as eg
from emgauss_jax.data.phantom import tissue

RANK = 8


def low_rank():
    """Offsets of means and amplitudes, of RANK courses: the identity at the start."""

    def init(key, count, knots):
        courses = jax.random.normal(key, (RANK, knots, 3)) / RANK**0.5
        return {"mixture": jnp.zeros((count, RANK)), "courses": courses}

    def apply(params, means, shape, depth):
        del means, shape
        here = jnp.einsum("rkc,k->rc", params["courses"], depth.hat)
        moved = params["mixture"] @ here  # f32[N, 3]
        return {"means": moved[:, :2], "amplitudes": moved[:, 2]}

    return eg.Deformation(init, apply, gaussian_axes={"mixture": 0, "courses": None})


eg.DEFORMATIONS["low_rank"] = low_rank
config = eg.load_config("emgauss")
config.unlock()
config.emgauss.deformation = "low_rank"
config.optimizer.rates.deformation = dict(mixture=(0.02, 0.05), courses=(5e-3, 0.05))
config.prior.steps = 0  # no network fills in planes: a quick look
config.train.steps = int(sys.argv[1]) if sys.argv[1:] else 600

truth = tissue((33, 48, 48))
fit = eg.fit(truth[::8], voxel_nm=(80, 10, 10), config=config)
for name, leaf in fit.params().deformation.items():
    print(f"{name}: {leaf.shape}, up to {abs(leaf).max():.3f}")
scores = eg.evaluate(fit.volume(), truth, observed_every=8)["scores"]
print(f"PSNR: nearest {scores['nearest']['psnr']:.2f}, ours {scores['prediction']['psnr']:.2f} dB")
