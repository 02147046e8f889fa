"""Networks trained on everything by methods that differ in how groups of patients count: what studies of fair training share.

Each method is a run of its own, beside the others where strategies are in other studies, so that comparisons, tables and reports serve both.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxal.data.cases import Splits
from jaxal.data.groups import check_several
from jaxal.errors import UserError
from jaxal.networks.resnet import ResNetConfig
from jaxal.report import terminal
from jaxal.rounds.prediction import NewCases
from jaxal.rounds.setup import Task
from jaxal.scoring.members import MembersConfig
from jaxal.studies import common_options, study
from jaxal.training.config import TrainingConfig
from jaxal.training.weighting import named_method
from jaxal.types import Case

ENSEMBLE = MembersConfig(networks=3, dropout=20)  # of the paper: three networks, twenty samples each
FOLDS = 5  # of regression in the paper
_ADVICE = "Join groups in the table (or by fewer --bins), name another --group-column, or add cases."


@dataclasses.dataclass(frozen=True)
class FairPreset:
    """Sizes of a study of fair training.

    Attributes:
      simulation: configuration of the data that are made where none are given.
      network, training: configuration.
      test: share of the smallest group's subjects that is tested on, and as many of each other group.
      members: whose disagreement is uncertainty.
      batch_size: cases scored at once on each device.
      folds: where above one, seeds go through that many parts of the data in turns, each part being tested on once.
      size: height and width to which images are brought; empty for scans.
      rounds, query_size, initial_size: there is one round, whose query nobody needs.
    """

    simulation: Any
    network: Any
    training: TrainingConfig
    test: float = 0.4
    members: MembersConfig = ENSEMBLE
    batch_size: int = 8
    folds: int = 0
    size: tuple[int, int] = ()  # type: ignore[assignment]
    rounds: int = 1
    query_size: int = 1
    initial_size: int = 1


class Prepared(NamedTuple):
    """Data that are ready for training.

    Attributes:
      cases: all of them, each with a label.
      group_column: that the groups come from, for messages.
      task: of the splits, whose pool is all labelled, and of a configuration of training.
      read_new: reads cases that are not of these data.
      setting: what results are filed under.
    """

    cases: Sequence[Case]
    group_column: str
    task: Callable[[Splits, TrainingConfig], Task]
    read_new: Callable[[Path, terminal.Display], NewCases]
    setting: str


def split_equally(cases: Sequence[Case], seed: int, share: float) -> Splits:
    """Test cases in equal numbers of each group, so that none hides behind another, and all other cases to train on.

    Args:
      cases: all of them; those of one subject stay together.
      seed: of the draw.
      share: of the smallest group's subjects, rounded, at least one.

    Raises:
      UserError: a group has fewer than two subjects.
    """
    by_group = _subjects(cases, np.random.default_rng([seed, 4]))
    count = max(1, round(share * min(map(len, by_group.values()))))
    return _split(cases, {subject for subjects in by_group.values() for subject in subjects[:count]})


def fold(cases: Sequence[Case], seed: int, folds: int) -> Splits:
    """One of several parts to test on, cut to equal numbers of each group, and all other cases to train on.

    Seeds below `folds` go through the parts of one partition, the next ones through those of another. What of a part is cut off is trained on.

    Raises:
      UserError: a group has fewer subjects than there are folds.
    """
    by_group = _subjects(cases, np.random.default_rng([seed // folds, 5]))
    for group, subjects in by_group.items():
        if len(subjects) < folds:
            raise UserError(f"Group {group!r} has {len(subjects)} subjects; {folds} folds need as many. {_ADVICE}")
    parts = {group: subjects[seed % folds :: folds] for group, subjects in by_group.items()}
    count = min(map(len, parts.values()))
    return _split(cases, {subject for subjects in parts.values() for subject in subjects[:count]})


def _subjects(cases: Sequence[Case], rng: np.random.Generator) -> dict[str, list[str]]:
    """The subjects of each group in a random order; a subject with cases in several groups goes by its first case."""
    group_of: dict[str, str] = {}
    for case in sorted(cases):
        group_of.setdefault(case.subject or case.id, case.group)
    found = {}
    for group in sorted(set(group_of.values())):
        subjects = [subject for subject, of in group_of.items() if of == group]
        if len(subjects) < 2:
            raise UserError(f"Group {group!r} has one subject; at least two are needed, to train on and to test on. {_ADVICE}")
        found[group] = [subjects[place] for place in rng.permutation(len(subjects))]
    return found


def _split(cases: Sequence[Case], tested: set[str]) -> Splits:
    test = tuple(case for case in sorted(cases) if (case.subject or case.id) in tested)
    pool = tuple(case for case in sorted(cases) if (case.subject or case.id) not in tested)
    for group in sorted({case.group for case in cases}):
        if not any(case.group == group for case in pool):
            raise UserError(f"Group {group!r} has no case left to train on. {_ADVICE}")
    return Splits(pool, (), test)


def make_sources(
    prepared: Prepared, arguments: common_options.StudyArguments, preset: FairPreset, methods: Sequence[str]
) -> list[study.Source]:
    """One source for each method, all of the same data and splits.

    Args:
      prepared: data.
      arguments: of the study.
      preset: sizes.
      methods: names, perhaps with options.

    Raises:
      UserError: all cases are of one group.
    """
    check_several([case.group for case in prepared.cases], prepared.group_column)

    def source(method: str) -> study.Source:
        def task(seed: int) -> Task:
            splits = (
                fold(prepared.cases, seed, preset.folds) if preset.folds > 1 else split_equally(prepared.cases, seed, preset.test)
            )
            # The method is the name of the run's folder, so it is none of the settings that all runs share.
            shared, own = (dataclasses.replace(preset.training, weighting=named_method(name)) for name in ("erm", method))
            return prepared.task(splits, shared)._replace(training=own)

        return study.Source(prepared.setting, dataclasses.replace(arguments, method=method), task, prepared.read_new, method)

    return [source(method) for method in methods]


def sections_of(identity: Mapping[str, Any], preset: FairPreset, training: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide results.

    Args:
      identity: what tells the data from others.
      preset: sizes.
      training: its settings.
    """
    sizes = {"test": preset.test, "folds": preset.folds, "batch_size": preset.batch_size}
    members = {**dataclasses.asdict(preset.members), "flips": list(preset.members.flips)}
    of_images = isinstance(preset.network, ResNetConfig)
    network = preset.network.described if of_images else dataclasses.asdict(preset.network)
    return {"data": identity, "sizes": sizes, "members": members, "network": network, "training": training, "strategy": {}}


def run(
    arguments: common_options.StudyArguments,
    preset: FairPreset,
    sources: Sequence[study.Source],
    out: Path,
    display: terminal.Display,
) -> int:
    """Trains by every method with every seed; returns the exit status."""
    return study.run(dataclasses.replace(arguments, full=True, strategy=()), preset, sources, out, display)
