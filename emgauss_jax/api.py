"""The library: arrays in, arrays out.

Letters: K observed slices, D planes of an output, Q queried planes, H W px.
"""

import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from emgauss_jax.data.array_volume import ArrayVolume, of_array
from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import Place
from emgauss_jax.data.handles import check_absent
from emgauss_jax.data.simulate import parse_crop
from emgauss_jax.data.slice_depths import depths_text, read_depths
from emgauss_jax.data.volume import open_volume
from emgauss_jax.evaluation.compare import evaluate_volumes
from emgauss_jax.evaluation.run_report import report_fits
from emgauss_jax.execution.config_file import changed, load_config
from emgauss_jax.pipeline.fit_file import load_fit, save_fit
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.input_summary import summarise
from emgauss_jax.pipeline.output_grid import (
    OutputGrid,
    isotropic,
    one_given,
    output_grid,
    place_of,
)
from emgauss_jax.pipeline.region import FitStore
from emgauss_jax.pipeline.run import Run, prepare
from emgauss_jax.pipeline.stitching import Fits, open_fits
from emgauss_jax.pipeline.writing import draw_array, drawing, drawing_errors
from emgauss_jax.storage.run_dir import read_workdir


class Progress(NamedTuple):
    """How far a fit is."""

    part: str  # "pseudo-labels" or "fit"; of several regions also which: "fit, region 2 of 5"
    done: int  # steps of that part
    total: int


class Stopped(Exception):
    """A progress callback has asked a fit to stop."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """A finished fit, from which any plane can be drawn. From `fit` or `load`."""

    run: Run  # the opened stack, and how its blocks are fitted
    store: FitStore  # the finished fits

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.run.observed.shape))
        return f"Fit({self.run.config.method}, {shape} slices and px)"

    @functools.cached_property
    def _fits(self) -> Fits:
        return open_fits(self.run, self.store)

    @property
    def voxel_nm(self) -> tuple[float, float, float]:
        """Voxel size of `volume()`, nm (z, y, x)."""
        return isotropic(self.run.observed).voxel_nm

    @property
    def place(self) -> Place:
        """Where the first voxel of `volume()` lies, for `create_volume`; an array has no place."""
        return place_of(self.run.observed, isotropic(self.run.observed))

    @property
    def summary(self) -> list[str]:
        """What the fit was given and makes of it: the lines that `train` prints before a fit."""
        return summarise(self.run.observed).lines

    def planes(self, z: Sequence[float]) -> np.ndarray:
        """Draw planes at any depths.

        Args:
          z: [Q], rising, in input-slice units: 0 is the first slice, 1.5 lies between the second
            and the third.

        Returns:
          [Q, H, W] in the stack's dtype and grey levels.

        Raises:
          InputError: depths outside the stack, or that do not rise.
        """
        return self._drawn(self._grid(z))

    def volume(self, *, z_voxel_nm: float | None = None, factor: float | None = None) -> np.ndarray:
        """Draw the whole volume, of isotropic voxels by default.

        Args:
          z_voxel_nm: distance of the planes, nm; at most that of the slices.
          factor: or how many planes there are for every slice.

        Returns:
          [D, H, W] in the stack's dtype and grey levels.

        Raises:
          InputError: both are given, or one that cannot be.
        """
        return self._drawn(self._grid(None, z_voxel_nm, factor))

    def uncertainty(
        self,
        z: Sequence[float] | None = None,
        *,
        z_voxel_nm: float | None = None,
        factor: float | None = None,
    ) -> np.ndarray:
        """Estimate the standard error of every voxel of `planes(z)`, or else of `volume(...)`.

        Args and Raises: as those.

        Returns:
          f32[Q, H, W] or f32[D, H, W], in grey levels. 0 on an observed slice: its own noise is
          not counted.
        """
        grid = self._grid(z, z_voxel_nm, factor)
        return draw_array(drawing_errors(self._fits), self.run, grid.z, np.float32)

    def params(self, region: int = 0) -> Any:
        """Give the learned parameters of a region's fitted blocks, leaves [blocks, ...].

        Args:
          region: its number, from 0; a stack of few blocks has but one.

        Raises:
          InputError: there is no such region.
        """
        return self.store.open(self._checked(region)).params

    def weights(self, region: int = 0) -> dict[str, float]:
        """Say how far the sources of a region's pseudo-labels were believed: name -> weight."""
        judged = self.store.weights(self._checked(region))
        return dict(judged.weights) if judged else {}

    def _checked(self, region: int) -> int:
        count = len(self.run.regions)
        if region not in range(count):
            raise InputError(f"region: got {region}, wanted 0 to {count - 1}")
        return region

    def report(self, folder: str | os.PathLike) -> pathlib.Path:
        """Write report.html: pictures, expected error and, where planes were held out, scores.

        Args:
          folder: made where there is none; it holds no report yet.

        Returns:
          The path of the page.
        """
        observed, place = self.run.observed, pathlib.Path(folder)
        check_absent(place if place.is_file() else place / "report.html")
        volume = ArrayVolume(self.volume(), self.voxel_nm)
        report_fits(self.run, self.store, volume, place, str(observed.volume.path))
        return place / "report.html"

    def save(self, path: str | os.PathLike) -> None:
        """Write the fit and the slices it was made from to one new file, for `load`.

        Args:
          path: a safetensors file, as x.safetensors.

        Raises:
          InputError: something stands at the path.
        """
        save_fit(pathlib.Path(path), self.run, self.store)

    def _grid(self, z: Any, z_voxel_nm: Any = None, factor: Any = None) -> OutputGrid:
        named = one_given(z=z, z_voxel_nm=z_voxel_nm, factor=factor)
        return output_grid(self.run.observed, named)

    def _drawn(self, grid: OutputGrid) -> np.ndarray:
        return draw_array(drawing(self._fits), self.run, grid.z, self.run.observed.dtype)


