"""Many configs, one table: from a file of configs/sweeps/ to rows, and from rows to units of work.

Rows that differ in traced numbers alone (learning rates, loss weights, the EMA decay) make one
unit: `emgauss_jax.sweeps.trial_batch` fits them all in one program.
"""

import functools
import hashlib
import json
import operator
import pathlib
import runpy
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from absl import flags
from ml_collections import config_dict, config_flags

from emgauss_jax.evaluation import sweep_table
from emgauss_jax.evaluation.report import ROWS
from emgauss_jax.evaluation.sweep_table import Entry
from emgauss_jax.execution.command import BAD_FLAGS, BAD_INPUT
from emgauss_jax.methods import registry
from emgauss_jax.pipeline.run import prepare
from emgauss_jax.pipeline.shared_network import check_learnable
from emgauss_jax.sweeps.trial_batch import Outcome, Row, Unit, recall, row_folder, run_unit
from emgauss_jax.training import optimizer
from emgauss_jax.training.hyperparams import Hyper
from emgauss_jax.training.problem import FitSettings

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def read_rows(sweep: pathlib.Path, prefix: str, common: Mapping[str, str]) -> list[Row]:
    """Read the rows of a sweep.

    Args:
      sweep: a file with `sweep(add)`, which calls add(name, file of configs/, changes) for each.
      prefix: only rows whose name starts with it.
      common: setting -> value, for every row, over the row's own.

    Raises:
      ValueError: no such file, no such row, or names that cannot be folders beside each other. A
        row whose config is bad has it as its `problem`, and raises nothing.
    """
    added: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def add(name: str, config: str, changes: Mapping[str, Any] | None = None) -> None:
        folder = row_folder(pathlib.Path(), name)
        taken = [each for each in added if _clash(folder, row_folder(pathlib.Path(), each))]
        if taken or not name.strip() or ".." in folder.parts or name.startswith("/"):
            raise ValueError(f"{sweep}: got row {name!r} beside {taken}, wanted a name of its own")
        added[name] = (config, changes or {})

    if not sweep.is_file():
        raise ValueError(f"config: got {sweep}, wanted a file of configs/sweeps/")
    try:
        runpy.run_path(str(sweep))["sweep"](add)
    except ValueError:
        raise
    except Exception as error:  # it is Python of the user's
        kind = type(error).__name__
        raise ValueError(f"{sweep}: got {kind} {error}, wanted Python with sweep(add)") from error
    rows = [_read_row(name, *row, common) for name, row in added.items() if name.startswith(prefix)]
    if not rows:
        raise ValueError(f"rows: got {prefix!r}, with which no row of {sweep} starts")
    return rows


