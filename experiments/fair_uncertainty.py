"""Does a network that closes the gap between groups of patients still know when it is wrong, for every group?

    python -m experiments.fair_uncertainty --task tumour --method groupdro
    python -m experiments.fair_uncertainty --study --seeds 5

After Mehta, Shui & Arbel 2023 (PMLR 227): three tasks, three methods of training, an ensemble of three networks with twenty dropout samples each.
Uncertain predictions are dropped, more and more of them, and the gap between groups is looked at over what remains. Data are simulated in the layouts
of BraTS, ISIC 2019 and ADNI; --data takes real ones.

One method with one seed takes minutes on two cores (docs/benchmarks.md), the study of five seeds an hour and a quarter. What it found is in
docs/study-fair-uncertainty.md.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxal.assessment.filtering import STEP, THRESHOLDS
from jaxal.cli import command
from jaxal.data.simulated import atrophy, lesions, tumours
from jaxal.errors import UserError
from jaxal.networks.resnet import ResNetConfig
from jaxal.networks.unet import UNetConfig
from jaxal.report import methods, terminal
from jaxal.report.gaps import HALFWAY
from jaxal.scoring.members import MembersConfig
from jaxal.studies import common_options, fair, fair_tasks, option_types, revisit
from jaxal.studies.fair import FairPreset
from jaxal.training.config import TrainingConfig
from jaxal.training.weighting import METHODS

TASKS = {"tumour": fair_tasks.tumour, "lesion": fair_tasks.lesion, "cognition": fair_tasks.cognition}
FEW = MembersConfig(networks=2, dropout=3)
UNET = UNetConfig(width=8)
RESNET = ResNetConfig(width=16, groups=4)
TINY_RESNET = ResNetConfig(architecture="small", width=8, groups=4, entry="narrow")
RESNET_3D = ResNetConfig(architecture="small", width=8, entry="narrow", norm="instance", space_rank=3, activation="prelu")
SHORT = TrainingConfig(steps=20, batch_size=8, attempts=1)
OF_TUMOURS = TrainingConfig(steps=300, batch_size=2)
OF_LESIONS = TrainingConfig(steps=1000, batch_size=32, peak_rate=3e-3, dice=False, noise=0.0, flips=(0, 1))
OF_SCORES = TrainingConfig(steps=300, batch_size=16, peak_rate=3e-3, dice=False)
# The paper's: Adam at these rates, which fall by 0.5 % an epoch, weights that decay by 1e-5.
PUBLISHED = TrainingConfig(batch_size=64, peak_rate=5e-4, decay_per_epoch=0.995, weight_decay=1e-5, clip_norm=None)
PRESETS = {
    "smoke": {
        "tumour": FairPreset(tumours.TumoursConfig(24, 5.0, small_share=0.4), UNetConfig(width=4), dataclasses.replace(SHORT, batch_size=2), members=FEW),
        "lesion": FairPreset(lesions.LesionsConfig(160, (24, 24), dark_share=0.3), TINY_RESNET, SHORT, members=FEW, size=(24, 24)),
        "cognition": FairPreset(atrophy.AtrophyConfig(60, 5.0), dataclasses.replace(RESNET_3D, width=4), SHORT, members=FEW, folds=5),
    },
    "small": {
        "tumour": FairPreset(tumours.TumoursConfig(200, small_share=0.2), UNET, OF_TUMOURS, test=0.5, batch_size=1),
        "lesion": FairPreset(lesions.LesionsConfig(3200, dark_share=0.12), RESNET, OF_LESIONS, test=0.5, size=(64, 64), batch_size=64),
        "cognition": FairPreset(atrophy.AtrophyConfig(400, 4.0), RESNET_3D, OF_SCORES, folds=5),
    },
    "paper": {
        "tumour": FairPreset(
            tumours.TumoursConfig(258, 1.0, small_share=0.23), UNetConfig(width=32, levels=4, dtype="bfloat16"),
            dataclasses.replace(PUBLISHED, steps=24_000, batch_size=2, peak_rate=2e-4), batch_size=1,
        ),
        "lesion": FairPreset(
            lesions.LesionsConfig(25_000, (224, 224)), ResNetConfig(dtype="bfloat16"), dataclasses.replace(PUBLISHED, steps=30_000, dice=False),
            size=(224, 224), batch_size=64,
        ),
        "cognition": FairPreset(
            atrophy.AtrophyConfig(603, 1.0), ResNetConfig(norm="instance", space_rank=3, activation="prelu", dtype="bfloat16"),
            dataclasses.replace(PUBLISHED, steps=12_000, batch_size=8, peak_rate=2e-4, dice=False), folds=5,
        ),
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Arguments(common_options.StudyArguments):
    """Trains networks by methods that differ in how groups of patients count, and asks whether they know when they are wrong."""

    task: Literal[tuple(TASKS)] = "tumour"  # type: ignore[valid-type]
    """tumour: brain tumours are segmented. lesion: kinds of skin lesions are told apart. cognition: clinical scores are predicted from brain MRI."""
    study: bool = False
    """All tasks by all methods, in place of --task and --method, and a page with tables and curves of them all."""
    preset: Literal["smoke", "small", "paper"] = "small"
    """Sizes: smoke (a minute), small (minutes on two cores), paper (for a GPU, untried)."""
    data: option_types.Place = None
    """Folder of BraTS, of ISIC 2019, or a table of targets, instead of the simulation."""
    group_column: option_types.Name = None
    """What makes the groups. Default: the volume of enhancing tumour, the tone of skin (of real images the age), the age."""
    bins: option_types.Edges = ()
    """Edges that cut a --group-column of numbers into groups. Default: as in the paper."""
    targets: option_types.Names = ()
    """Columns of the table that are to be predicted. Default: ADAS13 MMSE."""
    threshold: float = HALFWAY
    """Uncertainty above which predictions are dropped in the table of --study, from 0 to 100 in steps of 2.5; curves have all of them."""
    cohorts: Path = Path("runs/cohorts")
    """Where simulated data are kept, to be used again."""
    uncertainty_curves: Annotated[bool, tyro.conf.Suppress] = True
    # There is one training on everything, and so no query, whatever these say elsewhere.
    strategy: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    rounds: Annotated[int | None, tyro.conf.Suppress] = None
    query_size: Annotated[int | None, tyro.conf.Suppress] = None
    initial_size: Annotated[int | None, tyro.conf.Suppress] = None
    training: Annotated[Literal["scratch", "warm"], tyro.conf.Suppress] = "scratch"
    full: Annotated[bool | None, tyro.conf.Suppress] = True
    score_only: Annotated[Path | None, tyro.conf.Suppress] = None
    calibrate: Annotated[Literal["none", "temperature"], tyro.conf.Suppress] = "none"


def main(arguments: Arguments) -> int:
    """Trains, and returns the exit status."""
    return command.run(lambda display: _run(arguments, display), arguments.hosts, arguments.submission)


def _run(arguments: Arguments, display: terminal.Display) -> int:
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    out = arguments.out or Path("runs") / f"fair_uncertainty-{arguments.preset}"
    common_options.check_numbers(arguments, arguments.data, out)
    _check(arguments)
    asked = fair_tasks.Asked(
        arguments,
        arguments.data,
        arguments.cohorts,
        arguments.group_column,
        option_types.edges(arguments.bins),
        arguments.targets,
    )
    for task in TASKS if arguments.study else [arguments.task]:
        preset = common_options.choose_sizes(arguments, PRESETS[arguments.preset][task])
        asked_methods = list(METHODS) if arguments.study else [arguments.method]
        sources = fair.make_sources(TASKS[task](asked, preset, display), arguments, preset, asked_methods)
        if revisit.is_asked_for(arguments):
            return revisit.run(arguments, preset, sources[0], display)
        fair.run(arguments, preset, sources, out / task, display)
    if arguments.study:
        display.note(f"Tasks and methods: {methods.write_methods(out, list(TASKS), arguments.threshold)}")
    return 0


def _check(arguments: Arguments) -> None:
    """Refuses what this study does not have, or what all tasks together cannot have."""
    if arguments.threshold not in THRESHOLDS:
        raise UserError(f"--threshold is {arguments.threshold:g}; it must be from 0 to 100, in steps of {STEP:g}.")
    if not arguments.study:
        if arguments.threshold != HALFWAY:
            raise UserError(
                "--threshold is for the table of --study; of one method the curves have all thresholds. Leave it out."
            )
        return
    if arguments.data:
        raise UserError("--study simulates the data of all tasks; --data is of one. Give --task, too, without --study.")
    one = {
        "method": arguments.method != "erm",
        "group-column": arguments.group_column,
        "bins": arguments.bins,
        "targets": arguments.targets,
    }
    if given := [name for name, is_given in one.items() if is_given]:
        raise UserError(f"--{given[0]} is for one task and method, and --study goes through all of them. Leave one of both out.")


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
