"""One table of many runs: CSV with every score, HTML to sort, Markdown for a terminal."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from emgauss_jax.evaluation import page

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

STYLE = """
<style>th { cursor: pointer; } td:last-child { white-space: normal; }
tr.failed td { background: #fdf1ef; color: #555; }</style>
"""
# A click on a heading sorts by its column, a second one the other way round; blanks stay last.
SORT = """
<script>
const number = text => parseFloat(text.replace(/^[(\\[]/, ""));  // of a tuple, its first
function compare(a, b) {
  const [x, y] = [number(a), number(b)];
  return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
}
document.querySelectorAll("th").forEach((heading, column) => heading.onclick = () => {
  const body = document.querySelector("tbody");
  const sign = heading.dataset.sign = heading.dataset.sign === "-1" ? "1" : "-1";
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  body.append(...[...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return x === "" || y === "" ? (x === "") - (y === "") : sign * compare(x, y);
  }));
});
</script>
"""


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
    settings, best = _names(entry.changes for entry in entries), _best(entries)
    heads = [("row", "row"), *((name, name.rpartition(".")[2]) for name in settings)]
    heads += [
        *((name, f"{name} {arrow}") for name, (_, arrow) in COLUMNS.items()),
        ("failure", "failure"),
    ]
    head = "".join(f'<th title="{escape(long)}">{escape(short)}</th>' for long, short in heads)
    rows = "".join(_html_row(entry, settings, best) for entry in entries)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    note = '<p class="small">Click a heading to sort. Best of each column in bold.</p>'
    return page.document(title, [f"<h1>{escape(title)}</h1>", STYLE, table, note, SORT])


def _html_row(entry: Entry, settings: Sequence[str], best: Mapping[str, str | None]) -> str:
    name = escape(entry.name)
    cells = (
        f'<td><a href="{escape(entry.link)}">{name}</a></td>' if entry.link else f"<td>{name}</td>"
    )
    cells += "".join(f"<td>{escape(entry.changes.get(each, ''))}</td>" for each in settings)
    for column, text in _texts(entry).items():
        value = entry.scores.get(column)
        shown = f"<b>{text}</b>" if text == best[column] else text
        cells += f'<td data-value="{"" if value is None else value}">{shown}</td>'
    mark = ' class="failed"' if entry.failure else ""
    return f"<tr{mark}>{cells}<td>{escape(entry.failure)}</td></tr>"


def _texts(entry: Entry) -> dict[str, str]:
    """Print the main scores of an entry."""
    values = {name: entry.scores.get(name) for name in COLUMNS}
    return {
        name: "n/a" if value is None else format(value, COLUMNS[name][0])
        for name, value in values.items()
    }


def _best(entries: Sequence[Entry]) -> dict[str, str | None]:
    """Find the best of each column, compared as printed, so that a tie is one in bold too."""
    texts = [_texts(entry) for entry in entries]
    return {
        name: (max if arrow == "↑" else min)(
            (each[name] for each in texts if each[name] != "n/a"), key=float, default=None
        )
        for name, (_, arrow) in COLUMNS.items()
    }


def _names(groups: Iterable[Mapping]) -> list[str]:
    """List the names of some mappings, each once, in the order they first come in."""
    return list(dict.fromkeys(name for group in groups for name in group))
