"""The report of a volume: metrics.json, and report.html with every picture inside."""

import json
from pathlib import Path

import numpy as np

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.intensity import IntensityRange
from emgauss_jax.evaluation import figures, page, tables
from emgauss_jax.metrics import scores
from emgauss_jax.metrics.calibration import calibrate
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


def write_report(
    folder: str | Path | None,
    reference: np.ndarray,
    predictions: dict[str, np.ndarray],
    hidden: np.ndarray,
    voxel_nm: object,
    title: str,
    notes: dict,
    seams: np.ndarray | None = None,
    expected: np.ndarray | None = None,
    method: str = "emgauss",
    lost: np.ndarray | None = None,
    grey_range: IntensityRange | None = None,
) -> dict:
    """Score predictions and write metrics.json and report.html.

    Args:
      folder: made if absent; both files are replaced whole. None: no file is written.
      reference: f32[D, H, W], intensity, data range 1.
      predictions: name -> f32[D, H, W]; in the tables interpolations come first, the method last.
      hidden: bool[D], the planes that were not observed and are scored.
      voxel_nm: nm, one number or (z, y, x).
      title: the page's heading.
      notes: name -> number, text or list, for the last table of the page.
      seams: bool[H, W], pixels near a border between blocks, scored apart; None for one block.
      expected: f32[D, H, W], estimated standard error; shown, and compared with the true error.
      method: the prediction that the page is about.
      lost: bool[D], planes of missing slices, scored apart; None, or all False, if none is missing.
      grey_range: the grey levels of intensity 0 and 1.

    Returns:
      What metrics.json holds: scores, curves, notes; seams, missing, expected_error and data_range
      (the two grey levels) if given. None (null in the file) stands for a score that a small volume
      does not allow, and for the infinite PSNR of equal data.

    Raises:
      InputError: the method is not among the predictions, or the shapes differ.
    """
    if method not in predictions:
        raise InputError(f"method: got {method!r}, wanted one of {sorted(predictions)}")
    if expected is not None and expected.shape != reference.shape:  # before minutes of scoring
        raise InputError(f"expected: got shape {expected.shape}, wanted {reference.shape}")
    names = [name for name in ROWS if name in predictions and name != method]
    names += [name for name in predictions if name not in (*names, method)] + [method]
    predictions = {name: predictions[name] for name in names}
    voxel_nm = np.array(np.broadcast_to(voxel_nm, 3), np.float64)
    result = _measure(predictions, reference, hidden, voxel_nm, seams, lost)
    if expected is not None:
        error = predictions[method] - reference
        result["expected_error"] = calibrate(expected[hidden], error[hidden])
    if grey_range is not None:
        result["data_range"] = [grey_range.low, grey_range.high]
    result = _plain(result | {"notes": notes})
    if folder is None:
        return result
    columns = {"input (nearest)": predictions.get("nearest"), "linear": predictions.get("linear")}
    columns |= {method: predictions[method], "reference": reference}
    planes = page.draw_planes(columns, (method, "reference"), hidden, voxel_nm, expected)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metrics.json", json.dumps(result, allow_nan=False))
    shown = _scored_page(title, result, planes, voxel_nm, method)
    write_text(folder / "report.html", page.render("report.html", **shown._asdict()))
    return result


def _measure(
    predictions: dict[str, np.ndarray],
    reference: np.ndarray,
    hidden: np.ndarray,
    voxel_nm: np.ndarray,
    seams: np.ndarray | None,
    lost: np.ndarray | None,
) -> dict:
    measured = scores.evaluate(predictions, reference, hidden, voxel_nm)
    result: dict = {"scores": measured.scores, "curves": measured.curves}
    if seams is not None:
        result["seams"] = {
            name: _seam_psnr(volume, reference, hidden, seams)
            for name, volume in predictions.items()
        }
    if lost is not None and lost.any():
        error = {name: np.square(v[lost] - reference[lost]) for name, v in predictions.items()}
        result["missing"] = {name: scores.decibel(each) for name, each in error.items()}
    return result


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
    volume: np.ndarray,
    nearest: np.ndarray,
    linear: np.ndarray,
    hidden: np.ndarray,
    voxel_nm: object,
    title: str,
    notes: dict,
    expected: np.ndarray | None = None,
    method: str = "emgauss",
    verdict: str = "",
) -> None:
    """Write report.html without scores, for a volume that has no reference.

    Args:
      folder: made if absent.
      volume: f32[D, H, W], the reconstruction, intensity, data range 1.
      nearest: f32[D, H, W], the nearest observed slice at every plane.
      linear: f32[D, H, W], linear interpolation.
      hidden: bool[D], planes that were not observed.
      voxel_nm: of the reconstruction, nm, one number or (z, y, x).
      title: the page's heading.
      notes: name -> number, text or list, for the last table of the page.
      expected: f32[D, H, W], estimated standard error, shown.
      method: the name of the method that made the volume.
      verdict: why there is no score; "": such planes were never acquired.

    Raises:
      InputError: the shapes differ.
    """
    for name, other in {"nearest": nearest, "linear": linear, "expected": expected}.items():
        if other is not None and other.shape != volume.shape:
            raise InputError(f"{name}: got shape {other.shape}, wanted {volume.shape}")
    columns = {"input (nearest)": nearest, "linear": linear, method: volume}
    voxel_nm = np.array(np.broadcast_to(voxel_nm, 3), np.float64)
    planes = page.draw_planes(columns, (method, "linear"), hidden, voxel_nm, expected)
    shown = page.Report(title, method, planes, _plain(notes), verdict=verdict)
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


def _seam_psnr(
    volume: np.ndarray, reference: np.ndarray, hidden: np.ndarray, seams: np.ndarray
) -> dict[str, float]:
    error = np.square(volume[hidden] - reference[hidden]).mean(axis=0, dtype=np.float64)
    parts = {"border": error[seams], "elsewhere": error[~seams]}
    return {
        name: scores.decibel(part) if part.size else float("nan") for name, part in parts.items()
    }


def _plain(value: object) -> object:
    """Turn arrays and numpy scalars into what JSON holds; nan and inf into None."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
