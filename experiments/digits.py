"""Active learning for classification without any download: handwritten digits, made hard.

    python -m experiments.digits --strategy aeig
    python -m experiments.digits --study

About 1200 real scans of handwritten digits (scikit-learn's) in five classes with the frequencies of the diabetic retinopathy study of the
information-gain paper, partly covered and noisy (`jaxal/data/simulated/digits.py`), by the paper's protocol: 10 % labelled at the start, six trainings, 6 % a
query. The study, 90 runs, takes 16 minutes on two cores. To expect there (five seeds; `docs/study-digits.md` has all of it): AUC 0.959 with all
labels; 95 % of it with 21 % of the labels for coreset, 22 for bald, 24 for entropy, 28 for aeig, 38 for random; eig does not get there.
"""

import dataclasses
import sys
from typing import Literal

from jaxal.cli import command
from jaxal.data.simulated.digits import make_digits
from jaxal.leaderboard.studies import DIGITS
from jaxal.scoring.members import MembersConfig
from jaxal.studies import images

PRESETS = {
    "smoke": images.ImagePreset(
        (8, 8),
        2,
        0.1,
        0.03,
        0.15,
        0.35,
        DIGITS.network,
        dataclasses.replace(DIGITS.training, steps=30, steps_per_case=0),
        MembersConfig(dropout=4),
    ),
    "small": DIGITS,
}


@dataclasses.dataclass(frozen=True)
class Arguments(images.ImageArguments):
    """Decides which handwritten digits to label next; nothing is downloaded."""

    preset: Literal[tuple(PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (a minute), small (two cores)."""


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run_study(
        lambda display: images.run_without_download("digits", PRESETS, lambda _: make_digits(), arguments, display),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
