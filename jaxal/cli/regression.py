"""Active learning on your own scans with numbers, such as clinical scores: which case to ask a number of next.

    python -m jaxal.cli.regression --data TABLE --targets ADAS13 MMSE --strategy random total_variance epig --seeds 3

TABLE (.tsv or .csv) has a line for each case: participant_id, image (a file, relative to the table), the numbers, and perhaps columns of groups
(`jaxal/data/scans/targets.py` says all). It is read only. Numbers are taken from it, as if somebody told them on demand: the study tells which strategy
would have been worth following.
"""

import dataclasses
import sys
from typing import Literal

from jaxal.cli import command
from jaxal.studies import targets


@dataclasses.dataclass(frozen=True)
class Arguments(targets.TargetArguments):
    """Decides of which of your scans to ask numbers next, and reports how much of their variance is explained."""

    preset: Literal[tuple(targets.PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (a minute), small (minutes on two cores), paper (for a GPU, untried)."""


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run_study(lambda display: targets.run(arguments, display), arguments)


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
