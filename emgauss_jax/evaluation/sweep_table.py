"""One table of many runs: CSV with every score, HTML to sort, Markdown for a terminal."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from emgauss_jax.evaluation import page, tables

# Number format, and whether more (↑) or less (↓) is better; seconds as one machine took them.
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
    """One row: a run, or a rival that costs nothing."""

    name: str
    changes: Mapping[str, str] = {}  # setting -> value, where it differs from its config's file
    scores: Mapping[str, float | None] = {}
    failure: str = ""  # why there are no scores
    link: str = ""  # to its report


def to_csv(entries: Sequence[Entry]) -> str:
    """Write every score of every entry, a line each, in full precision."""
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
    """Lay the main scores out as Markdown, the best of each column in bold."""
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
    """Write a page of its own: sorted by a click on a column, the best of each in bold.

    Args:
      title: plain text.
      entries: in the order the page begins with.
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
    """List the names of some mappings, each once, in the order they first come in."""
    return list(dict.fromkeys(name for group in groups for name in group))
