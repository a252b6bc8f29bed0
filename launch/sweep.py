"""Run the rows of a sweep one after the other, each in a folder of its own, and tabulate them.

python launch/sweep.py --sweep=configs/sweeps/NAME.py --workdir=DIR [--rows=PREFIX] \
    [--config.KEY=VALUE ...]

Flags of a config go to every row, after the row's own. Started again, finished rows are only
reported again, and a killed one goes on where it stopped.
"""

import argparse
import json
import pathlib
import runpy
import subprocess
import sys

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
COLUMNS = {"psnr": ".2f", "ssim_xy": ".3f", "fsim_xy": ".3f", "fsc_z": ".3f"}
RIVALS = ("linear", "linear_blur", "cubic", "cubic_mean")


def read_rows(sweep: pathlib.Path, prefix: str) -> dict[str, list[str]]:
    """Read a sweep: the flags of every row whose name starts with the prefix."""
    rows = {}

    def add(name: str, config: str, changes: dict | None = None) -> None:
        changed = [f"--config.{key}={value}" for key, value in (changes or {}).items()]
        rows[name] = [f"--config={CONFIGS / config}", *changed]

    runpy.run_path(str(sweep))["sweep"](add)
    return {name: flags for name, flags in rows.items() if name.startswith(prefix)}


def run_row(flags: list[str], workdir: pathlib.Path) -> dict:
    """Train one row and read its scores; one that is finished is only reported again.

    Raises:
      SystemExit: the training failed, which has said why, or there is no reference to score with.
    """
    command = [sys.executable, "-m", "emgauss_jax.train", *flags, f"--workdir={workdir}"]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    code = subprocess.run(command).returncode
    if code:
        raise SystemExit(code)
    metrics = workdir / "report" / "metrics.json"
    if not metrics.exists():
        raise SystemExit(f"{workdir}: got no scores, wanted --config.data.simulate_factor=K")
    return json.loads(metrics.read_text())["scores"]


def table(scores: dict[str, dict]) -> str:
    """Lay scores out as Markdown; the interpolations of the first row come first."""
    first = next(iter(scores.values()))
    lines = {name: values for name, values in first.items() if name in RIVALS}
    lines |= {name: row[list(row)[-1]] for name, row in scores.items()}
    head = "| row | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS) + "\n"

    def cell(value: float | None, form: str) -> str:
        return "n/a" if value is None else format(value, form)

    return head + "".join(
        f"| {name} | "
        + " | ".join(cell(values[column], form) for column, form in COLUMNS.items())
        + " |\n"
        for name, values in lines.items()
    )


def main() -> None:
    """Run a sweep from the command line; write its table to DIR/table.md and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sweep", type=pathlib.Path, required=True)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default="", help="only rows whose name starts with this")
    args, common = parser.parse_known_args()
    if not args.sweep.is_file():
        parser.error(f"--sweep: got {args.sweep}, wanted a file of configs/sweeps/")
    rows = read_rows(args.sweep, args.rows)
    if not rows:
        parser.error(f"--rows: got {args.rows!r}, with which no row of {args.sweep} starts")
    scores = {}
    for name, flags in rows.items():
        scores[name] = run_row([*flags, *common], args.workdir / name.replace(" ", "_"))
        (args.workdir / "table.md").write_text(table(scores))
    print(table(scores))


if __name__ == "__main__":
    main()
