"""What studies on scans with numbers share: their options, and how a table of scans and numbers becomes a task of regression."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxal import hosts
from jaxal.data.cases import Splits, initial_set, split
from jaxal.data.scans.folder import FolderConfig, Ready
from jaxal.data.scans.new import read_new_table
from jaxal.data.scans.targets import load_targets, make_targets_ready
from jaxal.errors import UserError
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.scaled import with_scale
from jaxal.report import terminal
from jaxal.rounds.identity import decisive
from jaxal.rounds.prediction import NewCases
from jaxal.rounds.setup import Task
from jaxal.scoring.members import MembersConfig
from jaxal.studies import common_options, option_types, revisit, scans, study
from jaxal.studies.workers import alone
from jaxal.task_kind import TaskKind
from jaxal.tasks.regression import REGRESSION
from jaxal.training.config import TrainingConfig, settings_of
from jaxal.types import Case

MEANT = (
    "It takes a table (.tsv or .csv) with a line for each case: participant_id, image (a file), numbers to predict, and perhaps columns of groups "
    "(docs/fairness.md)."
)
TARGETS = ("ADAS13", "MMSE")


@dataclasses.dataclass(frozen=True)
class TargetPreset:
    """Sizes of a study on scans with numbers.

    Attributes:
      rounds, query_size, initial_size: see `common_options.StudyArguments`.
      evaluation, test: shares of the cases that go to these splits.
      network, training: configuration.
      members: whose disagreement uncertainty is.
      batch_size: cases scored at once on each device.
    """

    rounds: int
    query_size: int
    initial_size: int
    network: ResNetConfig
    training: TrainingConfig
    evaluation: float = 0.15
    test: float = 0.3
    members: MembersConfig = MembersConfig()  # noqa: RUF009 (frozen)
    batch_size: int = 8


NETWORK = ResNetConfig(architecture="small", width=8, entry="narrow", norm="instance", space_rank=3, activation="prelu")
TRAINING = TrainingConfig(steps=300, warm_steps=100, batch_size=8, peak_rate=3e-3, dice=False)
PRESETS = {
    "smoke": TargetPreset(
        2,
        4,
        12,
        dataclasses.replace(NETWORK, width=4),
        dataclasses.replace(TRAINING, steps=20, attempts=1),
        members=MembersConfig(dropout=4),
    ),
    "small": TargetPreset(5, 12, 24, NETWORK, TRAINING),
    "paper": TargetPreset(
        5,
        24,
        48,
        ResNetConfig(norm="instance", space_rank=3, activation="prelu", dtype="bfloat16"),
        TrainingConfig(steps=4000, batch_size=8, peak_rate=2e-4, weight_decay=1e-5, decay_per_epoch=0.995, dice=False),
    ),
}


@dataclasses.dataclass(frozen=True)
class TargetArguments(common_options.StudyArguments):
    """Options of studies on scans with numbers."""

    strategy: option_types.strategies("total_variance") = ("total_variance",)  # type: ignore[valid-type]
    data: option_types.Place = None
    """The table of scans and numbers; needed, but for --score-only and --predict-only."""
    targets: option_types.Names = TARGETS
    """Columns of numbers that are to be predicted."""
    channels: option_types.Names = ()
    """Columns of image files, one for each channel. Default: image."""
    group_column: option_types.Name = None
    """Column of the table that names each case's group. Default: group; without it nobody has a group."""
    bins: option_types.Edges = ()
    """Edges that cut a --group-column of numbers into groups, such as 60 75 or 60,75."""
    quantiles: option_types.Number = None
    """Groups of equal size for a --group-column of many different numbers, where no --bins are given. Default: two."""

    @property
    def kind(self) -> TaskKind:
        return REGRESSION


def read_table(table: Path, targets: Sequence[str], prepared: Path, config: FolderConfig, display: terminal.Display) -> Ready:
    """Makes the scans of a table ready, showing how far it is; of several hosts the leader does it."""
    if hosts.is_leader():
        ready = make_targets_ready(table, targets, prepared, config, scans.showing_on(display), lambda: alone(prepared, display))
    hosts.share_json(None)  # the others find the leader's files
    return ready if hosts.is_leader() else make_targets_ready(table, targets, prepared, config)


