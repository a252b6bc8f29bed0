"""neuroglancer precomputed: axes xyz and channel, resolution in nm."""

from pathlib import Path

from emgauss_jax.data.backend import Layout, Sink, Source, VolumeError, read_json
from emgauss_jax.data.chunked import chunked_sink, chunked_source, create_array, open_array

_DRIVER = "neuroglancer_precomputed"


def read(path: Path, dataset: str) -> Source:
    """Open one scale of a precomputed volume.

    Args:
      path: the folder that holds `info`.
      dataset: the key of a scale; "" is the first one.

    Returns:
      The volume, its first voxel at 0 whatever its `voxel_offset`.
    """
    scales = {scale["key"]: scale for scale in read_json(path / "info").get("scales", ())}
    key = dataset or next(iter(scales), "")
    if key not in scales:
        raise VolumeError(f"dataset: got {dataset!r}, wanted a scale of `info`: {list(scales)}")
    store = open_array(_DRIVER, path, scale_metadata={"key": key})
    store = store.translate_to[(0,) * store.rank].T
    voxel_nm = tuple(scales[key]["resolution"][::-1])
    return chunked_source(store, "precomputed", ["channel", "z", "y", "x"], lambda axes: voxel_nm)


def create(path: Path, layout: Layout) -> Sink:
    """Create a precomputed volume of one scale, raw and unsharded.

    Args:
      path: the folder to write.
      layout: what to write; a dataset names the scale's key.

    Returns:
      The sink.
    """
    scale = {
        "size": layout.shape[::-1],
        "resolution": layout.voxel_nm[::-1],
        "voxel_offset": [0, 0, 0],
        "chunk_size": layout.chunk[::-1],
        "encoding": "raw",
    }
    if layout.dataset:
        scale["key"] = layout.dataset
    image = {"type": "image", "data_type": layout.dtype.name, "num_channels": 1}
    store = create_array(_DRIVER, path, multiscale_metadata=image, scale_metadata=scale)
    return chunked_sink(store[..., 0].T)
