"""The tables of the report, as HTML."""

from html import escape

from emgauss_jax.metrics.scores import DIRECTIONS

Group = tuple[str, str, dict[str, str]]  # heading, number format, metric -> column label
TABLES: tuple[tuple[Group, ...], ...] = (
    (
        ("PSNR, dB ↑", ".2f", {"psnr": "pooled"} | {f"psnr_{name}": name for name in DIRECTIONS}),
        ("SSIM ↑", ".3f", {f"ssim_{name}": name for name in DIRECTIONS}),
        ("FSIM ↑", ".3f", {f"fsim_{name}": name for name in DIRECTIONS}),
    ),
    (
        ("CF-PSNR (r 0.39), dB ↑", ".2f", {f"cf_psnr_{name}": name for name in DIRECTIONS}),
        ("along z ↑", ".3f", {"fsc_z": "fsc_z"}),
        ("resolution z, nm ↓", ".0f", {f"fsc_z_res_nm_{t}": f"0.{t[1:]}" for t in ("0143", "05")}),
        ("resolution, nm ↓", ".0f", {f"fsc_res_nm_{t}": f"0.{t[1:]}" for t in ("0143", "05")}),
    ),
)
MISSING: tuple[Group, ...] = (("PSNR, dB ↑", ".2f", {"psnr": "pooled"}),)
LEGEND = (
    "Best of each column in bold; n/a where the volume is too small or the data are equal. "
    "xy: mean over hidden slices. xz, yz: mean over axial planes, PSNR and SSIM on hidden rows "
    "only, FSIM and CF-PSNR on whole planes; FSIM on at most 32 planes each. fsc_z: mean Fourier "
    "shell correlation along z up to half of Nyquist; a uniform blur cannot change it. Resolution: "
    "the period at which the correlation first falls below 0.143 or 0.5; both volumes hold the "
    "observed slices, noise included, which flatters it, most of all in all directions together."
)


def score_tables(scores: dict[str, dict[str, float | None]], method: str) -> str:
    """Table the scores, baselines first, the best of each column in bold.

    Args:
      scores: name -> metric -> value or None, in the order of the rows.
      method: the row to mark.

    Returns:
      HTML.
    """
    tables = "".join(_table(scores, method, groups) for groups in TABLES)
    return f'<h2>Scores</h2>{tables}<p class="small">{LEGEND}</p>'


def missing_table(missing: dict[str, float | None], method: str) -> str:
    """Table the PSNR on missing slices alone.

    Args:
      missing: name -> dB or None.
      method: the row to mark.

    Returns:
      HTML.
    """
    scores = {name: {"psnr": value} for name, value in missing.items()}
    return (
        f"<h2>Missing slices</h2>{_table(scores, method, MISSING)}"
        '<p class="small">Over the planes of slices that were missing or left out as damaged.</p>'
    )


def seam_table(seams: dict[str, dict[str, float | None]]) -> str:
    """Table the PSNR near block borders beside that of the rest.

    Args:
      seams: name -> {"border", "elsewhere"} -> dB or None.

    Returns:
      HTML.
    """
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_number(values['border'], '.2f')}</td>"
        f"<td>{_number(values['elsewhere'], '.2f')}</td></tr>"
        for name, values in seams.items()
    )
    return (
        "<h2>Seams between blocks</h2><table><thead><tr><th rowspan=1>PSNR, dB</th>"
        f"<th>near a border</th><th>elsewhere</th></tr></thead><tbody>{rows}</tbody></table>"
        '<p class="small">Interpolation knows no blocks: its difference is that of the tissue. '
        "A method loses at seams only what it loses beyond that.</p>"
    )


def calibration(measured: dict[str, float | None]) -> str:
    """Say how well the expected error knows the true one.

    Args:
      measured: as `metrics.calibration.calibrate`, None for nan and inf.

    Returns:
      HTML.
    """
    return (
        '<h2>Where to trust it</h2><p class="small">Expected and true error on the hidden slices: '
        f"correlation {_number(measured['correlation'], '.2f')} voxel by voxel, both smoothed by "
        "3 px (1: it knows where the error is, 0: it does not); the true error is "
        f"{_number(measured['ratio'], '.2f')} times the expected one (root mean squares).</p>"
    )


def _table(scores: dict, method: str, groups: tuple[Group, ...]) -> str:
    top = "".join(
        f'<th class="group" colspan="{len(labels)}">{name}</th>' for name, _, labels in groups
    )
    labels = "".join(f"<th>{label}</th>" for group in groups for label in group[2].values())
    rows = {name: "" for name in scores}
    for name, form, columns in groups:
        for metric in columns:
            cells = {row: _number(values[metric], form) for row, values in scores.items()}
            best = _best([cell for cell in cells.values() if cell != "n/a"], name.endswith("↓"))
            for row, cell in cells.items():
                # Compared as printed, so that a tie on the page is a tie in bold.
                rows[row] += f"<td>{f'<b>{cell}</b>' if cell == best else cell}</td>"
    body = "".join(
        f"<tr{' class=ours' if row == method else ''}><td>{escape(row)}</td>{cells}</tr>"
        for row, cells in rows.items()
    )
    head = f'<tr><th rowspan="2">method</th>{top}</tr><tr>{labels}</tr>'
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _best(cells: list[str], lowest: bool) -> str | None:
    return (min if lowest else max)(cells, key=float) if cells else None
