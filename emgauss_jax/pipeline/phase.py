"""A phase of a job: tasks that can be done in any order, by any process."""

from collections.abc import Callable
from typing import NamedTuple


class Phase(NamedTuple):
    """Independent, restartable tasks, counted 0, 1, 2, ...; the phase before is done first.

    `done(task)`: whether it is done, as what it has written says.
    `do(task)`: do it; it can be killed at any time and done again.
    """

    name: str
    count: int
    done: Callable[[int], bool]
    do: Callable[[int], None]
