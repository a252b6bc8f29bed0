"""A machine whose clock is set a day forth or back at every look at it."""

import itertools
import time

_DAY_S, _now, _count = 86_400.0, time.time, itertools.count()


def _jumping() -> float:
    return _now() + _DAY_S * (next(_count) % 3 - 1)


time.time = _jumping
