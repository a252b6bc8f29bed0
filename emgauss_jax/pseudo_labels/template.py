"""The sources of a run's pseudo-labels, and the depths of the planes that they fill in.

Letters: k lateral px from slice to slice, V valid slices, P planes, H W field in px.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from emgauss_jax.data.slice_profile import SliceProfile
from emgauss_jax.data.stack import SliceStack, whole_factor, why_axes_differ
from emgauss_jax.pseudo_labels.registry import BASE, SOURCES
from emgauss_jax.pseudo_labels.source import Source
from emgauss_jax.pseudo_labels.weights import judging_slices


@dataclasses.dataclass(frozen=True, eq=False)
class LabelTemplate:
    """How a run makes pseudo-labels for the stack of any region; holds no slice."""

    sources: Mapping[str, Source]
    factor: int  # k, planes for every slice
    profile: SliceProfile

    def depths(self, count: int) -> np.ndarray:
        """Return the depths f64[P] of the planes of V slices, counted in valid slices."""
        return self.profile.plane_depths(count, self.factor)

    def plane_z(self, stack: SliceStack) -> np.ndarray:
        """Return the depths f32[P] of the planes of a stack, input-slice units."""
        z = stack.z_valid
        depths = self.depths(len(z))
        beyond = depths - np.clip(depths, 0, len(z) - 1)
        return (np.interp(depths, np.arange(len(z)), z) + beyond).astype(np.float32)

    def blank(self, stack: SliceStack) -> tuple[np.ndarray, np.ndarray, int]:
        """Make all-zero labels of a stack's shapes for `cut_blocks`; no slice is read."""
        z = self.plane_z(stack)
        return np.broadcast_to(np.float16(0), (len(z), *stack.shape[1:])), z, self.factor


def why_no_pseudo_labels(config: Any, stack: SliceStack) -> str:
    """Say why a run makes no pseudo-labels for a stack; "" if it makes them.

    Raises:
      InputError: a setting of a source cannot work.
    """
    if "prior" not in config:
        return "off"
    reasons = {n: kind.why_not(config, stack) for n, kind in SOURCES.items() if n != BASE}
    if all(reasons.values()):
        return next((why for why in reasons.values() if why != "off"), "off")
    if why_axes_differ(stack):
        return why_axes_differ(stack)
    z, profile = stack.z_valid, stack.plan.profile
    if not len(judging_slices(z, profile)):
        return (
            f"{len(z)} valid slices of {len(stack.z)}, wanted 5 or more, and one of the second, "
            "fourth, ... without a missing neighbour"
        )
    if not profile.is_plane and len(z) < len(stack.z):
        return "a missing slice among averaged slices"
    smallest = 2 * profile.plane_count(3, whole_factor(stack))
    if min(stack.shape[1:]) < smallest:
        height, width = stack.shape[1:]
        return f"a field of {height} x {width} px, wanted {smallest} px or more"
    return ""


def label_template(config: Any, stack: SliceStack) -> LabelTemplate:
    """Make a run's template for stacks sampled like this stack, see `why_no_pseudo_labels`.

    Raises:
      InputError: a setting cannot work.
    """
    asked = {name: kind for name, kind in SOURCES.items() if not kind.why_not(config, stack)}
    sources = {name: kind.make(config, stack) for name, kind in asked.items()}
    return LabelTemplate(sources, whole_factor(stack), stack.plan.profile)
