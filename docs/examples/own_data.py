"""From slices to an isotropic volume, planes at any depth, and a file that keeps the fit.

python docs/examples/own_data.py [KEY=VALUE ...]

The stack is procedural tissue; put your own array in its place. Keys are those of the config, with
two underscores for a dot: train__steps=400 makes a quick and poor fit. All steps take minutes.
"""

import sys

import emgauss_jax as eg
from emgauss_jax.data.phantom import tissue

truth = tissue((49, 64, 64))  # [z, y, x], uint8, 10 nm a voxel
stack = truth[::8]  # what a microscope would give: a slice every 80 nm
settings = dict(argument.split("=") for argument in sys.argv[1:])


def say(progress):
    """Print how far the fit is; returning True would stop it."""
    if progress.done == progress.total:
        print(f"{progress.part}: {progress.total} steps done")


fit = eg.fit(
    stack, voxel_nm=(80, 10, 10), progress=say, **{key: int(n) for key, n in settings.items()}
)
volume, error = fit.volume(), fit.uncertainty()
print(f"volume: {volume.shape} {volume.dtype}, voxel {fit.voxel_nm} nm")
print(f"planes at 1.5 and 2.25: {fit.planes([1.5, 2.25]).shape}")
print(f"expected error: {error.mean():.1f} grey levels")

fit.save("fit.safetensors")
again = eg.load("fit.safetensors").volume()
print(f"read again: {'the same voxels' if (again == volume).all() else 'other voxels'}")

scores = eg.evaluate(volume, truth, observed_every=8)["scores"]
for name in ("linear", "prediction"):
    print(f"PSNR of hidden planes, {name}: {scores[name]['psnr']:.2f} dB")
