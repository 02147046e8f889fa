"""Tasks of the leaderboard that are studies: networks on images, in the rounds that any study has."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment.learning_curves import area_under
from jaxal.data.images.listing import Listing
from jaxal.errors import UserError
from jaxal.leaderboard.outcomes import OTHER_FOLDER, Outcome, write_outcome
from jaxal.networks.resnet import ResNetConfig
from jaxal.report.advice import Setting
from jaxal.report.budget import budget_of
from jaxal.rounds.ledger import Ledger, RunOnDisk
from jaxal.rounds.protocol import asked_units
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.contract import Strategy
from jaxal.studies import images, study
from jaxal.studies.common_options import Sizes
from jaxal.studies.configuration import settle_config
from jaxal.studies.workers import Work
from jaxal.task_kind import Assessment, TaskKind
from jaxal.training.config import TrainingConfig

SMALL = ResNetConfig(architecture="small", width=16, groups=4, entry="narrow")
DIGITS = images.ImagePreset(
    (8, 8), 6, 0.10, 0.06, 0.15, 0.35, SMALL,
    TrainingConfig(steps=100, warm_steps=40, steps_per_case=1, batch_size=32, peak_rate=3e-3, dice=False, noise=0.0),
)  # fmt: skip
TISSUE = images.ImagePreset(
    (24, 24), 6, 0.03, 0.02, 0.1, 0.15, SMALL,
    TrainingConfig(
        steps=200, warm_steps=80, steps_per_case=0.4, batch_size=32, peak_rate=3e-3, dice=False, noise=0.0, flips=(0, 1)
    ),
    MembersConfig(dropout=10), batch_size=128,
)  # fmt: skip
Made = tuple[Sizes, study.Source]


class OfStudy(NamedTuple):
    """A task that is one setting of a study.

    Attributes:
      kind: of its cases.
      make: sizes and source, given a folder for what is prepared and where to show things; the same for the same folder.
      setting: its numbers.
    """

    about: str
    kind: TaskKind
    make: Callable[[Path, Any], Made]
    setting: Setting

    @property
    def measure(self) -> str:
        return self.kind.assessment.title

    @property
    def strategies(self) -> Mapping[str, Callable[..., Strategy]]:
        return self.kind.strategies

    def run(self, folder: Path, strategy: str, seed: int, display: Any) -> None:
        quiet = _Quiet(display)
        sizes, source = self.make(folder.parents[2] / ".prepared", quiet)
        arguments = dataclasses.replace(source.arguments, strategy=(strategy,), seed=seed)
        task = source.task(seed)
        settle_config(folder.parents[1] / "config.json", task, OTHER_FOLDER)
        try:
            study.run_strategy(strategy, folder, arguments, sizes, task, Work(0, quiet, lambda: None), lambda: None)
        except UserError as error:  # before the first round it does not fit
            write_outcome(folder, Outcome(np.nan, np.nan, str(error), is_refused=not (folder / "rounds.jsonl").is_file()))
            return
        done = RunOnDisk(task.kind.name, strategy, seed, Ledger(folder / "rounds.jsonl").read())
        write_outcome(folder, _outcome(done, self.kind.assessment))


class _Quiet:
    """A display that shows progress and nothing else."""

    def __init__(self, display: Any):
        self._display = display

    def note(self, text: str) -> None:
        pass

    def table_header(self, *_: Any) -> None:
        pass

    def table_row(self, *_: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._display, name)


def _outcome(run: RunOnDisk, assessment: Assessment) -> Outcome:
    budget = budget_of([run])  # in cases, or in elements where parts are asked for
    spent = np.array([budget.spent(line) for line in run.rounds], float)
    levels = np.array([line[assessment.key]["overall"] for line in run.rounds])
    seconds = [line["seconds"]["score"] + line["seconds"]["select"] for line in run.rounds if asked_units(line)]
    return Outcome(float(area_under(spent, levels)), 1000 * float(np.median(seconds[1:] or seconds)))


def kept(make: Callable[[Path, Any], Made]) -> Callable[[Path, Any], Made]:
    """The same, once a folder: passes and steps are compiled for each network, so all runs of a task share one."""
    made: dict[Path, Made] = {}

    def make_once(prepared: Path, display: Any) -> Made:
        if prepared not in made:
            made[prepared] = make(prepared, display)
        return made[prepared]

    return make_once


def of_images(name: str, preset: images.ImagePreset, listed: Callable[[], Listing]) -> Callable[[Path, Any], Made]:
    """A study on images that come with a library."""

    @kept
    def make(prepared: Path, display: Any) -> Made:
        arguments = images.ImageArguments(prepared=prepared)
        return images.sizes_and_source(arguments, preset, listed(), False, {"name": name}, display)

    return make
