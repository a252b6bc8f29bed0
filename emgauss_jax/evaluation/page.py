"""The report page as data, and the templates that make HTML of it.

templates/ holds all text, markup and style. Whatever is put into a template is escaped there.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from emgauss_jax.evaluation import figures
from emgauss_jax.evaluation.tables import Table, number


class Row(NamedTuple):
    """One plane of every volume, side by side."""

    heading: str  # which plane it is
    view: figures.View
    bar: tuple[int, str]  # scale bar: length in CSS px, and as text
    pictures: dict[str, str]  # caption -> data URI


class Planes(NamedTuple):
    """Planes of every volume, and maps of the difference and of the expected error."""

    rows: list[Row]
    difference: str  # caption of the maps of the difference
    has_expected: bool  # whether there are maps of the expected error
    highest: float  # intensity, the error drawn in the brightest colour
    color_bar: str  # data URI


class Report(NamedTuple):
    """What report.html shows; a part that is None or empty is left out."""

    title: str
    method: str  # whose row is marked
    planes: Planes
    notes: Mapping[str, object]  # what else was recorded
    verdict: str | None = None  # what the scores say; None: there is no reference
    scores: Sequence[Table] = ()
    missing: Table | None = None  # PSNR on missing slices alone
    seams: Mapping[str, Mapping[str, float | None]] | None = None  # name -> border, elsewhere: dB
    calibration: Mapping[str, float | None] | None = None  # as of `metrics.calibration.calibrate`
    curves: str | None = None  # data URI


def render(template: str, **data: object) -> str:
    """Fill in a template.

    Args:
      template: the name of a file in templates/.
      data: every name that the template uses; one that is absent raises `UndefinedError`.

    Returns:
      The text of the page.
    """
    environment = Environment(
        loader=PackageLoader("emgauss_jax.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    return environment.get_template(template).render(data)


def draw_planes(
    columns: dict[str, np.ndarray | None],
    compared: tuple[str, str],
    hidden: np.ndarray,
    voxel_nm: np.ndarray,
    expected: np.ndarray | None = None,
) -> Planes:
    """Draw three planes of every volume, and maps of difference and expected error.

    Args:
      columns: caption -> f32[D, H, W]; None is left out.
      compared: captions of the two whose absolute difference is mapped; the second sets the grey
        window of all pictures.
      hidden: bool[D], planes that were not observed.
      voxel_nm: f64[3], (z, y, x), nm.
      expected: f32[D, H, W], standard error, drawn on the scale of the difference.
    """
    columns = {name: volume for name, volume in columns.items() if volume is not None}
    first, second = columns[compared[0]], columns[compared[1]]
    views = figures.choose_views(second.shape, hidden, voxel_nm)
    difference = f"|{compared[0]} - {compared[1]}|"
    maps = {difference: [np.abs(first[view.plane] - second[view.plane]) for view in views]}
    if expected is not None:
        maps["expected error"] = [expected[view.plane] for view in views]
    shown = np.concatenate([second[view.plane].ravel() for view in views])
    window = tuple(np.percentile(shown, (0.5, 99.5)))
    errors = [error.ravel() for each in maps.values() for error in each]
    highest = max(np.percentile(np.concatenate(errors), 99.5), 0.01)
    rows = []
    for i, view in enumerate(views):
        pictures = {
            name: figures.grey_uri(volume[view.plane], window) for name, volume in columns.items()
        }
        pictures |= {name: figures.error_uri(each[i], highest) for name, each in maps.items()}
        rows.append(Row(_where(view, hidden), view, figures.scale_bar(view), pictures))
    return Planes(rows, difference, expected is not None, highest, figures.color_bar_uri())


def _where(view: figures.View, hidden: np.ndarray) -> str:
    if view.direction != "xy":
        return f"{view.direction} at {'y' if view.direction == 'xz' else 'x'} = {view.index}"
    measured = np.flatnonzero(~hidden)
    if measured.size == 0:
        return f"xy at z = {view.index}"
    distance = np.abs(measured - view.index).min()
    return f"xy at z = {view.index}, {distance} planes from the nearest observed slice"
