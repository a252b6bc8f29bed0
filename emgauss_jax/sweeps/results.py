"""The outcomes of a sweep's trials: read, written, and tabulated."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from emgauss_jax.evaluation import sweep_table
from emgauss_jax.evaluation.report import ROWS
from emgauss_jax.evaluation.sweep_table import Entry
from emgauss_jax.execution.command import BAD_INPUT
from emgauss_jax.storage.files import read_record, write_json, write_text
from emgauss_jax.storage.run_dir import CONFIG, claim_workdir
from emgauss_jax.sweeps.trials import Trial, trial_folder

OUTCOME = "outcome.json"


class Outcome(NamedTuple):
    """The outcome of a trial: scores, or why there are none."""

    scores: dict[str, dict[str, float | None]] | None = None  # as in metrics.json, the trial's last
    step: int | None = None  # at which the fit failed, if it did
    reason: str = ""

    def __str__(self) -> str:
        return self.reason if self.step is None else f"step {self.step}: {self.reason}"


KINDS = {
    "scores": dict[str, dict[str, float | None]] | None, "step": int | None, "reason": str,
}  # fmt: skip


def recall(workdir: pathlib.Path, trial: Trial) -> Outcome | None:
    """Read the outcome of a trial.

    Args:
      workdir: of the sweep.
      trial: a trial without a problem.

    Returns:
      Its scores, or why it cannot run in its folder; None if it has not run, or has failed.
    """
    folder = trial_folder(workdir, trial.name)
    try:
        if (folder / CONFIG).exists():
            claim_workdir(folder, trial.config)  # it must have the same config
        if (folder / OUTCOME).exists():
            outcome = Outcome(**read_record(folder / OUTCOME, KINDS))
            return outcome if outcome.scores else None
    except BAD_INPUT as error:
        return Outcome(reason=str(error))
    return None


def record(folder: pathlib.Path, outcome: Outcome) -> None:
    """Write the outcome of a trial, if its folder is the workdir of a run."""
    if (folder / CONFIG).exists():
        write_json(folder / OUTCOME, outcome._asdict())


def tabulate(
    trials: Sequence[Trial], outcomes: Mapping[str, Outcome | None], workdir: pathlib.Path
) -> list[Entry]:
    """Write table.csv and table.html of the outcomes so far, and return their rows."""
    entries, rivals = [], []
    for trial in trials:
        outcome = outcomes[trial.name] or Outcome(reason="not done yet")
        if not outcome.scores:
            entries.append(Entry(trial.name, trial.changes, failure=" ".join(str(outcome).split())))
            continue
        *others, own = outcome.scores  # as in metrics.json, the trial's last
        rivals = rivals or [
            Entry(name, scores=outcome.scores[name]) for name in others if name in ROWS
        ]
        link = quote(f"{trial_folder(pathlib.Path(), trial.name)}/report/report.html")
        entries.append(Entry(trial.name, trial.changes, outcome.scores[own], link=link))
    table = [*rivals, *entries]
    write_text(workdir / "table.csv", sweep_table.to_csv(table))
    write_text(workdir / "table.html", sweep_table.to_html(f"Sweep: {workdir.name}", table))
    return table
