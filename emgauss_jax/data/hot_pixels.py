"""Hot and dead pixels: single voxels far outside the grey levels of the tissue."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

MOST = 2  # pixels of one group: a structure, however bright, has more
REACH = 2  # pixels around one that decide what becomes of it


def without_hot_pixels(
    images: np.ndarray, limits: tuple[float, float], padding: Sequence[float] = ()
) -> np.ndarray:
    """Replace extreme pixels that stand alone, or in pairs, by the median of those around them.

    Args:
      images: [..., H, W], grey levels; NaN and infinite ones are kept.
      limits: the grey levels beyond which a pixel is extreme.
      padding: grey levels that are never extreme.

    Returns:
      The images; the same array, if nothing was replaced.
    """
    if np.issubdtype(images.dtype, np.integer):
        info = np.iinfo(images.dtype)
        if limits[0] <= info.min and info.max <= limits[1]:
            return images
    extreme = (images < limits[0]) | (images > limits[1])
    if not np.issubdtype(images.dtype, np.integer):
        extreme &= np.isfinite(images)  # what is not finite is no grey level
    for level in padding:
        extreme &= images != level
    if not extreme.any():
        return images
    touching = np.zeros((3,) * images.ndim, bool)
    touching[(1,) * (images.ndim - 2)] = True  # within an image, corners too
    groups, _ = ndimage.label(extreme, touching)
    places = np.argwhere(extreme & (np.bincount(groups.ravel()) <= MOST)[groups])
    rows, columns, inside = _around(places, images.shape)
    index = (*(axis[:, None, None] for axis in places[:, :-2].T), rows, columns)
    usable = inside & ~extreme[index]
    around = np.where(usable, images[index], np.nan)
    there = usable.any(axis=(1, 2))  # an image of one pixel has none around it
    cleaned, medians = images.copy(), np.nanmedian(around[there], axis=(1, 2))
    whole = np.issubdtype(images.dtype, np.integer)
    cleaned[tuple(places[there].T)] = np.rint(medians) if whole else medians
    return cleaned


def _around(
    places: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index the 3 x 3 pixels around each of N places: rows, columns and whether they exist."""
    step = np.arange(-1, 2)
    rows = places[:, -2, None, None] + step[:, None]
    columns = places[:, -1, None, None] + step[None, :]
    rows, columns = np.broadcast_arrays(rows, columns)
    inside = (rows >= 0) & (rows < shape[-2]) & (columns >= 0) & (columns < shape[-1])
    return rows.clip(0, shape[-2] - 1), columns.clip(0, shape[-1] - 1), inside
