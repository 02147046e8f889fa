"""Compares the runs of a study by their ledgers alone, whether they are finished or not, and wherever they were made.

    python -m jaxal.cli.compare docs/results/brain_caudate-small

Writes what a study writes at its end: comparison.csv, levels.csv, summary.csv, report.html and the learning curves. Nothing is trained.
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
from jaxal.report.levels import LEVELS
from jaxal.rounds.ledger import read_runs
from jaxal.studies import option_types, study


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares the runs of a study by their ledgers alone; nothing is trained."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Results folder of a study, with SETTING/STRATEGY/seed-N/rounds.jsonl below it."""
    levels: option_types.Reals = LEVELS
    """Levels of the main measure, such as Dice, of which is told how many labels it took to reach them."""


def main(arguments: Arguments) -> int:
    """Compares; returns the exit status."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: terminal.Display) -> int:
    folder = arguments.folder
    if strange := [level for level in arguments.levels if not 0 < level <= 1]:
        raise UserError(f"--levels holds {strange[0]:g}; a level is above 0 and at most 1.")
    if not read_runs(folder):
        raise UserError(f"{folder}: holds no finished round of a study (SETTING/STRATEGY/seed-N/rounds.jsonl).")
    with lock(folder):
        study.finish(folder, display, arguments.levels)
    return 0


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
