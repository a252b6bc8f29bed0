"""The HTML of the report: plain markup, a little CSS, no script, every picture embedded."""

from html import escape

import numpy as np

from emgauss_jax.evaluation import figures

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 1320px; margin: 24px auto; padding: 0 10px; }
h1 { font-size: 24px; margin: 0 0 8px; } h2 { font-size: 18px; margin: 28px 0 6px; }
h3 { font-size: 15px; margin: 16px 0 4px; }
.verdict { border-left: 4px solid #d1342c; background: #f6f6f4; padding: 8px 14px; }
.small { color: #555; font-size: 13px; margin: 4px 0; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums;
        margin: 8px 0 14px; }
th, td { padding: 3px 11px; text-align: right; border-bottom: 1px solid #ddd; }
th { font-weight: 600; white-space: nowrap; } th[rowspan], td:first-child { text-align: left; }
thead th.group { text-align: center; } tr.ours td { background: #fdf1ef; }
.notes td { text-align: left; vertical-align: top; }
.row { display: flex; gap: 8px; align-items: flex-start; } figure { margin: 0; }
figcaption { font-size: 13px; margin-bottom: 2px; } .image { position: relative; }
.image img { display: block; width: 100%; height: 100%; image-rendering: pixelated; }
.bar { position: absolute; left: 8px; bottom: 7px; border-bottom: 4px solid #fff; color: #fff;
       font-size: 12px; line-height: 17px; text-align: center; white-space: nowrap;
       text-shadow: 0 0 2px #000, 0 0 4px #000; filter: drop-shadow(0 0 1px #000); }
.scale { display: flex; gap: 8px; align-items: center; font-size: 13px; margin: 6px 0; }
.scale img { width: 212px; height: 12px; }
"""

EXPECTED = (
    "Expected error: one standard deviation, estimated from how far all that a plane was made of "
    "disagrees, and scaled to the error on observed slices that were hidden."
)


def heading(title: str, verdict: str) -> str:
    """Open the page with its title and what it found, in words.

    Args:
      title: plain text.
      verdict: plain text.

    Returns:
      HTML.
    """
    return f'<h1>{escape(title)}</h1><p class="verdict">{escape(verdict)}</p>'


def panels(
    columns: dict[str, np.ndarray | None],
    compared: tuple[str, str],
    hidden: np.ndarray,
    voxel_nm: np.ndarray,
    expected: np.ndarray | None = None,
) -> str:
    """Show three planes of every volume side by side, and maps of difference and expected error.

    Args:
      columns: caption -> f32[D, H, W]; None is left out.
      compared: captions of the two whose absolute difference is mapped; the second sets the grey
        window of all panels.
      hidden: bool[D].
      voxel_nm: f64[3], (z, y, x), nm.
      expected: f32[D, H, W], standard error, drawn on the scale of the difference.

    Returns:
      HTML.
    """
    columns = {name: volume for name, volume in columns.items() if volume is not None}
    first, second = columns[compared[0]], columns[compared[1]]
    views = figures.choose_views(second.shape, hidden, voxel_nm)
    shown = np.concatenate([second[view.plane].ravel() for view in views])
    window = tuple(np.percentile(shown, (0.5, 99.5)))
    errors = [np.abs(first[view.plane] - second[view.plane]) for view in views]
    scaled = errors
    if expected is not None:
        scaled = [*errors, *(expected[view.plane] for view in views)]
    highest = max(np.percentile(np.concatenate([e.ravel() for e in scaled]), 99.5), 0.01)
    parts = ["<h2>Planes</h2>"]
    for view, error in zip(views, errors, strict=True):
        uris = {
            name: figures.grey_uri(volume[view.plane], window) for name, volume in columns.items()
        }
        uris[f"|{compared[0]} - {compared[1]}|"] = figures.error_uri(error, highest)
        if expected is not None:
            uris["expected error"] = figures.error_uri(expected[view.plane], highest)
        parts.append(f"<h3>{_where(view, hidden)}</h3>{_row(uris, view)}")
    parts.append(
        f'<div class="scale">|{escape(compared[0])} - {escape(compared[1])}|'
        f"{' and expected error' if expected is not None else ''}: 0 "
        f'<img alt="colour bar" src="{figures.color_bar_uri()}"> '
        f"{highest:.3f} of the grey range ({255 * highest:.0f} of 255 grey levels)</div>"
        '<p class="small">Windows around the centre, magnified by whole numbers without '
        "smoothing; one grey window for all. "
        f"{EXPECTED if expected is not None else ''}</p>"
    )
    return "".join(parts)


def _where(view: figures.View, hidden: np.ndarray) -> str:
    if view.direction != "xy":
        return f"{view.direction} at {'y' if view.direction == 'xz' else 'x'} = {view.index}"
    measured = np.flatnonzero(~hidden)
    if measured.size == 0:
        return f"xy at z = {view.index}"
    distance = np.abs(measured - view.index).min()
    return f"xy at z = {view.index}, {distance} planes from the nearest observed slice"


def _row(uris: dict[str, str], view: figures.View) -> str:
    height, width = view.size
    length, text = figures.scale_bar(view)
    bar = f'<span class="bar" style="width:{length}px">{text}</span>'
    cells = []
    for name, uri in uris.items():
        cells.append(
            f'<figure style="width:{width}px"><figcaption>{escape(name)}</figcaption>'
            f'<div class="image" style="width:{width}px;height:{height}px">'
            f'<img alt="{escape(name)}, {view.direction}" src="{uri}">{bar}</div></figure>'
        )
        bar = ""  # one bar serves the row
    return f'<div class="row">{"".join(cells)}</div>'


def picture(title: str, uri: str) -> str:
    """Show one wide picture under a heading.

    Args:
      title: plain text.
      uri: the picture as a data URI.

    Returns:
      HTML.
    """
    return f'<h2>{escape(title)}</h2><img alt="{escape(title)}" style="width:100%" src="{uri}">'


def notes(items: dict[str, object]) -> str:
    """List what else was recorded.

    Args:
      items: name -> value, printed as Python prints it.

    Returns:
      HTML; empty where there is nothing to list.
    """
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in items.items()
    )
    return f'<h2>Notes</h2><table class="notes">{rows}</table>' if rows else ""


def document(title: str, body: list[str]) -> str:
    """Put the parts into one HTML document.

    Args:
      title: plain text.
      body: HTML, in order.

    Returns:
      The file's text.
    """
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )
