"""Run the rows of a sweep, each to a folder of its own, and tabulate them.

python -m emgauss_jax.sweep --config=NAME --workdir=DIR [--rows=PREFIX] \
    [--dry_run] [--rows_per_unit=N] [--cluster=local|slurm --workers=N --gpus=N] \
    [--config.KEY=VALUE ...]

Flags of a config go to every row, over the row's own. Rows that differ in learning rates, loss
weights or the EMA decay alone are one unit of work, fitted in one program, at most N of them; with
a cluster every worker does one unit at a time. Started again, finished rows are only tabulated
again, a unit that was killed goes on where it stopped, and rows that failed are tried again.
"""

import argparse
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from emgauss_jax.evaluation.sweep_table import to_markdown
from emgauss_jax.execution import workers
from emgauss_jax.execution.command import fail, line_of, stop, told_in_a_line
from emgauss_jax.execution.executors import checked_timeout
from emgauss_jax.execution.tpu_pods import refuse_tpu_pods
from emgauss_jax.storage.known_configs import known_configs
from emgauss_jax.storage.locks import locked
from emgauss_jax.sweeps import plan, run_sweep
from emgauss_jax.training.preemption import Preempted, end_at_sigterm


def parse() -> tuple[argparse.Namespace, dict[str, str]]:
    """Read the flags: the command's own, and the settings for every row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    sweeps = ", ".join(known_configs("sweeps"))
    parser.add_argument("--config", required=True, help=f"a file with sweep(add), or: {sweeps}")
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default="", help="only rows whose name starts with this")
    parser.add_argument("--dry_run", action="store_true", help="print the units and write nothing")
    parser.add_argument("--rows_per_unit", type=int, default=0, help="at most; 0: no limit")
    parser.add_argument("--cluster", choices=workers.KINDS, help="none: one unit after another")
    parser.add_argument("--workers", type=int, default=1, help="of the cluster")
    parser.add_argument("--gpus", type=int, default=0, help="to share out among workers")
    parser.add_argument("--task_timeout_s", type=float, help="of a unit, with a cluster: two days")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of bad input too")
    args, rest = parser.parse_known_args()
    if not args.cluster and (args.workers != 1 or args.gpus):
        parser.error("--workers, --gpus: wanted --cluster with them")
    for flag in rest:
        if not flag.startswith("--config.") or "=" not in flag:
            parser.error(f"flags: got {flag}, wanted --config.KEY=VALUE")
    return args, dict(flag.removeprefix("--config.").split("=", 1) for flag in rest)


def main() -> None:
    """Run a sweep from the command line and print its table; bad input is one line."""
    args, common = parse()
    end_at_sigterm()
    try:
        refuse_tpu_pods(os.environ)
        run(args, common)
    except Preempted as stopped:
        stop(stopped)
    except Exception as error:
        if args.debug or not told_in_a_line(error):
            raise
        fail(line_of(error))


def run(args: argparse.Namespace, common: dict[str, str]) -> None:
    """Run a sweep and print its table.

    Args:
      args: the command's flags.
      common: setting -> value, for every row.
    """
    trials = plan.read_trials(args.config, args.rows, common)
    batches = plan.group(trials, args.rows_per_unit)
    if args.dry_run:
        lines, problems = run_sweep.describe(batches, args.workdir)
        print("\n".join(lines))
        problems |= {trial.name: trial.problem for trial in trials if trial.problem}
    else:
        with locked(args.workdir / ".lock"):
            table = run_sweep.run_sweep(trials, batches, args.workdir.absolute(), chosen(args))
        print(to_markdown(table))
        problems = {entry.name: entry.failure for entry in table if entry.failure}
    if problems:
        names = {why: [n for n in problems if problems[n] == why] for why in problems.values()}
        told = "; ".join(f"{', '.join(those)}: {why}" for why, those in names.items())
        fail(f"{len(problems)} of {len(trials)} rows failed: {told}")


def chosen(args: argparse.Namespace) -> Any:
    """Choose how units are worked through."""
    timeout_s = checked_timeout(args.task_timeout_s, args.cluster)
    if not args.cluster:
        return workers.one_by_one

    def work(function: Any, batches: Any) -> Iterator[tuple[Any, Any]]:
        with workers.open_client(args.cluster, args.workers, args.gpus) as client:
            yield from workers.run_tasks(client, function, batches, timeout_s)

    return work


if __name__ == "__main__":
    main()
