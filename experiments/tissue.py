"""Active learning for classification of brain tissue without any download: patches of a real T1-weighted template.

    python -m experiments.tissue --strategy aeig
    python -m experiments.tissue --study

20000 patches of 24 x 24 mm of the MNI152 T1 that nilearn ships, with scanner noise, in five classes by what is at their centre, with the
frequencies of the diabetic retinopathy study of the information-gain paper (`jaxal/data/tissue.py`).
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from experiments import command, images, revisit, study
from jaxal import report
from jaxal.data.tissue import TissueConfig, make_tissue
from jaxal.members import MembersConfig
from jaxal.networks.resnet import ResNetConfig
from jaxal.training import TrainingConfig

NETWORK = ResNetConfig(architecture="small", width=16, groups=4, entry="narrow")
TRAINING = TrainingConfig(
    steps=150, warm_steps=60, steps_per_case=1, batch_size=32, peak_rate=3e-3, dice=False, noise=0.0, flips=(0, 1)
)
PRESETS = {
    "smoke": images.ImagePreset(
        (16, 16),
        2,
        0.05,
        0.02,
        0.15,
        0.3,
        NETWORK,
        dataclasses.replace(TRAINING, steps=20, steps_per_case=0),
        MembersConfig(dropout=4),
    ),
    "small": images.ImagePreset((24, 24), 6, 0.005, 0.005, 0.1, 0.3, NETWORK, TRAINING, batch_size=128),
}
PATCHES = {"smoke": 1_500, "small": 20_000}


@dataclasses.dataclass(frozen=True)
class Arguments(images.ImageArguments):
    """Decides which patches of a brain to label next, round after round; nothing is downloaded."""

    preset: Literal[tuple(PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (a minute), small (two cores)."""


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run(lambda display: _run(arguments, display), arguments.hosts)


def _run(arguments: Arguments, display: report.Display) -> int:
    arguments = images.with_study(arguments)
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    out = arguments.out or Path("runs") / f"tissue-{arguments.preset}"
    study.check_options(arguments, None, out)
    preset = PRESETS[arguments.preset]
    config = TissueConfig(PATCHES[arguments.preset])
    found = images.read_images(make_tissue(config), arguments, preset.size, False, display)
    return images.run(arguments, preset, found, {"name": "tissue", **dataclasses.asdict(config)}, out, display)


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
