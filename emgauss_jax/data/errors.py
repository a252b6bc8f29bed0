"""Errors that a user can fix: commands print them in one line. Any other exception is a bug.

A message says "name: got .., wanted ..".
"""


class InputError(ValueError):
    """A file, a setting or an argument that cannot be used."""


class FitError(FloatingPointError):
    """A fit that cannot go on; its message names the step and the setting to change."""