def fit(
    stack: Any,
    *,
    voxel_nm: Sequence[float] | None = None,
    config: Any = "emgauss",
    progress: Callable[[Progress], bool | None] | None = None,
    **overrides: Any,
) -> Fit:
    """Fit a stack of slices; nothing is written to disk.

    What speaks against the stack (chunks that are not there, an odd voxel size) is a warning.

    Args:
      stack: [K, H, W], integers up to 32 bits, floats or bool: any array with `shape`, `dtype`
        and slicing; or the path of a volume.
      voxel_nm: (z, y, x), nm: z is the distance of the slices. A file may know it.
      config: the name or the path of a config, or one that has been loaded.
      progress: is told how far the fit is; where it returns what is true, the fit stops.
      overrides: keys of the config, a dot written as two underscores: `train__steps=2000`,
        `data__missing=(3, 7)`.

    Returns:
      The fit.

    Raises:
      InputError: for every input that cannot be used.
      FitError: the fit failed, with the step.
      Stopped: by `progress`.
    """
    return _fitted(_prepared(stack, voxel_nm, config, overrides), progress)


def reconstruct(
    stack: Any,
    *,
    voxel_nm: Sequence[float] | None = None,
    config: Any = "emgauss",
    progress: Callable[[Progress], bool | None] | None = None,
    **overrides: Any,
) -> np.ndarray:
    """Turn a stack of slices into a volume of isotropic voxels; nothing is written to disk.

    Args and Raises: as `fit`.

    Returns:
      [D, H, W] in the stack's dtype and grey levels: what the `train` command writes.
    """
    run = _prepared(stack, voxel_nm, config, overrides)
    isotropic(run.observed)  # raises now and not after the fit
    return _fitted(run, progress).volume()


def load(path: str | os.PathLike) -> Fit:
    """Open a finished fit.

    Args:
      path: a file that `Fit.save` has written, or the workdir of a finished `train`, whose volume
        is still where it was.

    Raises:
      InputError: there is none, or it is damaged or of another version.
    """
    place = pathlib.Path(path)
    if not place.is_dir():
        return Fit(*load_fit(place))
    run = prepare(read_workdir(place), place)
    fitting = fitting_of(run.template.method)
    fitting.check_fitted(run, place)
    return Fit(run, fitting.fits_in(run, place))


