"""neuroglancer precomputed: axes xyz and channel, resolution in nm."""

from pathlib import Path

import tensorstore as ts

from emgauss_jax.data.formats.chunked import (
    chunked_reader,
    chunked_writer,
    open_array,
    writable_array,
)
from emgauss_jax.data.formats.interface import (
    DTYPES,
    Format,
    Layout,
    Reader,
    VolumeError,
    Writer,
    read_json,
)

_DRIVER = "neuroglancer_precomputed"


def read(path: Path, dataset: str) -> Reader:
    """Open one scale of a precomputed volume.

    Args:
      path: the folder that holds `info`.
      dataset: the key of a scale; "" is the first one.

    Returns:
      The volume; its first voxel is at 0, whatever `voxel_offset` is.
    """
    scales = {scale["key"]: scale for scale in read_json(path / "info").get("scales", ())}
    key = dataset or next(iter(scales), "")
    if key not in scales:
        raise VolumeError(f"dataset: got {dataset!r}, wanted a scale of `info`: {list(scales)}")
    store = open_array(_DRIVER, path, scale_metadata={"key": key})
    store = store.translate_to[(0,) * store.rank].T
    voxel_nm = tuple(scales[key]["resolution"][::-1])
    return chunked_reader(store, ["channel", "z", "y", "x"], lambda axes: voxel_nm)


def levels(path: Path, layout: Layout, create: bool) -> tuple[ts.TensorStore, ...]:
    """Create the scales of a precomputed volume, or open them for writing.

    Args:
      path: the volume's folder.
      layout: the volume that the arrays hold.
      create: True creates the arrays, False opens existing ones.

    Returns:
      A zyx array for every level.
    """
    image = {"type": "image", "data_type": layout.dtype.name, "num_channels": 1}
    stores = []
    for level in layout.levels:
        resolution = level.voxel_nm[::-1]
        scale = {
            "key": "_".join(f"{size:g}" for size in resolution),
            "size": level.shape[::-1],
            "resolution": resolution,
            "voxel_offset": [0, 0, 0],  # of the volume's corner, which all levels share
            "chunk_size": level.chunk[::-1],
            "encoding": "raw",
        }
        members = {"multiscale_metadata": image, "scale_metadata": scale}
        stores.append(writable_array(_DRIVER, path, create, **members)[..., 0].T)
    return tuple(stores)


def create(path: Path, layout: Layout) -> Writer:
    """Create a precomputed volume, raw and unsharded, with one scale per level.

    Args:
      path: the folder to write.
      layout: the volume to write; the key of a scale is its resolution.

    Returns:
      The writer of the first level.
    """
    return chunked_writer(levels(path, layout, create=True)[0])


FORMAT = Format(
    name="precomputed",
    suffixes=(".precomputed",),
    read=read,
    create=create,
    output_suffix=".precomputed",
    contents=("info",),
    dtypes=tuple(name for name in DTYPES if name not in ("float16", "float64")),
    levels=levels,
)
