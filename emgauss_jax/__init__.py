"""Continuous, isotropic volumes from anisotropic slice stacks."""
