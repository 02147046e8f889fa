"""Compares the runs of a study by their ledgers alone, whether they are finished or not, and wherever they were made.

    python -m jaxal.cli.compare docs/results/brain_caudate-small

Writes what a study writes at its end: comparison.csv, summary.csv, report.html and the learning curves. Nothing is trained.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxal.cli import command
from jaxal.errors import UserError
from jaxal.files import lock
from jaxal.report import terminal
from jaxal.rounds.ledger import read_runs
from jaxal.studies import study


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares the runs of a study by their ledgers alone; nothing is trained."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Results folder of a study, with SETTING/STRATEGY/seed-N/rounds.jsonl below it."""


def main(arguments: Arguments) -> int:
    """Compares; returns the exit status."""
    return command.run(lambda display: _run(arguments.folder, display))


def _run(folder: Path, display: terminal.Display) -> int:
    if not read_runs(folder):
        raise UserError(f"{folder}: holds no finished round of a study (SETTING/STRATEGY/seed-N/rounds.jsonl).")
    with lock(folder):
        study.finish(folder, display)
    return 0


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
