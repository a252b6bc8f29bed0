"""The report of a volume: metrics.json, and report.html with every picture inside."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emgauss_jax.evaluation import figures, page, tables
from emgauss_jax.storage.files import write_text

ROWS = ("nearest", "linear", "linear_blur", "cubic", "cubic_mean")
# metric -> margin, label, format, unit. Another seed or cut into blocks changes a score by as much
# as the margin, so smaller differences are called level.
MARGINS = {
    "psnr": (0.05, "PSNR", "+.2f", " dB"),
    "ssim_xy": (0.005, "SSIM xy", "+.3f", ""),
    "fsim_xy": (0.005, "FSIM xy", "+.3f", ""),
    "fsc_z": (0.005, "fsc_z", "+.3f", ""),
}


class Pictured(NamedTuple):
    """A part of the volumes that is small enough to be held: the pictures are of its middle."""

    columns: dict[str, np.ndarray]  # caption -> f32[D, H, W], intensity
    hidden: np.ndarray  # bool[D], planes that were not observed
    expected: np.ndarray | None = None  # f32[D, H, W], standard error of the reconstruction


def write_report(
    folder: str | Path,
    result: dict,
    pictured: Pictured,
    voxel_nm: np.ndarray,
    title: str,
    method: str,
) -> None:
    """Write metrics.json and report.html of a volume that was scored.

    Args:
      folder: made if absent; both files are replaced whole.
      result: what metrics.json is to hold: `scores`, `curves` and `notes`; `seams`, `missing`,
        `expected_error` and `data_range` if there are such.
      pictured: has columns named as the method and "reference".
      voxel_nm: f64[3], (z, y, x), nm.
      title: the page's heading.
      method: the prediction that the page is about.
    """
    planes = page.draw_planes(
        pictured.columns, (method, "reference"), pictured.hidden, voxel_nm, pictured.expected
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metrics.json", json.dumps(result, allow_nan=False))
    shown = _scored_page(title, result, planes, voxel_nm, method)
    write_text(folder / "report.html", page.render("report.html", **shown._asdict()))


def _scored_page(
    title: str, result: dict, planes: page.Planes, voxel_nm: np.ndarray, method: str
) -> page.Report:
    missing = {name: {"psnr": value} for name, value in result.get("missing", {}).items()}
    return page.Report(
        title, method, planes, result["notes"],
        verdict=summarise(result["scores"], method),
        scores=[tables.tabulate(result["scores"], groups) for groups in tables.TABLES],
        missing=tables.tabulate(missing, tables.MISSING) if missing else None,
        seams=result.get("seams"),
        calibration=result.get("expected_error"),
        curves=figures.curves_uri(result["curves"], voxel_nm, method),
    )  # fmt: skip


def write_gallery(
    folder: str | Path,
    pictured: Pictured,
    voxel_nm: np.ndarray,
    title: str,
    notes: dict,
    method: str,
    verdict: str = "",
) -> None:
    """Write report.html without scores, for a volume that has no reference.

    Args:
      folder: made if absent.
      pictured: has columns named as the method and "linear".
      voxel_nm: f64[3], of the reconstruction, (z, y, x), nm.
      title: the page's heading.
      notes: name -> number, text or list, for the last table of the page.
      method: the name of the method that made the volume.
      verdict: why there is no score; "": such planes were never acquired.
    """
    planes = page.draw_planes(
        pictured.columns, (method, "linear"), pictured.hidden, voxel_nm, pictured.expected
    )
    shown = page.Report(title, method, planes, plain(notes), verdict=verdict)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.html", page.render("report.html", **shown._asdict()))


def summarise(table: tables.Scores, method: str) -> str:
    """Say in which scores a method is better, level or worse than the interpolations.

    Args:
      table: name -> metric -> value or None.
      method: a name in the table.

    Returns:
      One to three sentences. Differences below `MARGINS` are called level.
    """
    free = [name for name in ROWS if name in table and name != method]
    if not free:
        return f"There is no interpolation to compare {method} with."
    rivals = {"linear": [name for name in free if name == "linear"]}
    rivals |= {"the best interpolation of each score": free}
    sentences, behind = [], False
    for rival, names in rivals.items():
        if not names:
            continue
        groups = _compared(table, method, names)
        behind |= bool(groups["worse"])
        said = [f"{word} in {_listed(items)}" for word, items in groups.items() if items]
        sentences.append(f"Against {rival}, {method} is {'; '.join(said) or 'not comparable'}.")
    if behind:
        sentences.append("Where it is worse, interpolation that costs nothing does better.")
    return " ".join(sentences)


def _compared(table: tables.Scores, method: str, rivals: list[str]) -> dict[str, list[str]]:
    """Group the scores of a method by whether they are better than those of its best rival."""
    groups: dict[str, list[str]] = {"better": [], "level": [], "worse": []}
    for metric, (margin, label, form, unit) in MARGINS.items():
        ours = table[method][metric]
        known = [(table[name][metric], name) for name in rivals if table[name][metric] is not None]
        if ours is None or not known:
            continue
        theirs, rival = max(known)
        gain = ours - theirs
        word = "level" if abs(gain) < margin else "better" if gain > 0 else "worse"
        named = f", {rival}" if len(rivals) > 1 else ""
        groups[word].append(f"{label} ({gain:{form}}{unit}{named})")
    return groups


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def plain(value: object) -> object:
    """Turn arrays and numpy scalars into what JSON holds; nan and inf into None (null there)."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
