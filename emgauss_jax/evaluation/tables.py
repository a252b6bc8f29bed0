"""The tables of the report: numbers as printed, and which of a column is the best."""

from collections.abc import Iterable
from typing import NamedTuple

from emgauss_jax.metrics.scores import DIRECTIONS

Scores = dict[str, dict[str, float | None]]  # row -> metric -> value, None for what is unknown
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
UNKNOWN = "n/a"


class Table(NamedTuple):
    """A table of scores, ready to be laid out."""

    groups: tuple[Group, ...]  # of columns
    rows: dict[str, list[tuple[str, bool]]]  # row -> (number as printed, best of its column?)


def tabulate(scores: Scores, groups: tuple[Group, ...]) -> Table:
    """Print scores and mark the best of each column.

    Args:
      scores: in the order of the rows.
      groups: the columns; a heading that ends in ↓ stands over scores that are better when lower.
    """
    rows: dict[str, list[tuple[str, bool]]] = {name: [] for name in scores}
    for heading, form, columns in groups:
        for metric in columns:
            texts = [number(values[metric], form) for values in scores.values()]
            chosen = best(texts, heading.endswith("↓"))
            for cells, text in zip(rows.values(), texts, strict=True):
                cells.append((text, text == chosen))
    return Table(groups, rows)


def number(value: float | None, form: str) -> str:
    """Print a number by a format such as ".2f"; None as n/a."""
    return UNKNOWN if value is None else format(value, form)


def best(texts: Iterable[str], lowest: bool) -> str | None:
    """Find the best of a column as printed, so that all that tie on the page are marked.

    Args:
      texts: numbers, as `number` prints them.
      lowest: whether less is better.

    Returns:
      One of the texts; None where all are n/a.
    """
    known = [text for text in texts if text != UNKNOWN]
    return (min if lowest else max)(known, key=float, default=None)
