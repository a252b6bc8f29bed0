"""The eight rotations of a stack that keep one of its axes.

Two lateral axes may be exchanged, which mirrors; with it, an odd number of axes is reversed, and
without it an even one.
"""

import jax
import jax.numpy as jnp


def reversals(way: jax.Array, exchanged: jax.Array | bool) -> tuple[jax.Array, ...]:
    """Tell which of three axes are reversed, bool[] each.

    Args:
      way: bool[2], of the first two; the third follows.
      exchanged: whether two lateral axes were exchanged before.
    """
    first, second = way
    return first, second, (first ^ second) ^ exchanged


def turn(grid: jax.Array, axes: tuple[jax.Array | bool, ...]) -> jax.Array:
    """Reverse the axes of a grid of which it is said so; twice is not at all."""
    for axis, reverse in enumerate(axes):
        grid = jnp.where(reverse, jnp.flip(grid, axis), grid)
    return grid
