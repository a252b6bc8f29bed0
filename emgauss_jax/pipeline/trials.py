"""Trials of a sweep that are fitted at once, and the folders they leave their fits in."""

import pathlib
from typing import Any, NamedTuple


class TrialFolders(NamedTuple):
    """Where trials that share one program leave what they make."""

    shared: pathlib.Path  # for pseudo-labels, which all have in common
    fit: pathlib.Path  # for the one fit of all, while it lasts
    own: tuple[tuple[pathlib.Path, Any], ...]  # of each trial: a workdir as train makes it, config