def evaluate(
    prediction: Any,
    reference: Any,
    *,
    observed_every: int,
    degradation: str = "subsample",
    missing: Sequence[int] = (),
    uncertainty: Any = None,
    voxel_nm: Sequence[float] | None = None,
    report: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Score a volume that was made of every k-th plane of a reference, beside interpolations.

    Args:
      prediction: [n k + 1, H, W], of the reference's dtype; further planes are not scored.
      reference: [D, H, W], isotropic.
      observed_every: k; planes 0, k, 2 k, ... were observed, the others are scored.
      degradation: "subsample", or "average" where means of k planes were observed.
      missing: observed slices, counted from 0, that the prediction was made without.
      uncertainty: float32, standard errors of the prediction in grey levels, to be judged.
      voxel_nm: (z, y, x); without it, resolutions in nm are left out, and no report is written.
      report: new folder for metrics.json and report.html; None: nothing is written.

    Returns:
      What metrics.json holds; `["scores"]["prediction"]["psnr"]` is one of the scores, and
      `["scores"]["linear"]` has those of linear interpolation.

    Raises:
      InputError: volumes that do not belong together.
    """
    if report is not None and voxel_nm is None:
        raise InputError("voxel_nm: got None with a report, wanted (z, y, x): a report has lengths")
    named = {"prediction": prediction, "reference": reference, "uncertainty": uncertainty}
    size = (1.0, 1.0, 1.0) if voxel_nm is None else voxel_nm
    volumes = {n: of_array(v, size, n) for n, v in named.items() if v is not None}
    folder = None if report is None else pathlib.Path(report)
    result = evaluate_volumes(
        volumes["prediction"], volumes["reference"], observed_every, folder, degradation, missing,
        volumes.get("uncertainty"),
    )  # fmt: skip
    if voxel_nm is None:
        for scores in result["scores"].values():
            for name in [name for name in scores if "_nm" in name]:
                del scores[name]
    return result


def _prepared(stack: Any, voxel_nm: Any, config: Any, overrides: dict[str, Any]) -> Run:
    """Open a stack and cut it into blocks, as a config says."""
    if taken := [key for key in ("data__path", "data__voxel_nm") if key in overrides]:
        raise InputError(f"{taken[0]}: got it beside a stack and its voxel_nm, wanted these alone")
    loaded = load_config(str(config)) if isinstance(config, str | os.PathLike) else config
    if not isinstance(loaded, ConfigDict):
        raise InputError(f"config: got {loaded!r}, wanted a name, a path or a loaded config")
    if "data__z_nm" in overrides:
        overrides = overrides | {"data__z_nm": depths_text(overrides["data__z_nm"])}
    run = _opened(stack, voxel_nm, changed(loaded, overrides))
    for warning in summarise(run.observed).warnings:
        warnings.warn(warning, stacklevel=3)  # at the caller of `fit` or `reconstruct`
    return run


def _opened(stack: Any, voxel_nm: Any, settings: ConfigDict) -> Run:
    if isinstance(stack, str | os.PathLike):
        data = settings.data
        series = data.series if data.series >= 0 else None
        volume = open_volume(stack, dataset=data.dataset, series=series, voxel_nm=voxel_nm)
        return prepare(settings, volume=volume)
    volume = of_array(stack, voxel_nm)
    if settings.data.dataset:
        raise InputError(f"data__dataset: got {settings.data.dataset!r} for an array, wanted none")
    if settings.data.series >= 0:
        raise InputError(f"data__series: got {settings.data.series} for an array, wanted none")
    # A copy of its crop: the caller may change the array, or close what it lies in.
    box = parse_crop(settings.data.crop, volume.shape)
    cut, start = {"data__crop": ""}, np.multiply(box.start, volume.voxel_nm)
    if settings.data.z_nm.strip():
        depths = read_depths(settings.data.z_nm, volume.shape[0])
        cut["data__z_nm"], start[0] = depths_text(depths[box.slices[0]]), depths[box.start[0]]
    own = dataclasses.replace(volume, array=volume[box.slices], place=volume.place.moved(start))
    return prepare(changed(settings, cut), volume=own)


def _fitted(run: Run, progress: Callable[[Progress], bool | None] | None) -> Fit:
    return Fit(run, fitting_of(run.template.method).fit_in_memory(run, _watched(progress)))


def _watched(progress: Callable[[Progress], bool | None] | None) -> Callable[[str], Any]:
    """Make the watcher of each part of a fit: it tells `progress`, and raises Stopped if asked."""

    def of(part: str) -> Callable[[int, int], None]:
        def watch(done: int, total: int) -> None:
            if progress and progress(Progress(part, done, total)):
                raise Stopped(f"{part}: stopped after {done} of {total} steps")

        return watch

    return of
