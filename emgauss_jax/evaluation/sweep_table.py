"""The table of a sweep: CSV with every score, HTML that can be sorted, Markdown for a terminal."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from emgauss_jax.evaluation import page, tables

# score -> number format, and whether more (↑) or less (↓) is better; seconds depend on the machine
COLUMNS = {
    "psnr": (".2f", "↑"),
    "ssim_xy": (".3f", "↑"),
    "fsim_xy": (".3f", "↑"),
    "cf_psnr_xy": (".2f", "↑"),
    "fsc_z": (".3f", "↑"),
    "fsc_z_res_nm_05": (".0f", "↓"),
    "fit_s": (".0f", "↓"),
    "draw_s": (".0f", "↓"),
}


class Entry(NamedTuple):
    """One row of the table: a trial, or an interpolation to compare it with."""

    name: str
    changes: Mapping[str, str] = {}  # setting -> value, where it differs from the config file
    scores: Mapping[str, float | None] = {}
    failure: str = ""  # why there are no scores
    link: str = ""  # to the report


def to_csv(entries: Sequence[Entry]) -> str:
    """Write a line per entry with every setting and score, in full precision."""
    settings = _names(entry.changes for entry in entries)
    scores = _names(entry.scores for entry in entries)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *settings, *scores, "failure"])
    for entry in entries:
        changes = [entry.changes.get(name, "") for name in settings]
        values = [entry.scores.get(name) for name in scores]
        writer.writerow([entry.name, *changes, *values, entry.failure])
    return text.getvalue()


def to_markdown(entries: Sequence[Entry]) -> str:
    """Write the main scores as a Markdown table, the best of each column in bold."""
    best = _best(entries)
    lines = ["| row | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for entry in entries:
        cells = [f"failed: {entry.failure}", *[""] * (len(COLUMNS) - 1)]
        if not entry.failure:
            texts = _texts(entry)
            cells = [f"**{text}**" if text == best[name] else text for name, text in texts.items()]
        lines.append(f"| {entry.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def to_html(title: str, entries: Sequence[Entry]) -> str:
    """Write an HTML page of the main scores, sorted by a click on a heading.

    Args:
      title: plain text.
      entries: in the order of the rows before any click.
    """
    return page.render(
        "sweep_table.html",
        title=title,
        settings=_names(entry.changes for entry in entries),
        columns=COLUMNS,
        rows=[(entry, _texts(entry)) for entry in entries],
        best=_best(entries),
    )


def _texts(entry: Entry) -> dict[str, str]:
    """Print the main scores of an entry."""
    return {
        name: tables.number(entry.scores.get(name), form) for name, (form, _) in COLUMNS.items()
    }


def _best(entries: Sequence[Entry]) -> dict[str, str | None]:
    """Find the best of each column, as printed."""
    texts = [_texts(entry) for entry in entries]
    return {
        name: tables.best([each[name] for each in texts], arrow == "↓")
        for name, (_, arrow) in COLUMNS.items()
    }


def _names(groups: Iterable[Mapping]) -> list[str]:
    """List the keys of several mappings, each once, in order of first appearance."""
    return list(dict.fromkeys(name for group in groups for name in group))
