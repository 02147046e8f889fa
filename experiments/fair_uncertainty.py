"""Does a network that closes the gap between groups of patients still know when it is wrong, for every group?

    python -m experiments.fair_uncertainty --task tumour --method groupdro
    python -m experiments.fair_uncertainty --study --seeds 5

After Mehta, Shui & Arbel 2023 (PMLR 227): three tasks, three methods of training, an ensemble of three networks with twenty dropout samples each.
Uncertain predictions are dropped, more and more of them, and the gap between groups is looked at over what remains. Data are simulated in the layouts
of BraTS, ISIC 2019 and ADNI; --data takes real ones.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxal.cli import command
from jaxal.data.simulated import atrophy, lesions, tumours
from jaxal.networks.resnet import ResNetConfig
from jaxal.networks.unet import UNetConfig
from jaxal.report import methods, terminal
from jaxal.scoring.members import MembersConfig
from jaxal.studies import common_options, fair, fair_tasks, option_types, revisit
from jaxal.studies.fair import FairPreset
from jaxal.training.config import TrainingConfig

TASKS = {"tumour": fair_tasks.tumour, "lesion": fair_tasks.lesion, "cognition": fair_tasks.cognition}
FEW = MembersConfig(networks=2, dropout=3)
UNET = UNetConfig(width=8, foreground_prior=0.05)
RESNET = ResNetConfig(architecture="small", width=16, groups=4, entry="narrow")
RESNET_3D = ResNetConfig(architecture="small", width=8, entry="narrow", norm="instance", space_rank=3, activation="prelu")
PRESETS = {
    ("tumour", "smoke"): FairPreset(tumours.TumoursConfig(24, 5.0, small_share=0.4), UNetConfig(width=4), TrainingConfig(steps=20, attempts=1), members=FEW),
    ("tumour", "small"): FairPreset(tumours.TumoursConfig(140, small_share=0.25), UNET, TrainingConfig(steps=300, batch_size=2)),
    ("lesion", "smoke"): FairPreset(
        lesions.LesionsConfig(160, (24, 24), dark_share=0.3), dataclasses.replace(RESNET, width=8), TrainingConfig(steps=20, batch_size=8, dice=False, attempts=1),
        members=FEW, size=(24, 24),
    ),
    ("lesion", "small"): FairPreset(
        lesions.LesionsConfig(2400, dark_share=0.2), RESNET, TrainingConfig(steps=400, batch_size=32, peak_rate=3e-3, dice=False, noise=0.0, flips=(0, 1)),
        size=(64, 64), batch_size=64,
    ),
    ("cognition", "smoke"): FairPreset(
        atrophy.AtrophyConfig(60, 5.0), dataclasses.replace(RESNET_3D, width=4), TrainingConfig(steps=20, batch_size=8, attempts=1), members=FEW, folds=5,
    ),
    ("cognition", "small"): FairPreset(
        atrophy.AtrophyConfig(300, 4.0), RESNET_3D, TrainingConfig(steps=300, batch_size=16, peak_rate=3e-3), folds=5,
    ),
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
    cohorts: Path = Path("runs/cohorts")
    """Where simulated data are kept, to be used again."""
    strategy: tyro.conf.Suppress[tuple[str, ...]] = ()
    uncertainty_curves: Annotated[bool, tyro.conf.Suppress] = True


def main(arguments: Arguments) -> int:
    """Trains, and returns the exit status."""
    return command.run(lambda display: _run(arguments, display), arguments.hosts, arguments.submission)


def _run(arguments: Arguments, display: terminal.Display) -> int:
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    out = arguments.out or Path("runs") / f"fair_uncertainty-{arguments.preset}"
    asked = fair_tasks.Asked(
        arguments,
        arguments.data,
        arguments.cohorts,
        arguments.group_column,
        option_types.edges(arguments.bins),
        arguments.targets,
    )
    for task in TASKS if arguments.study else [arguments.task]:
        preset = common_options.choose_sizes(arguments, PRESETS[task, arguments.preset])
        asked_methods = fair.all_methods() if arguments.study else [arguments.method]
        sources = fair.make_sources(task, TASKS[task](asked, preset, display), arguments, preset, asked_methods)
        if revisit.is_asked_for(arguments):
            return revisit.run(arguments, preset, sources[0], display)
        fair.run(arguments, preset, sources, out / task if arguments.study or not arguments.out else out, display)
    if arguments.study:
        display.note(f"Tasks and methods: {methods.write_methods(out, list(TASKS))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
