"""What a user can put right, told in one line by every command. Anything else is a fault of ours.

A message says "name: got .., wanted ..".
"""


class InputError(ValueError):
    """A file, a setting or an argument that cannot be used."""


class FitError(FloatingPointError):
    """A fit that cannot go on; its message names the step and the setting to change."""
