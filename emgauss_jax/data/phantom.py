"""Procedural electron-microscopy tissue: isotropic test volumes without a download.

Letters: D H W volume, N neurites, M points along one neurite's centre line, P points kept.
Neurites are winding tubes in random directions that fill space: a voxel belongs to the centre line
of least power distance (squared distance minus squared radius). Everything is drawn in warped
tissue coordinates, so no axis is special except for the lateral drift from slice to slice.
Lengths are in nm; `voxel_nm` turns them into voxels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

VOXEL_NM = 10.0  # default edge of a voxel
STEP = 30.0  # nm between the points of a centre line
RADII = (70.0, 240.0)  # nm, thin axons to thick trunks
MEMBRANE_SIGMA = 10.0  # nm, softness of a membrane
MITO_SHARE = 0.6  # fraction of the thicker neurites with a mitochondrion
CRISTA_PERIOD = 65.0  # nm
VESICLE_RADIUS = 20.0  # nm
CLUSTER_VOLUME = 4.5e7  # nm^3 of tissue per cluster of vesicles
MEMBRANE_GREY, MATRIX_GREY, CYTOPLASM_GREY = 78.0, 100.0, 158.0
NOISE_GREY = 5.0  # grey levels, readout


class Lines(NamedTuple):
    """Points along the neurites' centre lines."""

    points: np.ndarray  # f64[P, 3], voxels
    owner: np.ndarray  # i64[P], the neurite of each point
    radius: np.ndarray  # f64[N], voxels


def tissue(shape: Sequence[int], seed: int = 0, voxel_nm: float = VOXEL_NM) -> np.ndarray:
    """Generate a volume of tissue as an isotropic microscope would image it.

    Args:
      shape: D, H, W, voxels.
      seed: the same seed gives the same volume.
      voxel_nm: edge of a voxel, nm; neurites are about 0.1 to 0.5 micrometres thick.

    Returns:
      uint8[D, H, W]: light cytoplasm, dark membranes, mitochondria, vesicles, noise.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in shape)
    coords = _tissue_coordinates(rng, shape, voxel_nm)
    lines = _grow_lines(rng, shape, voxel_nm)
    label = _nearest_neurite(lines, coords).reshape(shape)
    membrane = _membranes(label, voxel_nm)
    base = rng.normal(CYTOPLASM_GREY, 12.0, lines.radius.size)
    grey = base[label] + 5.0 * _field(rng, shape, 80.0 / voxel_nm)
    _draw_mitochondria(rng, grey, label, lines, coords, voxel_nm)
    _draw_vesicles(rng, grey, label, membrane, voxel_nm)
    grey += membrane * (MEMBRANE_GREY - grey) + 6.0 * _field(rng, shape, 13.0 / voxel_nm)
    image = gaussian_filter(grey, 5.0 / voxel_nm) + rng.normal(0.0, NOISE_GREY, shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _field(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Draw smooth noise of unit variance, f64[D, H, W]; sigma in voxels."""
    field = gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return field / max(field.std(), 1e-12)


def _tissue_coordinates(
    rng: np.random.Generator, shape: tuple[int, ...], voxel_nm: float
) -> np.ndarray:
    """Map each voxel to its place in the tissue, f64[D H W, 3]: a smooth warp, drift along z."""
    coords = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype(float)
    for axis in range(3):
        coords[..., axis] += 30.0 / voxel_nm * _field(rng, shape, 110.0 / voxel_nm)
    velocity = np.zeros((shape[0], 2))
    for z in range(1, shape[0]):  # px per slice, a slow random walk
        velocity[z] = 0.9 * velocity[z - 1] + rng.normal(0.0, 0.1, 2)
    coords[..., 1:] += np.clip(velocity, -0.6, 0.6).cumsum(axis=0)[:, None, None]
    return coords.reshape(-1, 3)


def _grow_lines(rng: np.random.Generator, shape: tuple[int, ...], voxel_nm: float) -> Lines:
    """Grow winding centre lines through a padded volume, enough to fill it."""
    low, high = (r / voxel_nm for r in RADII)
    pad = high
    size = np.array(shape) + 2 * pad
    length = 1.3 * size.max()
    span = high - low  # radii low + span u^2.5, many thin and few thick: the mean square is exact
    area = np.pi * (low**2 + 2 * low * span / 3.5 + span**2 / 6)
    count = max(4, int(1.6 * size.prod() / (area * length)))  # 1.6: part of each line is outside
    radius = low + span * rng.random(count) ** 2.5
    step = STEP / voxel_nm
    heading = rng.normal(size=(len(radius), 3))
    turns = rng.normal(0.0, 0.16, (int(length / step), len(radius), 3))
    position = rng.random((len(radius), 3)) * size - pad
    position -= heading / np.linalg.norm(heading, axis=1, keepdims=True) * length / 3
    track = []
    for turn in turns:
        heading = heading / np.linalg.norm(heading, axis=1, keepdims=True) + turn
        position = position + step * heading / np.linalg.norm(heading, axis=1, keepdims=True)
        track.append(position)
    points = np.stack(track, axis=1)
    near = ((points > -pad) & (points < np.array(shape) + pad)).all(axis=-1)
    return Lines(points[near], np.nonzero(near)[0], radius)


