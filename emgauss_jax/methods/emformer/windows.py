"""Windows of a grid that may be shifted, and need not divide it.

Letters: D frames, R rows, C columns, F features, N windows, T tokens of a window.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Windows(NamedTuple):
    """How a grid is cut; hashable."""

    shape: tuple[int, int, int]  # D, R, C
    size: tuple[int, int, int]  # of a window, none larger than the grid
    shift: tuple[int, int, int]  # tokens the windows start after the grid's first

    @property
    def padded(self) -> tuple[int, ...]:
        """The shape made a multiple of the windows."""
        return tuple(-(-n // w) * w for n, w in zip(self.shape, self.size, strict=True))


def windows_of(shape: tuple[int, int, int], size: tuple[int, int, int], shifted: bool) -> Windows:
    """Choose windows for a grid: no larger than it, and shifted by half where that is asked.

    Frames keep their window: a pair is needed, if need be with a frame that is not there.
    """
    fitting = (size[0], min(size[1], shape[1]), min(size[2], shape[2]))
    halves = (w // 2 if shifted and w < n else 0 for n, w in zip(shape, fitting, strict=True))
    return Windows(tuple(shape), fitting, tuple(halves))


def cut(grid: jax.Array, windows: Windows) -> jax.Array:
    """Cut f32[D, R, C, F] into f32[N, T, F]; what is beyond the grid is 0."""
    extra = [(0, p - n) for p, n in zip(windows.padded, windows.shape, strict=True)]
    padded = jnp.pad(grid, [*extra, (0, 0)])
    return _tokens(jnp.roll(padded, [-n for n in windows.shift], axis=(0, 1, 2)), windows)


def _tokens(grid: Any, windows: Windows) -> Any:
    """Collect the tokens of every window of a grid that is rolled already."""
    (d, r, c), (D, R, C) = windows.size, windows.padded
    parts = grid.reshape(D // d, d, R // r, r, C // c, c, -1).transpose(0, 2, 4, 1, 3, 5, 6)
    return parts.reshape(-1, d * r * c, grid.shape[-1])


def join(parts: jax.Array, windows: Windows) -> jax.Array:
    """Put f32[N, T, F] back into f32[D, R, C, F]: undoes `cut`."""
    (d, r, c), (D, R, C) = windows.size, windows.padded
    grid = parts.reshape(D // d, R // r, C // c, d, r, c, -1).transpose(0, 3, 1, 4, 2, 5, 6)
    rolled = jnp.roll(grid.reshape(D, R, C, -1), windows.shift, axis=(0, 1, 2))
    return rolled[tuple(slice(n) for n in windows.shape)]


@functools.cache
def areas(windows: Windows) -> np.ndarray | None:
    """Number the area every token belongs to, i32[N, T]: it may see its own; None, there is one.

    A shift brings together what lies at opposite ends, and padding is nothing to be seen, not even
    by padding: nobody asks anything of a frame without a partner.
    """
    if windows.padded == windows.shape and not any(windows.shift):
        return None
    places = np.stack(np.meshgrid(*map(np.arange, windows.padded), indexing="ij"), axis=-1)
    real = (places < windows.shape).all(axis=-1)
    # What a shift has wrapped around an axis is of another area than what stands beside it.
    wrapped = (places < windows.shift) @ (1, 2, 4)
    alone = 8 + np.arange(real.size).reshape(real.shape)
    number = np.where(real, wrapped, alone)[..., None]
    rolled = np.roll(number, [-n for n in windows.shift], axis=(0, 1, 2))
    return _tokens(rolled, windows)[..., 0]
