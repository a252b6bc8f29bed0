"""Rivals on the same splats: the textbook in PyTorch, and gsplat's CUDA kernels.

Letters: N splats, H W image size in px.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from emgauss_jax.render.gaussians import Splats
from emgauss_jax.render.reference import MAX_ALPHA
from tests.benchmarks.scenes import target

FAR = 1e10  # of gsplat's far plane: nothing is clipped in depth
DENSE_FLOATS = 2**27  # N H W of the largest dense picture: a dozen such arrays are held at once
BLENDS = {"torch sum": "sum", "torch alpha": "alpha", "gsplat": "alpha"}  # all peers by name


class Peer(NamedTuple):
    """A rasterizer of other people; both callables return when their work is done."""

    forward: Callable[[], Any]  # the image, f32[H, W]
    both: Callable[[], Any]  # the gradients of means, scales, opacities, intensities
    as_ours: Callable[..., tuple]  # gradients -> [N, 2] (y, x), [N, 2] (y, x), [N], [N]


def find(name: str) -> Any:
    """Import a package, or return None where it is absent or cannot be loaded."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        return None


def device(torch: Any) -> str:
    """Choose the device of PyTorch that JAX runs on."""
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return "cuda" if on_gpu else "cpu"


def dense_torch(splats: Splats, shape: tuple[int, int], blend: str) -> Peer | None:
    """Draw every Gaussian at every pixel, by PyTorch's own operators and autograd.

    Args:
      splats: N axis-aligned splats.
      shape: (H, W), px.
      blend: "alpha" or "sum", as `render.reference` defines them.

    Returns:
      None where PyTorch is absent.
    """
    torch = find("torch")
    if torch is None:
        return None
    fields = (splats.means, splats.scales, splats.opacities, splats.intensities)
    leaves = [torch.tensor(np.asarray(field), device=device(torch)) for field in fields]
    y, x = (torch.arange(n, device=device(torch), dtype=torch.float32) for n in shape)

    def draw(means, scales, opacities, intensities):
        dy = (y - means[:, 0, None]) / scales[:, 0, None]
        dx = (x - means[:, 1, None]) / scales[:, 1, None]
        power = dy[:, :, None] ** 2 + dx[:, None, :] ** 2
        alpha = opacities[:, None, None] * torch.exp(-0.5 * power)
        colour = intensities[:, None, None]
        if blend == "sum":
            return (colour * alpha).sum(0)
        alpha = alpha.clamp(max=MAX_ALPHA)
        through = torch.cumprod(1 - alpha, 0)
        before = torch.cat([torch.ones_like(through[:1]), through[:-1]])
        return (colour * alpha * before).sum(0)

    return Peer(*_timed(torch, draw, leaves, shape), lambda *grads: grads)


def _timed(torch: Any, draw: Callable, leaves: list, shape: tuple[int, int]) -> tuple:
    """Wrap draw(*leaves) -> f32[H, W] into forward, and forward and backward."""
    wanted = torch.tensor(target(shape), device=leaves[0].device)
    for leaf in leaves:
        leaf.requires_grad_(True)

    def wait(result):
        if wanted.is_cuda:
            torch.cuda.synchronize()
        return result

    def forward():
        with torch.no_grad():
            return wait(draw(*leaves))

    def both():
        loss = 0.5 * torch.sum((draw(*leaves) - wanted) ** 2)
        return wait(torch.autograd.grad(loss, leaves))

    return forward, both


def gsplat_cuda(splats: Splats, shape: tuple[int, int]) -> Peer | None:
    """Draw with gsplat, alpha blending, on a CUDA card.

    An orthographic camera of focal length 1 px at the origin makes world units pixels; depths rise
    with the index, so that the list's order is gsplat's. gsplat leaves out what adds less than
    1/255 to a pixel.

    Args:
      splats: N axis-aligned splats.
      shape: (H, W), px.

    Returns:
      None, with a printed word, where PyTorch has no card or gsplat is absent.
    """
    torch = find("torch")
    gsplat = find("gsplat") if torch is not None and device(torch) == "cuda" else None
    if gsplat is None:
        print("gsplat: absent")
        return None
    leaves = _gsplat_leaves(torch, splats)
    count = len(leaves[0])
    camera = {"viewmats": torch.eye(4).cuda()[None], "Ks": torch.eye(3).cuda()[None]}
    turn = torch.tensor([1.0, 0.0, 0.0, 0.0]).cuda().expand(count, 4).contiguous()

    def draw(means, scales, opacities, colours):
        image, _, _ = gsplat.rasterization(
            means=means,
            quats=turn,
            scales=scales,
            opacities=opacities,
            colors=colours,
            **camera,
            width=shape[1],
            height=shape[0],
            near_plane=0.0,
            far_plane=FAR,
            eps2d=0.0,  # the default widens every footprint by 0.3 px^2, ours do not
            packed=False,
            camera_model="ortho",
        )
        return image[0, :, :, 0]

    return Peer(*_timed(torch, draw, leaves, shape), _as_ours)


def _gsplat_leaves(torch: Any, splats: Splats) -> list:
    """Lay out splats as gsplat wants them: x before y, a third axis, pixel centres at 0.5."""
    means, scales = np.asarray(splats.means), np.asarray(splats.scales)
    depth = 1.0 + np.arange(len(means), dtype=np.float32)
    arrays = (
        np.stack([means[:, 1] + 0.5, means[:, 0] + 0.5, depth], axis=1),
        np.stack([scales[:, 1], scales[:, 0], np.ones_like(depth)], axis=1),
        np.asarray(splats.opacities),
        np.asarray(splats.intensities)[:, None],
    )
    return [torch.tensor(array, dtype=torch.float32).cuda() for array in arrays]


def _as_ours(means, scales, opacities, colours) -> tuple:
    """Bring gsplat's gradients into our layout."""
    return means[:, [1, 0]], scales[:, [1, 0]], opacities, colours[:, 0]


def build(splats: Splats, shape: tuple[int, int], barred: Mapping[str, str]) -> dict[str, Any]:
    """Build all peers of a scene.

    Args:
      splats: N axis-aligned splats.
      shape: (H, W), px.
      barred: peers that cannot be used, and the word that says why.

    Returns:
      Of each name in BLENDS a `Peer`, or the word why not, or None: too large to be measured.
    """
    fits = len(splats.means) * shape[0] * shape[1] <= DENSE_FLOATS
    found: dict[str, Any] = {}
    for name, blend in BLENDS.items():
        if name in barred:
            found[name] = barred[name]
        elif name == "gsplat":
            found[name] = _attempt(splats, shape)
        else:
            found[name] = (dense_torch(splats, shape, blend) or "absent") if fits else None
    return found


def _attempt(splats: Splats, shape: tuple[int, int]) -> Peer | str:
    """Build gsplat's peer and run it once; a failure is printed and ends nothing."""
    try:
        peer = gsplat_cuda(splats, shape)
        if peer is not None:
            peer.forward()
            peer.both()
    except Exception as error:  # whatever a missing compiler or another version raises
        print(f"gsplat: failed: {' '.join(str(error).split())}")
        return "failed"
    return peer or "absent"
