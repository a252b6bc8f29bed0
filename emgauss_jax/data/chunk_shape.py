"""The shape of the chunks and shards that a volume is asked to be stored in."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from emgauss_jax.data.formats.interface import CHUNK, Format, VolumeError

Shape = tuple[int, int, int]


def _edges(name: str, values: Any, least: int) -> Shape:
    whole = [value for value in values if isinstance(value, Integral) and value >= least]
    if len(whole) != 3 or len(values) != 3:
        wanted = "three positive whole numbers" if least else "three whole numbers, or 0,0,0"
        raise VolumeError(f"{name}: got {tuple(values)}, wanted {wanted} (z, y, x)")
    return tuple(int(value) for value in whole)


def unused_chunks(form: Format, chunk: Sequence[int], shard: Sequence[int]) -> list[str]:
    """Say which of chunk and shard are asked for and not used, because a format has none of it.

    Args:
      form: what the volume is written as.
      chunk: edge lengths, (z, y, x), voxels.
      shard: those of a file of several chunks; (0, 0, 0): none.
    """
    unused = []
    if not form.has_chunks and tuple(chunk) != (CHUNK,) * 3:
        unused.append(f"output.chunk: {form.name} has no chunks: not used")
    if not form.has_shards and any(shard):
        unused.append("output.shard is for zarr 3 alone: not used")
    return unused


def checked_chunks(
    form: Format, chunk: Sequence[int], shard: Sequence[int]
) -> tuple[Shape, Shape | None]:
    """Check the chunks and shards that are asked for.

    Args:
      form: what the volume is written as.
      chunk: edge lengths, (z, y, x), voxels; formats without chunks do not ask for them.
      shard: those of a file of several chunks; (0, 0, 0): a file for each chunk.

    Returns:
      The chunk, and the shard or None.

    Raises:
      VolumeError: they are no lengths, the shard does not consist of whole chunks, or the format
        has no shards.
    """
    chunk, shard = _edges("chunk", chunk, 1), _edges("shard", shard, 0)
    if not any(shard):
        return chunk, None
    if not form.has_shards:
        raise VolumeError(
            f"shard: got {shard} for {form.name}, wanted 0,0,0: zarr3 alone has shards"
        )
    if not all(shard) or any(b % a for a, b in zip(chunk, shard, strict=True)):
        raise VolumeError(f"shard: got {shard}, wanted whole chunks of {chunk} along z, y and x")
    return chunk, shard
