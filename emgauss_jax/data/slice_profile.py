"""The slice profile: which depths an observed slice shows, and all that follows from it.

A thin slice is a plane of the volume. An averaged slice is the mean of the planes over the whole
distance to its neighbours. The profile is chosen once, where a stack is opened. What differs in
arithmetic stands here; a module that needs a table per profile keys it by `name`, and `is_plane`
says whether a slice can stand for a plane of the output.
Letters: k planes for every slice, R rows (slices), M planes in one slice, P planes of all rows.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class SliceProfile:
    """What both profiles have; hashable."""

    name: str  # as `config.data.degradation` has it
    offsets: tuple[float, ...]  # [M], of the planes it is the mean of, from its middle, slices
    reach: float  # how far a slice reaches along z from its middle, input-slice units
    is_plane: bool  # a slice is one plane of the volume, and gaps lie between slices
    interpolation: str  # the free one that agrees with the slices, see `methods.interpolate`

    def plane_offsets(self, k: int) -> np.ndarray:
        """Give the depths f64[k] from a slice of the k planes to be drawn for it, in slices."""
        return _offsets(k, self.reach)

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
        """Choose the slices that the stack coarsened along z does not contain: indices i64[N].

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
        # The coarse stack contains only means of two, so that all slices can be held out.
        return np.arange(len(z) // 2 * 2)

    def coarse_depths(self, index: np.ndarray, k: int) -> np.ndarray:
        return (index[:, None] + self.plane_offsets(k) - 0.5) / 2

    def seen_around(self, index: np.ndarray) -> np.ndarray:
        first = index // 2 * 2 - 2  # of the pair before
        return np.clip([first, first + 5], 0, index[-1])


def _offsets(k: int, reach: float) -> np.ndarray:
    """Spread k planes evenly: from a slice on, or, where it reaches half a distance, around it."""
    return (np.arange(k) - (k - 1) * reach) / k


THIN = _Thin(name="subsample", offsets=(0.0,), reach=0.0, is_plane=True, interpolation="linear")


def averaged(k: int) -> SliceProfile:
    """Make the profile of slices that are means of k planes."""
    return _Averaged(
        name="average",
        offsets=tuple(_offsets(k, 0.5).tolist()),
        reach=0.5,
        is_plane=False,
        interpolation="cubic_mean",
    )


def slice_profile(degradation: str, k: int) -> SliceProfile:
    """Choose the profile that `config.data.degradation` names; k is the simulated factor."""
    return averaged(k) if degradation == "average" else THIN


def every_second(count: int) -> np.ndarray:
    """Choose every second of so many slices, each with a neighbour on both sides: i64[N]."""
    return np.arange(1, count - 1, 2)
