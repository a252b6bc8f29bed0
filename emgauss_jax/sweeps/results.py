"""What came of the trials of a sweep: read, written, and tabulated."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from emgauss_jax.evaluation import sweep_table
from emgauss_jax.evaluation.report import ROWS
from emgauss_jax.evaluation.sweep_table import Entry
from emgauss_jax.execution.command import BAD_INPUT
from emgauss_jax.storage.files import read_json, write_json, write_text
from emgauss_jax.storage.run_dir import CONFIG, claim_workdir
from emgauss_jax.sweeps.trials import Trial, trial_folder

OUTCOME = "outcome.json"


class Outcome(NamedTuple):
    """What came of a trial: scores, or why there are none."""

    scores: dict[str, dict[str, float | None]] | None = None  # as in metrics.json, its own last
    step: int | None = None  # at which the fit failed, if it did
    reason: str = ""

    def __str__(self) -> str:
        return self.reason if self.step is None else f"step {self.step}: {self.reason}"


def recall(workdir: pathlib.Path, trial: Trial) -> Outcome | None:
    """Read what came of a trial.

    Args:
      workdir: of the sweep.
      trial: one without a problem.

    Returns:
      Its scores, or why it cannot be done there; None where it is to be done, a failed one again.
    """
    folder = trial_folder(workdir, trial.name)
    try:
        if (folder / CONFIG).exists():
            claim_workdir(folder, trial.config)  # it must be of the same config
        if (folder / OUTCOME).exists():
            outcome = Outcome(**read_json(folder / OUTCOME))
            return outcome if outcome.scores else None
    except BAD_INPUT as error:
        return Outcome(reason=str(error))
    return None


def record(folder: pathlib.Path, outcome: Outcome) -> None:
    """Write what came of a trial, unless its folder belongs to something else."""
    if (folder / CONFIG).exists():
        write_json(folder / OUTCOME, outcome._asdict())


def tabulate(
    trials: Sequence[Trial], outcomes: Mapping[str, Outcome | None], workdir: pathlib.Path
) -> list[Entry]:
    """Write table.csv and table.html of what is known so far, and return the same."""
    entries, rivals = [], []
    for trial in trials:
        outcome = outcomes[trial.name] or Outcome(reason="not done yet")
        if not outcome.scores:
            entries.append(Entry(trial.name, trial.changes, failure=" ".join(str(outcome).split())))
            continue
        *others, own = outcome.scores  # as metrics.json has them, its own last
        rivals = rivals or [
            Entry(name, scores=outcome.scores[name]) for name in others if name in ROWS
        ]
        link = quote(f"{trial_folder(pathlib.Path(), trial.name)}/report/report.html")
        entries.append(Entry(trial.name, trial.changes, outcome.scores[own], link=link))
    table = [*rivals, *entries]
    write_text(workdir / "table.csv", sweep_table.to_csv(table))
    write_text(workdir / "table.html", sweep_table.to_html(f"Sweep: {workdir.name}", table))
    return table