def _nearest_neurite(lines: Lines, coords: np.ndarray) -> np.ndarray:
    """Assign every voxel to a neurite, i64[D H W]."""
    # A fourth coordinate sqrt(R^2 - r^2), 0 for voxels, turns the power distance into a distance.
    lift = np.sqrt(lines.radius.max() ** 2 - lines.radius[lines.owner] ** 2)
    tree = cKDTree(np.column_stack([lines.points, lift]))
    query = np.column_stack([coords, np.zeros(len(coords))])
    return lines.owner[tree.query(query, workers=-1)[1]]


def _membranes(label: np.ndarray, voxel_nm: float) -> np.ndarray:
    """Draw the membranes, both sides of every border between neurites, f64[D, H, W] in [0, 1]."""
    border = np.zeros(label.shape)
    for axis in range(3):
        differs = np.diff(label, axis=axis) != 0
        before = [slice(None)] * 3
        after = [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        border[tuple(before)][differs] = 1.0
        border[tuple(after)][differs] = 1.0
    soft = gaussian_filter(border, MEMBRANE_SIGMA / voxel_nm)
    return np.clip(1.3 * soft, 0.0, 1.0)


def _draw_mitochondria(
    rng: np.random.Generator,
    grey: np.ndarray,
    label: np.ndarray,
    lines: Lines,
    coords: np.ndarray,
    voxel_nm: float,
) -> None:
    """Darken stretches of thick neurites: outer membrane, matrix, cristae. Changes `grey`."""
    flat, owner = grey.reshape(-1), label.reshape(-1)
    for neurite in np.flatnonzero(lines.radius > np.mean(RADII) * 0.55 / voxel_nm):
        axis = rng.normal(size=3)
        start, steps, phase, share = rng.random(4)
        line = lines.points[lines.owner == neurite]
        if rng.random() > MITO_SHARE or len(line) < 4:
            continue
        first = int(start * len(line) * 0.7)
        stretch = line[first : first + 6 + int(10 * steps)]
        inside = np.flatnonzero(owner == neurite)
        radius = (0.45 + 0.2 * share) * lines.radius[neurite]
        distance = cKDTree(stretch).query(coords[inside], distance_upper_bound=radius + 2)[0]
        depth = radius - distance  # voxels under the outer membrane
        voxels, depth = inside[depth > -1], depth[depth > -1]
        along = coords[voxels] @ (axis / np.linalg.norm(axis)) * voxel_nm / CRISTA_PERIOD
        cristae = 16.0 * np.sin(2 * np.pi * (along + phase)) * (depth > 1)
        rim = (MATRIX_GREY - MEMBRANE_GREY) * np.exp(-(depth**2))
        flat[voxels] = MATRIX_GREY + cristae - rim


def _draw_vesicles(
    rng: np.random.Generator,
    grey: np.ndarray,
    label: np.ndarray,
    membrane: np.ndarray,
    voxel_nm: float,
) -> None:
    """Scatter clusters of small dark rings inside neurites. Changes `grey`."""
    shape = np.array(grey.shape)
    radius = VESICLE_RADIUS / voxel_nm
    reach = int(np.ceil(radius + 2))
    for _ in range(int(np.ceil(grey.size * voxel_nm**3 / CLUSTER_VOLUME))):
        centre = (rng.random(3) * shape).astype(int)
        places = centre + rng.normal(0.0, 55.0 / voxel_nm, (24, 3))
        for place in places:
            voxel = np.rint(place).astype(int)
            if (voxel < 0).any() or (voxel >= shape).any():
                continue
            same = label[tuple(voxel)] == label[tuple(centre)]
            if not same or membrane[tuple(voxel)] > 0.1:
                continue
            low, high = np.maximum(voxel - reach, 0), np.minimum(voxel + reach + 1, shape)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            grid = np.meshgrid(*map(np.arange, low, high), indexing="ij", sparse=True)
            r = np.sqrt(sum((g - p) ** 2 for g, p in zip(grid, place, strict=True)))
            ring = 0.7 * np.exp(-(((r - radius) / (0.4 * radius)) ** 2))
            grey[box] += ring * (MEMBRANE_GREY - grey[box])
