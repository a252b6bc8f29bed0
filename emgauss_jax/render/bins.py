"""Sorting into bins, which all list-based rasterizers do. Letters: n things, B bins."""

import jax
import jax.numpy as jnp


def sort_into_bins(bins: jax.Array, total: int) -> tuple[jax.Array, jax.Array]:
    """Sort n things by bin; those of one bin keep their order.

    Args:
      bins: i32[n]; B or more puts a thing behind all bins.
      total: B.

    Returns:
      order i32[n], the thing at every place; starts i32[B + 1], the first place of every bin.
    """
    count = bins.shape[0]
    if (total + 1) * count < 2**31:  # one key holds both: several times as fast as a sort of pairs
        key = jnp.sort(jnp.minimum(bins, total) * count + jnp.arange(count))
        order, bins = key % count, key // count
    else:
        order = jnp.argsort(bins, stable=True)
        bins = bins[order]
    return order, jnp.searchsorted(bins, jnp.arange(total + 1)).astype(jnp.int32)
