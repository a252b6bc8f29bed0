"""Write OME-Zarr 0.4 (zarr 2) and 0.5 (zarr 3): the arrays of all levels and their metadata.

zarr.py reads these, and other zarr layouts.
"""

from pathlib import Path
from typing import Any

import tensorstore as ts

from emgauss_jax.data.formats.chunked import chunked_writer, writable_array
from emgauss_jax.data.formats.interface import Format, Layout, Level, Writer, write_json
from emgauss_jax.data.formats.zarr import read_zarr2, read_zarr3

# gzip, little endian: the one compressor that every reader of these formats has
_GZIP = {"id": "gzip", "level": 1}
_CODECS = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "gzip", "configuration": {"level": 1}},
]


def _codecs(level: Level) -> list[dict[str, Any]]:
    if level.shard is None:
        return _CODECS
    settings = {"chunk_shape": level.chunk, "codecs": _CODECS}
    return [{"name": "sharding_indexed", "configuration": settings}]


def _entry(level: Level, name: str) -> dict[str, Any]:
    # scale and shift are stored per level, because common viewers ignore those of the group
    transforms = [
        {"type": "scale", "scale": list(level.voxel_nm)},
        {"type": "translation", "translation": list(level.place.centre_nm)},
    ]
    return {"path": name, "coordinateTransformations": transforms}


def _multiscale(layout: Layout) -> dict[str, Any]:
    return {
        "name": layout.name.removesuffix(".zarr").removesuffix(".ome"),
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
        "datasets": [_entry(level, str(i)) for i, level in enumerate(layout.levels)],
    }


def levels_zarr2(path: Path, layout: Layout, create: bool) -> tuple[ts.TensorStore, ...]:
    """Create the arrays of an OME-Zarr 0.4 image, or open them for writing.

    Args:
      path: the container's folder.
      layout: the volume that the arrays hold.
      create: True creates the arrays, False opens existing ones.

    Returns:
      A zyx array for every level.
    """
    common = {
        "dtype": layout.dtype.newbyteorder("<").str,
        "compressor": _GZIP,
        "dimension_separator": "/",
        "fill_value": 0,
    }
    stores = []
    for i, level in enumerate(layout.levels):
        metadata = {"shape": level.shape, "chunks": level.chunk, **common}
        stores.append(writable_array("zarr", path / str(i), create, metadata=metadata))
    return tuple(stores)


def create_zarr2(path: Path, layout: Layout) -> Writer:
    """Create an OME-Zarr 0.4 image: the metadata and arrays of all levels.

    Args:
      path: the container's folder to write.
      layout: the volume to write; the levels are "0", "1", ...

    Returns:
      The writer of the first level.
    """
    write_json(path / ".zgroup", {"zarr_format": 2})
    multiscale = {"version": "0.4", **_multiscale(layout)}
    write_json(path / ".zattrs", {"multiscales": [multiscale]})
    return chunked_writer(levels_zarr2(path, layout, create=True)[0])


def levels_zarr3(path: Path, layout: Layout, create: bool) -> tuple[ts.TensorStore, ...]:
    """Create the arrays of an OME-Zarr 0.5 image, or open them for writing.

    Args:
      path: the container's folder.
      layout: the volume that the arrays hold.
      create: True creates the arrays, False opens existing ones.

    Returns:
      A zyx array for every level.
    """
    common = {"data_type": layout.dtype.name, "dimension_names": ["z", "y", "x"]}
    stores = []
    for i, level in enumerate(layout.levels):
        grid = {"name": "regular", "configuration": {"chunk_shape": level.file}}
        metadata = {"shape": level.shape, "chunk_grid": grid, "codecs": _codecs(level), **common}
        stores.append(writable_array("zarr3", path / str(i), create, metadata=metadata))
    return tuple(stores)


def create_zarr3(path: Path, layout: Layout) -> Writer:
    """Create an OME-Zarr 0.5 image: the metadata and arrays of all levels.

    Args:
      path: the container's folder to write.
      layout: the volume to write; the levels are "0", "1", ...

    Returns:
      The writer of the first level.
    """
    ome = {"version": "0.5", "multiscales": [_multiscale(layout)]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    write_json(path / "zarr.json", group)
    return chunked_writer(levels_zarr3(path, layout, create=True)[0])


ZARR2 = Format(
    name="zarr2",
    suffixes=(".zarr",),
    read=read_zarr2,
    create=create_zarr2,
    output_suffix=".ome.zarr",
    contents=(".zgroup", ".zarray", ".zattrs"),
    levels=levels_zarr2,
)

ZARR3 = Format(
    name="zarr3",
    suffixes=(".zarr",),
    read=read_zarr3,
    create=create_zarr3,
    output_suffix=".ome.zarr",
    contents=("zarr.json",),
    levels=levels_zarr3,
    has_shards=True,
)
