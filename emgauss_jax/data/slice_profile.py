"""The slice profile: which depths an observed slice shows, and the arithmetic that follows.

A thin slice is one plane of the volume. An averaged slice is the mean of the planes over one slice
distance. The profile is chosen once, where a stack is opened, and its arithmetic is in this module.
Other modules key a table per profile by `name`; `is_plane` tells them whether a slice can be used
as a plane of the output.
Letters: k planes per slice, R rows (slices), M planes averaged in a slice, P planes of all rows.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class SliceProfile:
    """The interface of both profiles; hashable."""

    name: str  # the value of `config.data.degradation`
    offsets: tuple[float, ...]  # [M], depths of a slice's planes from its middle, slices
    reach: float  # how far a slice reaches along z from its middle, input-slice units
    is_plane: bool  # a slice is one plane of the volume, and gaps lie between slices
    interpolation: str  # the kind in `methods.interpolate` that reproduces the slices

    def plane_offsets(self, k: int) -> np.ndarray:
        """Return the depths f64[k] of a slice's k output planes from the slice, in slices."""
        return _offsets(k, self.reach)

    def plane_depths(self, rows: int, k: int) -> np.ndarray:
        """Return the depths f64[P] of all planes of R rows, which lie at 0, 1, 2, ..."""
        depths = np.arange(rows)[:, None] + self.plane_offsets(k)
        return depths.ravel()[: self.plane_count(rows, k)]

    def plane_count(self, rows: int, k: int) -> int:
        """Count the planes P of R rows."""
        raise NotImplementedError

    def rows_within(self, size: float, k: float) -> int:
        """Count the rows, k px apart, that fit into `size` px."""
        raise NotImplementedError

    def planes_per_row(self, planes: int, rows: int) -> int:
        """Return k, given the number of planes and of rows."""
        raise NotImplementedError

    def degrade(self, planes: Any, k: int) -> Any:
        """Degrade planes [P, ...] to the rows [R, ...] that a stack of this profile shows."""
        raise NotImplementedError

    def agree(self, planes: Any, rows: Any, k: int) -> Any:
        """Correct planes f32[P, ...] so that `degrade` turns them into the rows f32[R, ...]."""
        raise NotImplementedError

    def doubt(self, share: np.ndarray) -> np.ndarray:
        """Compute the standard deviation of a voxel that equals either neighbour slice at random.

        The unit is the difference of the two slices.

        Args:
          share: f64[Q], place of a plane: 0 at the lower slice, 1 at the upper; others are outside.
        """
        raise NotImplementedError

    def coarsen(self, rows: Any) -> Any:
        """Halve the resolution along z: rows [R, ...] to those of a stack of half the slices."""
        raise NotImplementedError

    def held_out(self, z: np.ndarray) -> np.ndarray:
        """Choose slices that the stack coarsened along z does not contain: indices i64[N].

        Args:
          z: f[R], depths of the slices; a thin slice beside a missing one is not chosen.
        """
        raise NotImplementedError

    def coarse_depths(self, index: np.ndarray, k: int) -> np.ndarray:
        """Return the depths f64[N, M] of the held-out slices' planes, in coarse slices."""
        raise NotImplementedError

    def seen_around(self, index: np.ndarray) -> np.ndarray:
        """Find the first and last slice that make up the coarse slices around a held-out slice.

        Args:
          index: i64[N], the whole result of `held_out`.

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
        return np.full(len(share), 0.5)  # where in the slice a structure lies is unknown

    def coarsen(self, rows: Any) -> Any:
        pairs = len(rows) // 2 * 2
        return (rows[:pairs:2] + rows[1:pairs:2]) / 2

    def held_out(self, z: np.ndarray) -> np.ndarray:
        # The coarse stack contains only means of pairs, so all slices can be held out.
        return np.arange(len(z) // 2 * 2)

    def coarse_depths(self, index: np.ndarray, k: int) -> np.ndarray:
        return (index[:, None] + self.plane_offsets(k) - 0.5) / 2

    def seen_around(self, index: np.ndarray) -> np.ndarray:
        first = index // 2 * 2 - 2  # first slice of the pair before
        return np.clip([first, first + 5], 0, index[-1])


def _offsets(k: int, reach: float) -> np.ndarray:
    """Spread k planes evenly: from a thin slice (reach 0) on, around an averaged one (0.5)."""
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
    """Choose slices 1, 3, 5, ... of `count`, each with a neighbour on both sides: i64[N]."""
    return np.arange(1, count - 1, 2)
