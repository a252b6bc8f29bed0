"""PSNR and SSIM of a volume of any size, accumulated in float64 box by box.

Letters: D H W volume, d h w a box of it; planes xy are the hidden ones, of the axial planes xz and
yz the hidden rows count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emgauss_jax.data.tiling import Box, even_boxes
from emgauss_jax.metrics import image

TILE = (64, 64, 64)  # voxels whose SSIM is computed at once: what it needs fits into a cache
STEP = 8  # voxels; sides of tiles are padded to a multiple of it
MARGIN = (image.RADIUS,) * 3  # voxels around a box that SSIM looks at


class Field(NamedTuple):
    """Which voxels count."""

    shape: tuple[int, int, int]  # D, H, W
    hidden: np.ndarray  # bool[D], the planes that were not observed and are scored
    border: tuple[np.ndarray, np.ndarray] | None = None  # bool[H], bool[W]: near a seam


class Sums(NamedTuple):
    """What boxes add up to."""

    z: np.ndarray  # f64[D], squared errors of every plane
    y: np.ndarray  # f64[H], of the hidden rows of every xz plane
    x: np.ndarray  # f64[W], of the hidden rows of every yz plane
    seams: np.ndarray  # f64[2], of the hidden px near a border between blocks, and elsewhere
    ssim: np.ndarray  # f64[3], of xy, xz and yz planes


def nothing(shape: tuple[int, int, int]) -> Sums:
    """Start the sums over a volume."""
    return Sums(*(np.zeros(length) for length in (*shape, 2, 3)))


def accumulate(
    sums: Sums, field: Field, prediction: np.ndarray, reference: np.ndarray, core: Box
) -> Sums:
    """Add a box to the sums.

    Args:
      sums: of the boxes before.
      field: which voxels count.
      prediction: f32[d, h, w] of the box grown by `MARGIN` within the volume, intensity.
      reference: f32[d, h, w], likewise.
      core: the box; all boxes together are the volume.
    """
    near = core.grown(MARGIN, field.shape)
    inner = core.moved([-n for n in near.start]).slices
    squares = np.square(prediction[inner] - reference[inner])
    zs, ys, xs = core.slices
    rows = squares.sum(axis=2, dtype=np.float64)
    hidden = squares[field.hidden[zs]].sum(axis=0, dtype=np.float64)
    z, y, x = sums.z.copy(), sums.y.copy(), sums.x.copy()
    z[zs] += rows.sum(axis=1)
    y[ys] += hidden.sum(axis=1)
    x[xs] += hidden.sum(axis=0)
    seams = sums.seams
    if field.border is not None:
        near_seam = field.border[0][ys, None] | field.border[1][xs]
        seams = seams + np.array([hidden[near_seam].sum(), hidden[~near_seam].sum()])
    return Sums(z, y, x, seams, sums.ssim + _ssim(field, prediction, reference, core))


def _ssim(field: Field, prediction: np.ndarray, reference: np.ndarray, core: Box) -> np.ndarray:
    """Add up SSIM over the voxels of a box that count, f64[3]."""
    near = core.grown(MARGIN, field.shape)
    # Beyond the volume axial planes are mirrored, as by `image.ssim_map`.
    frame = [
        (image.RADIUS - a + b, image.RADIUS + c - d)
        for a, b, c, d in zip(core.start, near.start, core.stop, near.stop, strict=True)
    ]
    pair = [np.pad(each, frame, mode="symmetric") for each in (prediction, reference)]
    counted = [
        _counted(length, part) for length, part in zip(field.shape, core.slices, strict=True)
    ]
    hidden = field.hidden[core.slices[0]].astype(np.float64)
    total = np.zeros(3)
    for tile in even_boxes(core.shape, TILE):
        zs, ys, _ = tile.slices
        if not hidden[zs].any():
            continue
        rows = _rows(*(_framed(each, tile) for each in pair), *_columns(counted[2], tile))
        rows = np.asarray(rows, np.float64)[:, : tile.shape[0], : tile.shape[1]]
        by_plane = np.stack([rows[0] @ counted[1][ys], *rows[1:].sum(axis=2)])
        total += by_plane @ hidden[zs]
    return total


def _counted(length: int, part: slice) -> np.ndarray:
    """Mark where the window of a plane lies inside it: 1.0 or 0.0, f64[part]."""
    places = np.arange(part.start, part.stop)
    inside = (places >= image.RADIUS) & (places < length - image.RADIUS)
    return inside.astype(np.float64)


def _columns(counted: np.ndarray, tile: Box) -> tuple[np.ndarray, np.ndarray]:
    """Weigh the columns of a padded tile: in xy planes, and in axial ones, f32[w] each."""
    weights = np.zeros((2, _padded(tile.shape)[2]), np.float32)
    weights[0, : tile.shape[2]] = counted[tile.slices[2]]
    weights[1, : tile.shape[2]] = 1.0
    return weights[0], weights[1]


def _framed(box: np.ndarray, tile: Box) -> np.ndarray:
    """Cut out a tile and its margin, padded with 0 to one of a few shapes."""
    size = [n + 2 * image.RADIUS for n in tile.shape]
    framed = np.zeros([n + 2 * image.RADIUS for n in _padded(tile.shape)], np.float32)
    framed[: size[0], : size[1], : size[2]] = box[Box(tile.start, tuple(size)).slices]
    return framed


def _padded(shape: Sequence[int]) -> list[int]:
    """Round a shape up, so that boxes which differ by a voxel a side share a program."""
    return [-(-n // STEP) * STEP for n in shape]


@jax.jit
def _rows(a: jax.Array, b: jax.Array, inside: jax.Array, there: jax.Array) -> jax.Array:
    """Add up SSIM along x, f32[3, d, h]: short sums, because they are float32."""
    maps = image.ssim_of_box(a, b)
    weights = (inside, there, there)
    return jnp.stack([jnp.sum(each * w, axis=2) for each, w in zip(maps, weights, strict=True)])


def scores_of(sums: Sums, field: Field) -> dict[str, float]:
    """Turn sums over a whole volume into scores: `psnr`, `psnr_*` and `ssim_*` for xy, xz, yz.

    A PSNR of no error is inf; an SSIM is nan where planes are smaller than its window.
    """
    depth, height, width = field.shape
    count = int(field.hidden.sum())
    pixels = {"xy": height * width, "xz": count * width, "yz": count * height}
    errors = {"xy": sums.z[field.hidden], "xz": sums.y, "yz": sums.x}
    reach = 2 * image.RADIUS
    sizes = {"xy": (height, width), "xz": (depth, width), "yz": (depth, height)}
    found = {"psnr": pooled_psnr(sums, field)}
    counts = (count * (height - reach) * (width - reach), *[count * height * width] * 2)
    for i, (plane, total) in enumerate(errors.items()):
        found[f"psnr_{plane}"] = float(decibel(total / pixels[plane]).mean())
        large = min(sizes[plane]) > reach
        found[f"ssim_{plane}"] = float(sums.ssim[i] / counts[i]) if large else float("nan")
    return found


def decibel(error: np.ndarray | float) -> np.ndarray:
    """Convert mean squared errors into PSNR, dB, for data range 1."""
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(error)


def pooled_psnr(sums: Sums, field: Field) -> float:
    """Tell the PSNR of the voxels of all hidden planes together, dB."""
    _, height, width = field.shape
    return float(decibel(sums.z[field.hidden].sum() / (field.hidden.sum() * height * width)))


def psnr_z(sums: Sums, field: Field) -> np.ndarray:
    """Tell the PSNR of every plane, f64[D], dB."""
    return decibel(sums.z / (field.shape[1] * field.shape[2]))


def seam_psnr(sums: Sums, field: Field) -> dict[str, float]:
    """Tell the PSNR of the hidden px near a border between blocks, and elsewhere, dB."""
    rows, columns = field.border
    inner = int((~rows).sum()) * int((~columns).sum())
    pixels = np.array([rows.size * columns.size - inner, inner]) * int(field.hidden.sum())
    with np.errstate(invalid="ignore"):  # nan where there is no such px
        found = decibel(sums.seams / pixels)
    return dict(zip(("border", "elsewhere"), found.tolist(), strict=True))