def make_task(
    ready: Ready,
    network: ResNetConfig,
    splits: Splits,
    initial: Sequence[Case],
    training: TrainingConfig,
    sections: Mapping[str, Any],
) -> Task:
    """Puts the parts together; the network learns in units of the numbers that are known at the start.

    Args:
      ready: prepared scans.
      network: configuration.
      splits: of the cases.
      initial: cases that are labelled at the start.
      training: configuration.
      sections: settings that decide results.
    """
    known = np.array([case.label.values for case in initial if case.label])
    deviation = known.std(0)
    model = resnet(dataclasses.replace(network, classes=2 * known.shape[1]))
    return Task(
        kind=REGRESSION,
        model=with_scale(model, tuple(known.mean(0).tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist())),
        dataset=ready.dataset,
        splits=splits,
        initial=initial,
        load=lambda case: load_targets(case, ready.dataset),
        training=training,
        origin=ready.listing,
        settings=decisive(REGRESSION, sections),
        contents=ready.contents,
    )


def make_source(arguments: TargetArguments, preset: TargetPreset, ready: Ready) -> study.Source:
    """A prepared table as the one setting of a study."""
    sections = {
        "data": {"fingerprint": ready.fingerprint, "group_column": ready.group_column, "targets": list(ready.dataset.classes)},
        "sizes": {name: getattr(preset, name) for name in ("initial_size", "query_size", "evaluation", "test", "batch_size")},
        "members": {**dataclasses.asdict(preset.members), "flips": list(preset.members.flips)},
        "network": preset.network.described,
        "training": settings_of(preset.training, arguments.training),
        "strategy": {},
    }

    def task(seed: int) -> Task:
        splits = split(ready.dataset.cases, seed, preset.evaluation, preset.test)
        if len(splits.pool) < preset.initial_size + preset.query_size:
            raise UserError(
                f"The pool has {len(splits.pool)} of {len(ready.dataset.cases)} cases, but the initial set of {preset.initial_size} and one query of "
                f"{preset.query_size} need more. Lower --initial-size or --query-size, or add cases."
            )
        initial = initial_set(splits.pool, preset.initial_size, seed)
        return make_task(ready, preset.network, splits, initial, preset.training, sections)

    return study.Source("scans", arguments, task, reader_of_new(ready, arguments.prepared))


def reader_of_new(ready: Ready, prepared: Path) -> Callable[[Path, terminal.Display], NewCases]:
    """What reads another table of scans for a network of these.

    Args:
      ready: prepared scans that it was trained on.
      prepared: folder for prepared scans.
    """

    def read(table: Path, display: terminal.Display) -> NewCases:
        new = read_new_table(table, ready, prepared / table.resolve().parent.name, scans.showing_on(display))
        return NewCases(new.dataset.cases, lambda case: load_targets(case, new.dataset), new.listing)

    return read


def run(arguments: TargetArguments, display: terminal.Display) -> int:
    """Runs a study on a table, or looks at one of its runs again; returns the exit status."""
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    if arguments.data is None:
        raise UserError(f"--data TABLE is needed. {MEANT}")
    table, preset = arguments.data, getattr(arguments, "preset", "small")
    out = arguments.out or Path("runs") / f"regression-{table.resolve().parent.name}-{preset}"
    common_options.check_options(arguments, None, out)
    sizes = common_options.choose_sizes(arguments, PRESETS[preset])
    if any(axis not in range(3) for axis in sizes.members.flips):
        raise UserError(f"--flips is {sizes.members.flips}; scans have the axes 0 to 2.")
    config = FolderConfig(
        arguments.group_column,
        bins=option_types.edges(arguments.bins),
        quantiles=arguments.quantiles,
        channels=arguments.channels,
    )
    ready = read_table(table, arguments.targets, arguments.prepared / table.resolve().parent.name, config, display)
    source = make_source(arguments, sizes, ready)
    return revisit.run_or_study(arguments, sizes, [source], out, display)