def _clash(one: pathlib.Path, other: pathlib.Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _read_row(name: str, file: str, own: Mapping[str, Any], common: Mapping[str, str]) -> Row:
    changes = {key: common.get(key, str(value)) for key, value in own.items()}
    try:
        config = read_config(CONFIGS / file, changes | dict(common))
        if not config.data.simulate_factor:
            raise ValueError("data.simulate_factor: got 0, wanted 2 or more: rows are compared")
        return Row(name, changes, config, hyper_of(config))
    except BAD_INPUT as error:
        return Row(name, changes, None, None, str(error))


def read_config(file: pathlib.Path, changes: Mapping[str, str]) -> config_dict.ConfigDict:
    """Read a config as a command with these flags would.

    Args:
      file: with `get_config()`.
      changes: setting -> value as in --config.KEY=VALUE.

    Raises:
      ValueError: there is no such file or setting, or a value is not of its kind.
    """
    argv = ["", f"--config={file}", *(f"--config.{key}={value}" for key, value in changes.items())]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    try:
        values(argv)
        return values.config.copy_and_resolve_references()
    except (flags.Error, *BAD_FLAGS) as error:
        raise ValueError(f"{error}, wanted a key of the config") from None


def hyper_of(config: config_dict.ConfigDict) -> Hyper:
    """Take the traced numbers out of a config, as its problem would be `configured`.

    Raises:
      ValueError: a setting that cannot work.
    """
    settings = FitSettings(**config.train)
    method = registry.build(config.method, config, registry.Sampled())
    rates = optimizer.ends(config.optimizer.rates.to_dict())
    return Hyper(rates, dict(method.weights), settings.ema_decay)


def group(rows: Sequence[Row], limit: int = 0) -> list[Unit]:
    """Put rows together that one program can fit.

    Args:
      rows: those with a problem are in no unit.
      limit: the most rows of a unit; 0: none.

    Raises:
      ValueError: a limit below 0.
    """
    if limit < 0:
        raise ValueError(f"rows_per_unit: got {limit}, wanted 0 (all) or more")
    alike: dict[str, list[Row]] = {}
    for row in rows:
        if not row.problem:
            alike.setdefault(static_part(row.config, row.hyper), []).append(row)
    units = []
    for static, members in alike.items():
        size = limit or len(members)
        for first in range(0, len(members), size):
            key = hashlib.sha256(f"{static} {first}".encode()).hexdigest()[:12]
            units.append(Unit(key, tuple(members[first : first + size])))
    return units


def static_part(config: config_dict.ConfigDict, hyper: Hyper) -> str:
    """Write down a config without its traced numbers; equal texts make one program."""
    plain = json.loads(config.to_json())
    del plain["train"]["ema_decay"]
    plain["optimizer"]["rates"] = sorted(hyper.rates)
    for name in hyper.weights:
        *sections, last = name.split(".")
        del functools.reduce(operator.getitem, sections, plain[config.method])[last]
    return json.dumps(plain, sort_keys=True)


def describe(units: Sequence[Unit], workdir: pathlib.Path) -> tuple[list[str], dict[str, str]]:
    """Open and check what units would do, without doing it.

    Args:
      units: of the sweep.
      workdir: of the sweep; only read.

    Returns:
      Lines on the units and their rows; row -> what is wrong with it, for those that cannot be.
    """
    lines, problems = [], {}
    for unit in units:
        known = {row.name: recall(workdir, row) for row in unit.rows}
        problems |= {name: str(one) for name, one in known.items() if one and not one.scores}
        fits = f"{len(known)} rows"
        try:
            run = prepare(unit.rows[0].config)
            if run.problem.method.per_block:
                blocks = run.grid.count
                fits += f" x {blocks} blocks = {len(known) * blocks} fits"
            else:
                check_learnable(run)
                fits += f" = {len(known)} networks"
        except BAD_INPUT as error:
            problems |= dict.fromkeys(known, str(error))
        lines.append(f"unit {unit.key}: {fits}")
        lines += [
            f"  {name}{' (finished)' if one and one.scores else ''}" for name, one in known.items()
        ]
    return lines, problems


def run_sweep(
    rows: Sequence[Row],
    units: Sequence[Unit],
    workdir: pathlib.Path,
    work: Callable[..., Iterator[tuple[Unit, Any]]],
) -> list[Entry]:
    """Run what is not finished, and tabulate after every unit.

    Args:
      rows: all of them.
      units: their units.
      workdir: gets rows/, units/, table.csv and table.html.
      work: work(function, units) yields each with what the function returned or its exception.

    Returns:
      The table, the interpolations of the first row that has scores first.
    """
    outcomes = {
        row.name: Outcome(reason=row.problem) if row.problem else recall(workdir, row)
        for row in rows
    }
    known = {name for name, outcome in outcomes.items() if outcome}
    todo = [
        unit._replace(rows=tuple(r for r in unit.rows if r.name not in known)) for unit in units
    ]
    todo = [unit for unit in todo if unit.rows]
    workdir.mkdir(parents=True, exist_ok=True)
    for unit, result in work(functools.partial(run_unit, workdir), todo) if todo else ():
        if isinstance(result, BaseException):
            result = _crashed(workdir, unit, result)
        outcomes |= result
        tabulate(rows, outcomes, workdir)
    return tabulate(rows, outcomes, workdir)


def _crashed(workdir: pathlib.Path, unit: Unit, error: BaseException) -> dict[str, Outcome]:
    """Keep the traceback of a unit that ended in a fault of ours, or was killed."""
    path = workdir / "units" / unit.key / "traceback.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(traceback.format_exception(error)))
    reason = f"{type(error).__name__}, see units/{unit.key}/{path.name}"
    return {row.name: Outcome(reason=reason) for row in unit.rows}


def tabulate(
    rows: Sequence[Row], outcomes: Mapping[str, Outcome | None], workdir: pathlib.Path
) -> list[Entry]:
    """Write table.csv and table.html of what is known so far, and return the same."""
    entries, rivals = [], []
    for row in rows:
        outcome = outcomes[row.name] or Outcome(reason="not done yet")
        if not outcome.scores:
            entries.append(Entry(row.name, row.changes, failure=" ".join(str(outcome).split())))
            continue
        *others, own = outcome.scores  # as metrics.json has them, its own last
        rivals = rivals or [
            Entry(name, scores=outcome.scores[name]) for name in others if name in ROWS
        ]
        link = quote(f"{row_folder(pathlib.Path(), row.name)}/report/report.html")
        entries.append(Entry(row.name, row.changes, outcome.scores[own], link=link))
    table = [*rivals, *entries]
    (workdir / "table.csv").write_text(sweep_table.to_csv(table))
    (workdir / "table.html").write_text(sweep_table.to_html(f"Sweep: {workdir.name}", table))
    return table
