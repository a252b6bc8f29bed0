"""The slice profile: which depths an observed slice shows, and all that follows from it.

A thin slice is a plane of the volume. An averaged slice is the mean of the planes over the whole
distance to its neighbours. The profile is chosen once, where a stack is opened; what differs
between the two stands here. A module that needs a table per profile keys it by `name`.
Letters: k planes for every slice, R rows (slices), M planes in one slice, P planes of all rows.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class SliceProfile:
    """What both profiles have; hashable."""

    name: str  # as `config.data.degradation` has it
    offsets: tuple[float, ...]  # [M], depths of its planes from its middle, input-slice units
    reach: float  # how far a slice reaches along z from its middle, input-slice units
    is_plane: bool  # a slice is one plane of the volume, and gaps lie between slices
    interpolation: str  # the free one that agrees with the slices, see `methods.interpolate`

    def plane_offsets(self, k: int) -> np.ndarray:
        """Give the depths f64[k] of a slice's k planes from its own, input-slice units."""
        return (np.arange(k) - (k - 1) * self.reach) / k

    def plane_depths(self, rows: int, k: int) -> np.ndarray:
        """Give the depths f64[P] of all planes of R rows that lie at 0, 1, 2, ..."""
        depths = np.arange(rows)[:, None] + self.plane_offsets(k)
        return depths.ravel()[: self.plane_count(rows, k)]

    def plane_count(self, rows: int, k: int) -> int:
        """Count the planes of R rows."""
        raise NotImplementedError

    def rows_within(self, size: float, k: float) -> int:
        """Count the rows that so many px hold, k px apart."""
        raise NotImplementedError

    def planes_per_row(self, planes: int, rows: int) -> int:
        """Give k, of the count of planes and of rows."""
        raise NotImplementedError

    def degrade(self, planes: Any, k: int) -> Any:
        """Turn planes [P, ...] into the rows [R, ...] that would be observed of them."""
        raise NotImplementedError

    def agree(self, planes: Any, rows: Any, k: int) -> Any:
        """Change planes f32[P, ...] so that f32[R, ...] would be observed of them."""
        raise NotImplementedError

    def doubt(self, share: np.ndarray) -> np.ndarray:
        """Give the standard deviation of a voxel that equals one of its two neighbours at random.

        It is in units of the difference of the two slices.

        Args:
          share: f64[Q], where a plane lies between the slices around it; beyond [0, 1], outside.
        """
        raise NotImplementedError

    def coarsen(self, rows: Any) -> Any:
        """Halve the resolution along z: [R, ...] to what a stack of half as many slices shows."""
        raise NotImplementedError

    def held_out(self, z: np.ndarray) -> np.ndarray:
        """Choose the slices that a stack coarsened along z does not show: indices i64[N].

        Args:
          z: f[R], depths of the slices; what lies beside a missing slice is not chosen.
        """
        raise NotImplementedError

    def coarse_depths(self, index: np.ndarray, k: int) -> np.ndarray:
        """Give the depths f64[N, M] of the planes that held-out slices show, in coarse slices."""
        raise NotImplementedError

    def seen_around(self, index: np.ndarray) -> np.ndarray:
        """Give the first and the last slice that coarse ones beside a held-out one are made of.

        Args:
          index: i64[N], all that `held_out` has chosen.

        Returns:
          i64[2, N].
        """
        raise NotImplementedError


class _Thin(SliceProfile):
    def plane_count(self, rows: int, k: int) -> int:
        return (rows - 1) * k + 1

    def rows_within(self, size: float, k: float) -> int:
        return int((size - 1) // k) + 1

    def planes_per_row(self, planes: int, rows: int) -> int:
        return (planes - 1) // (rows - 1)

    def degrade(self, planes: Any, k: int) -> Any:
        return planes[::k]

    def agree(self, planes: Any, rows: Any, k: int) -> Any:
        return planes.at[::k].set(rows)

    def doubt(self, share: np.ndarray) -> np.ndarray:
        within = np.clip(share, 0.0, 1.0)
        return np.sqrt(within * (1 - within) + np.abs(share - within))

    def coarsen(self, rows: Any) -> Any:
        return rows[::2]

    def held_out(self, z: np.ndarray) -> np.ndarray:
        index, gaps = every_second(len(z)), np.diff(z)
        return index[(gaps[index - 1] == 1) & (gaps[index] == 1)]

    def coarse_depths(self, index: np.ndarray, k: int) -> np.ndarray:
        return index[:, None] / 2

    def seen_around(self, index: np.ndarray) -> np.ndarray:
        return np.array([index - 1, index + 1])


class _Averaged(SliceProfile):
    def plane_count(self, rows: int, k: int) -> int:
        return rows * k

    def rows_within(self, size: float, k: float) -> int:
        return int(size // k)

    def planes_per_row(self, planes: int, rows: int) -> int:
        return planes // rows

    def degrade(self, planes: Any, k: int) -> Any:
        return planes.reshape(-1, k, *planes.shape[1:]).mean(axis=1)

    def agree(self, planes: Any, rows: Any, k: int) -> Any:
        parts = planes.reshape(len(rows), k, *rows.shape[1:])
        return (parts + (rows - parts.mean(axis=1))[:, None]).reshape(planes.shape)

    def doubt(self, share: np.ndarray) -> np.ndarray:
        return np.full(len(share), 0.5)  # nothing is known of where in a slice a voxel lies

    def coarsen(self, rows: Any) -> Any:
        pairs = len(rows) // 2 * 2
        return (rows[:pairs:2] + rows[1:pairs:2]) / 2

    def held_out(self, z: np.ndarray) -> np.ndarray:
        # The coarse stack holds means of two alone: each slice is one it does not show.
        return np.arange(len(z) // 2 * 2)

    def coarse_depths(self, index: np.ndarray, k: int) -> np.ndarray:
        return (index[:, None] + self.plane_offsets(k) - 0.5) / 2

    def seen_around(self, index: np.ndarray) -> np.ndarray:
        first = index // 2 * 2 - 2  # of the pair before
        return np.clip([first, first + 5], 0, index[-1])


THIN = _Thin("subsample", (0.0,), 0.0, True, "linear")


def averaged(k: int) -> SliceProfile:
    """Make the profile of slices that are means of k planes."""
    offsets = tuple((i - (k - 1) / 2) / k for i in range(k))
    return _Averaged("average", offsets, 0.5, False, "cubic_mean")


def slice_profile(degradation: str, k: int) -> SliceProfile:
    """Choose the profile that `config.data.degradation` names; k is the simulated factor."""
    return averaged(k) if k and degradation == "average" else THIN


def every_second(count: int) -> np.ndarray:
    """Choose every second of so many slices, each with a neighbour on both sides: i64[N]."""
    return np.arange(1, count - 1, 2)


def has_neighbours(valid: Any) -> Any:
    """Mark the valid slices that lie between two other valid ones, bool[K]; jax or numpy."""
    return valid & (valid.cumsum() > 1) & (valid[::-1].cumsum()[::-1] > 1)
