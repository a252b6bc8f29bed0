"""Make pseudo-labels: every source fills in the planes between slices; their mean is kept.

The mean is weighted by the sources' errors on held-out slices.

Letters: V valid slices, P planes, H W field in px.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from emgauss_jax.data.stack import SliceStack
from emgauss_jax.methods.base import Block, gap_around
from emgauss_jax.methods.lateral_pairs import halve
from emgauss_jax.pseudo_labels.source import Filled
from emgauss_jax.pseudo_labels.store import FITS, FOLDER, Labels, half, read_labels, write_labels
from emgauss_jax.pseudo_labels.template import LabelTemplate
from emgauss_jax.pseudo_labels.weights import SourceWeights, judging_slices, mix, weigh
from emgauss_jax.training.metrics_log import Watch, unwatched


def generate(
    template: LabelTemplate,
    observed: SliceStack,
    folder: pathlib.Path | None,
    watch: Watch = unwatched,
) -> Labels:
    """Fit the sources, weigh them and mix their planes, or read the labels if they exist.

    Args:
      template: sources and settings of the run.
      observed: the slices of a region; they are read.
      folder: of the region; gets prior/ with the labels and, until it is fitted, the sources' fits.
        None: nothing is written to disk.
      watch: is told after every dispatch how many steps of a source's fit are done.
    """
    z, plane_z = observed.z_valid, template.plane_z(observed)
    if folder and (found := read_labels(folder, plane_z, template.factor)):
        return found
    stack, fits = counted(observed.unit_valid), folder and folder / FOLDER / FITS
    learned = {
        name: one.fit(stack, fits and fits / name, watch) for name, one in template.sources.items()
    }
    judged = judge(template, learned, stack, z, fits, watch)
    depths = template.depths(len(z))
    filled = fill_in(template, learned, stack, depths)
    weights = weights_along(depths, z, judged)
    mixed = mix(filled, {name: weight[:, None, None] for name, weight in weights.items()})
    wide = _is_wide(depths, z)[:, None, None]
    spread = np.where(wide, judged.wide_scale, judged.scale).astype(np.float32) * mixed.spread
    labels = Labels(half(mixed.mean), half(spread), plane_z, template.factor, judged)
    if folder is None:
        return labels
    write_labels(folder, labels)
    return read_labels(folder, plane_z, template.factor)


def counted(slices: np.ndarray) -> Block:
    """Make a block of valid slices f32[V, H, W] at depths 0, 1, 2, ..., as if none were missing."""
    return Block(slices, np.arange(len(slices), dtype=np.float32), np.ones(len(slices), bool))


def judge(
    template: LabelTemplate,
    learned: Mapping[str, Any],
    stack: Block,
    z: np.ndarray,
    folder: pathlib.Path | None,
    watch: Watch,
) -> SourceWeights:
    """Weigh the sources by their errors at half the resolution, where the truth is observed.

    Args:
      learned: name -> what the source has learned from the stack.
      stack: V valid slices.
      z: f32[V], depths of the slices, input-slice units.
      folder: for the fits of sources that first train on at half the resolution; None: not kept.
      watch: is told how many steps of these fits are done.
    """
    profile, sources = template.profile, template.sources
    fine = np.asarray(halve(stack.slices))
    coarse, index = counted(profile.coarsen(fine)), judging_slices(z, profile)
    adapted = {
        name: one.adapt(learned[name], coarse, folder and folder / f"{name}, coarse", watch)
        for name, one in sources.items()
    }
    depths = profile.coarse_depths(index, template.factor)
    filled = {
        name: Filled(*(v.reshape(*depths.shape, *v.shape[1:]).mean(axis=1) for v in one))
        for name, one in fill_in(template, adapted, coarse, depths.ravel()).items()
    }
    return weigh(filled, fine[index], {n for n, one in sources.items() if one.plain_gaps_only})


def fill_in(
    template: LabelTemplate, learned: Mapping[str, Any], stack: Block, depths: np.ndarray
) -> dict[str, Filled]:
    """Fill in planes by every source.

    Args:
      learned: name -> what the source has learned.
      stack: valid slices at depths 0, 1, 2, ...
      depths: f64[P], counted in valid slices.

    Returns:
      name -> planes f32[P, H, W] and their spread.
    """
    return {
        name: source.fill_in(learned[name], stack, depths)
        for name, source in template.sources.items()
    }


def weights_along(depths: np.ndarray, z: np.ndarray, judged: SourceWeights) -> dict[str, Any]:
    """Return the weight f32[P] of each source at depths counted in valid slices."""
    wide = _is_wide(depths, z)
    return {
        name: np.where(wide, judged.wide_weights.get(name, 0.0), weight).astype(np.float32)
        for name, weight in judged.weights.items()
    }


def _is_wide(depths: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Mark the depths, counted in valid slices, in a gap with a missing slice, bool[P]."""
    lower, _ = gap_around(depths, len(z))
    return np.diff(z)[lower] > 1
