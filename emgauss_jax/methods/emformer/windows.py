"""Windows of a grid that may be shifted, and need not divide it.

Letters: D frames, R rows, C columns, F features, N windows, T tokens of a window.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Windows(NamedTuple):
    """How a grid is cut into windows; hashable."""

    shape: tuple[int, int, int]  # D, R, C
    size: tuple[int, int, int]  # of a window, none larger than the grid
    shift: tuple[int, int, int]  # tokens from the grid's first one to the first window

    @property
    def padded(self) -> tuple[int, ...]:
        """The shape rounded up to whole windows."""
        return tuple(-(-n // w) * w for n, w in zip(self.shape, self.size, strict=True))


def windows_of(shape: tuple[int, int, int], size: tuple[int, int, int], shifted: bool) -> Windows:
    """Choose windows for a grid: no larger than the grid, and shifted by half if `shifted`.

    A window keeps its two frames, because mutual attention needs a pair; one may be padding.
    """
    fitting = (size[0], min(size[1], shape[1]), min(size[2], shape[2]))
    halves = (w // 2 if shifted and w < n else 0 for n, w in zip(shape, fitting, strict=True))
    return Windows(tuple(shape), fitting, tuple(halves))


def cut(grid: jax.Array, windows: Windows) -> jax.Array:
    """Cut f32[D, R, C, F] into f32[N, T, F]; tokens beyond the grid are 0."""
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
    """Number the area of every token, i32[N, T]; tokens see only their own area. None: one area.

    A shift brings together tokens of opposite ends of an axis, which must not see each other. Each
    padding token is an area of its own, so that no other token sees it.
    """
    if windows.padded == windows.shape and not any(windows.shift):
        return None
    places = np.stack(np.meshgrid(*map(np.arange, windows.padded), indexing="ij"), axis=-1)
    real = (places < windows.shape).all(axis=-1)
    # Tokens that a shift has wrapped around an axis are another area than the tokens beside them.
    wrapped = (places < windows.shift) @ (1, 2, 4)
    alone = 8 + np.arange(real.size).reshape(real.shape)
    number = np.where(real, wrapped, alone)[..., None]
    rolled = np.roll(number, [-n for n in windows.shift], axis=(0, 1, 2))
    return _tokens(rolled, windows)[..., 0]
