"""Everything that is timed must draw the same picture. Letters: N splats, H W size in px."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.render.gaussians import Splats
from emgauss_jax.render.reference import reference
from tests.benchmarks import backends, peers, scenes

SIZE, COUNT = 48, 300  # H = W, N
CUTOFF = 5.0  # sigma, where what is left out no longer shows
TOLERANCE = 1e-3
LOOSE = 0.1  # gsplat leaves out alpha below 1/255, much of what a faint splat draws
FIELDS = ("means", "scales", "opacities", "intensities")


def check(
    barred: Mapping[str, str], ours: Mapping[str, backends.Settings] = backends.BACKENDS
) -> tuple[dict[str, float], dict[str, str]]:
    """Compare backends and peers with the dense definition, in value and gradient.

    Args:
      barred: peers that cannot be used, and the word that says why.
      ours: backends by name, all that are timed.

    Returns:
      The relative difference of everything compared, and `barred` with what turned out absent or
      failed.

    Raises:
      ValueError: one of ours or PyTorch's differs by more than 1e-3.
    """
    splats, shape = scenes.uniform(COUNT, SIZE, seed=1), (SIZE, SIZE)
    splats = splats._replace(opacities=1.15 * splats.opacities)  # some are clamped in alpha
    differences = {}
    for name, settings in ours.items():
        wide = dataclasses.replace(settings, cutoff=CUTOFF)
        differences[name] = _difference(_ours(wide, splats, shape), splats, shape, settings.blend)
    found = peers.build(splats, shape, barred)
    for name, peer in found.items():
        if isinstance(peer, peers.Peer):
            differences[name] = _difference(_theirs(peer), splats, shape, peers.BLENDS[name])
    barred = {name: word for name, word in found.items() if isinstance(word, str)}
    for name, value in differences.items():
        if name == "gsplat" and not value <= LOOSE:
            print(f"gsplat: failed: got a relative difference of {value:.2g}, wanted {LOOSE}")
            barred[name] = "failed"
        elif name != "gsplat" and not value <= TOLERANCE:
            raise ValueError(
                f"{name}: got a relative difference of {value:.2g}, wanted {TOLERANCE}"
            )
    print("\nchecked:", ", ".join(f"{name} {value:.1e}" for name, value in differences.items()))
    return differences, barred


def _ours(settings: Any, splats: Splats, shape: tuple[int, int]) -> tuple:
    """Draw and differentiate with a backend: the image and the gradients of FIELDS."""
    ours = backends.ours(settings, shape)
    grads = ours.both(splats)
    return ours.forward(splats), *(getattr(grads, field) for field in FIELDS)


def _theirs(peer: peers.Peer) -> list[np.ndarray]:
    """Draw and differentiate with a peer: the image and the gradients of FIELDS."""
    results = (peer.forward(), *peer.as_ours(*peer.both()))
    return [result.detach().cpu().numpy() for result in results]


def _definition(splats: Splats, shape: tuple[int, int], blend: str) -> tuple:
    """Draw and differentiate by the dense reference: the image and the gradients of FIELDS."""
    draw = jax.jit(functools.partial(reference, shape=shape, blend=blend))
    wanted = jnp.asarray(scenes.target(shape))
    grads = jax.jit(jax.grad(lambda s: 0.5 * jnp.sum(jnp.square(draw(s) - wanted))))(splats)
    return draw(splats), *(getattr(grads, field) for field in FIELDS)


def _difference(got: Any, splats: Splats, shape: tuple[int, int], blend: str) -> float:
    """Find the largest |got - wanted| / |wanted| of image and gradients, by their 2-norms."""
    pairs = zip(got, _definition(splats, shape, blend), strict=True)
    norm = np.linalg.norm
    return max(float(norm(np.asarray(g) - np.asarray(w)) / norm(w)) for g, w in pairs)
