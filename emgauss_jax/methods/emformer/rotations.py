"""The eight rotations of a stack that keep one of its axes.

A rotation may swap the two lateral axes, which is a reflection, and then reverses an odd number of
axes; without the swap it reverses an even number.
"""

import jax
import jax.numpy as jnp


def reversals(way: jax.Array, exchanged: jax.Array | bool) -> tuple[jax.Array, ...]:
    """Tell which of three axes are reversed, bool[] each.

    Args:
      way: bool[2], whether the first and the second axis are reversed; the third follows.
      exchanged: whether two lateral axes were exchanged before.
    """
    first, second = way
    return first, second, (first ^ second) ^ exchanged


def turn(grid: jax.Array, axes: tuple[jax.Array | bool, ...]) -> jax.Array:
    """Reverse the axes marked True; done twice, this gives the grid back."""
    for axis, reverse in enumerate(axes):
        grid = jnp.where(reverse, jnp.flip(grid, axis), grid)
    return grid
