"""The finished fits of blocks that learn each for itself: in a workdir, in memory, in one file.

Letters: S blocks of a region, of which L live.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.pipeline.region import (
    FitStore,
    Fitted,
    Region,
    folder_of,
    label_template_of,
    open_region,
)
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pseudo_labels import store
from emgauss_jax.pseudo_labels.store import Labels
from emgauss_jax.pseudo_labels.weights import SourceWeights
from emgauss_jax.storage import pytrees
from emgauss_jax.storage.run_dir import first_difference, plain
from emgauss_jax.training.problem import param_shapes

FITTED = "fitted.safetensors"  # the teachers of the blocks that live, the constants of the others
KIND = "region"


def is_fitted(run: Run, index: int, workdir: pathlib.Path) -> bool:
    """Tell whether a region is fitted."""
    return (folder_of(run, index, workdir) / FITTED).exists()


def write_fitted(
    folder: pathlib.Path, index: int, constants: np.ndarray, params: Any, config: Any
) -> None:
    """Write what a region's fit came to; it is fitted once this is written.

    Args:
      folder: of the region.
      index: of the region.
      constants: f32[S].
      params: numpy leaves [L, ...]; () where no block lives.
      config: of the run.
    """
    about = {"config": plain(config), "region": index, "constants": _count(constants)}
    pytrees.write(folder / FITTED, KIND, {"params": params, "constants": constants}, about)


def read_fitted(run: Run, index: int, workdir: pathlib.Path) -> Fitted:
    """Open a region that is fitted.

    Raises:
      InputError: its file is damaged, of another region, config or structure.
    """
    folder, region = folder_of(run, index, workdir), open_region(run, index)
    arrays, about = pytrees.read(folder / FITTED, KIND)
    different = first_difference(about["config"], plain(run.config))
    if different or about["region"] != index:
        why = different or f"got the fit of region {about['region']}, wanted that of {index}"
        raise InputError(f"{folder / FITTED}: {why}; {pytrees.AGAIN}")
    if not region.live:
        return Fitted(region, None, ())
    template, observed = label_template_of(run, region), region.observed
    labels = template and store.read_labels(folder, template.plane_z(observed), template.factor)
    params = pytrees.part(arrays, "params")
    return Fitted(region, labels, pytrees.like(params, params_like(run, region), folder / FITTED))


def params_like(run: Run, region: Region) -> Any:
    """Give the shapes of what the fits of a region learn, leaves [L, ...]."""

    def of_all(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((len(region.live), *leaf.shape[1:]), leaf.dtype)

    return jax.tree.map(of_all, param_shapes(run.template))


def fits_in(run: Run, workdir: pathlib.Path) -> FitStore:
    """Give the finished fits of a workdir; nothing is read yet."""

    def constants() -> int:
        files = (folder_of(run, i, workdir) / FITTED for i in range(len(run.regions)))
        return sum(pytrees.read_about(each, KIND)["constants"] for each in files)

    return FitStore(
        open=functools.partial(read_fitted, run, workdir=workdir),
        weights=lambda index: store.read_weights(folder_of(run, index, workdir)),
        notes=lambda: _notes(constants()),
        pack=lambda: _pack([read_fitted(run, i, workdir) for i in range(len(run.regions))]),
    )


def held(fitted: Sequence[Fitted]) -> FitStore:
    """Give the finished fits of all regions, held in memory."""
    return FitStore(
        open=fitted.__getitem__,
        weights=lambda index: (labels := fitted[index].labels) and labels.judged,
        notes=lambda: _notes(sum(_count(each.region.constants) for each in fitted)),
        pack=lambda: _pack(fitted),
    )


def _count(constants: np.ndarray) -> int:
    """Count the blocks that are not fitted."""
    return int((~np.isnan(constants)).sum())


def _notes(constants: int) -> dict[str, str]:
    return {"blocks of one intensity": f"{constants}, passed through"} if constants else {}


def _pack(fitted: Sequence[Fitted]) -> tuple[Any, dict[str, Any]]:
    """Name parameters and spread of every region by its number."""
    labels = {str(i): one.labels for i, one in enumerate(fitted) if one.labels}
    tree = {
        "params": {str(i): one.params for i, one in enumerate(fitted)},
        "spread": {i: one.spread for i, one in labels.items()},
    }
    return tree, {"weights": {i: one.judged._asdict() for i, one in labels.items()}}


def unpack(run: Run, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> FitStore:
    """Take the fits of all regions out of what `_pack` has named.

    Raises:
      InputError: they are those of other blocks.
    """

    def one(index: int) -> Fitted:
        region, name = open_region(run, index), str(index)
        if not region.live:
            return Fitted(region, None, ())
        mine = pytrees.part(arrays, f"params/{name}")
        params = pytrees.like(mine, params_like(run, region), f"region {index}")
        template, labels = label_template_of(run, region), None
        if template and name in about["weights"]:
            judged, spread = SourceWeights(**about["weights"][name]), arrays[f"spread/{name}"]
            z, factor = template.plane_z(region.observed), template.factor
            labels = Labels(spread, spread, z, factor, judged).forgotten()
        return Fitted(region, labels, params)

    return held([one(index) for index in range(len(run.regions))])
