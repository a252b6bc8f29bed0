"""Continuous, isotropic volumes from anisotropic slice stacks."""

__version__ = "0.1.0"
