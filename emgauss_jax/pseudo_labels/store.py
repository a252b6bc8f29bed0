"""The files of a region's pseudo-labels, of their standard errors and of the sources' weights.

Letters: P planes, H W field in px, k planes for every valid slice.
"""

import os
import pathlib
import shutil
from typing import BinaryIO, NamedTuple

import numpy as np

from emgauss_jax.data.atomic import whole
from emgauss_jax.data.errors import InputError
from emgauss_jax.pseudo_labels.weights import SourceWeights
from emgauss_jax.storage.files import read_record, write_json

FOLDER = "prior"
FITS = "fits"  # of the sources, inside FOLDER
PLANES, SPREAD = "labels.npy", "spread.npy"
WEIGHTS = "weights.json"  # written last


class Labels(NamedTuple):
    """Pseudo-labels of a whole field, k planes for every valid slice."""

    planes: np.ndarray  # f16[P, H, W], intensity
    spread: np.ndarray  # f16[P, H, W], intensity, standard error: the spread among the sources'
    # planes and views, scaled to the error on held-out slices
    z: np.ndarray  # f32[P], input-slice units
    per_slice: int  # k
    judged: SourceWeights

    def forgotten(self) -> "Labels":
        """Leave out the planes, which nothing needs once the blocks are fitted."""
        return self._replace(planes=np.broadcast_to(np.float16(0), self.spread.shape))


def half(values: np.ndarray) -> np.ndarray:
    """Round to half precision, as labels are kept."""
    return values.astype(np.float16)


def write_labels(workdir: pathlib.Path, labels: Labels) -> None:
    """Write the labels, their spread and, last, the weights."""
    folder = workdir / FOLDER
    for name, array in ((PLANES, labels.planes), (SPREAD, labels.spread)):
        with whole(folder / name) as partial, partial.open("wb") as file:
            _save(file, np.ascontiguousarray(array))
    write_json(folder / WEIGHTS, labels.judged._asdict())


def _save(file: BinaryIO, array: np.ndarray) -> None:
    """Write a NPY file. `np.save` does not say why a disk has not taken all of it."""
    form = np.lib.format
    form.write_array_header_1_0(file, form.header_data_from_array_1_0(array))
    file.write(array.data)


def read_labels(workdir: pathlib.Path, z: np.ndarray, per_slice: int) -> Labels | None:
    """Read labels; their planes are 0 after `forget`. None if no labels were written.

    Args:
      workdir: folder of the region.
      z: f32[P], depths of the labels, input-slice units.
      per_slice: k.

    Raises:
      InputError: a file is damaged.
    """
    folder, judged = workdir / FOLDER, read_weights(workdir)
    if judged is None:
        return None
    spread, planes = _read_planes(folder / SPREAD), folder / PLANES
    labels = Labels(spread, spread, z, per_slice, judged)
    return labels._replace(planes=_read_planes(planes)) if planes.exists() else labels.forgotten()


def read_weights(workdir: pathlib.Path) -> SourceWeights | None:
    """Read the weights of the sources; None if there are no labels."""
    path = workdir / FOLDER / WEIGHTS
    if not path.exists():
        return None
    each = dict[str, float]
    numbers = {"weights": each, "scale": float, "wide_weights": each, "wide_scale": float}
    return SourceWeights(**read_record(path, {**numbers, "decibel": each}))


def check_kept(workdir: pathlib.Path) -> None:
    """Raise InputError if a fitted region has pseudo-labels without the weights of the sources."""
    folder = workdir / FOLDER
    if os.path.lexists(folder) and not (folder / WEIGHTS).exists():  # or a broken link
        raise InputError(
            f"{workdir}: got a fit without its {FOLDER}/{WEIGHTS}, wanted both: it is of an older "
            "version, or damaged; fit again in a new workdir"
        )


def _read_planes(path: pathlib.Path) -> np.ndarray:
    try:
        return _half_planes(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # NumPy parses a header as Python does
        raise InputError(
            f"{path}: got a file that cannot be read ({type(error).__name__}), wanted an array "
            "written by train; delete the region's folder to fit it again"
        ) from error


def _half_planes(planes: np.ndarray) -> np.ndarray:
    if not isinstance(planes, np.ndarray):  # an archive of arrays
        raise ValueError(type(planes).__name__)
    if planes.dtype != np.float16 or planes.ndim != 3:
        raise ValueError(f"{planes.dtype} of shape {planes.shape}")
    return planes


def forget(workdir: pathlib.Path) -> None:
    """Delete labels and fits, unneeded after the blocks are fitted; keep spread and weights."""
    folder = workdir / FOLDER
    (folder / PLANES).unlink(missing_ok=True)
    shutil.rmtree(folder / FITS, ignore_errors=True)
