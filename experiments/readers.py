"""Does the honest curve of a project with readers tell the truth, whatever the readers do?

    python -m experiments.readers --seeds 20

A project of 60 simulated brains at 4 mm, five readers (a slow one, a sloppy one, one who is never there, one who sometimes exchanges left
and right, one who draws everything too large), five queries of twelve, until all is labelled. Nobody helps. Each round's network is
measured on all that was left when it was trained, against the truth, which the project does not know: the interval of the honest curve,
corrected by how much readers differ, should hold it in nineteen of twenty. Results go to runs/readers/results.json. Two minutes a seed on
two cores.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np

from jaxal.assessment.honest_curve import mean_dice
from jaxal.assessment.intervals import Estimate
from jaxal.assessment.reader_error import dice_with_truth, readers_agreement
from jaxal.cli import command
from jaxal.data.scans.folder import FolderConfig
from jaxal.data.simulated.brain import BrainConfig, write_cohort
from jaxal.data.simulated.readers import Reader
from jaxal.files import write_text
from jaxal.projects.kind import Beginning
from jaxal.projects.measures import Unseen, agreement, honest, unseen
from jaxal.projects.network import reopened
from jaxal.projects.project import Project, open_project
from jaxal.projects.scans.measures import dice_of_maps
from jaxal.projects.scans.network import predictions
from jaxal.projects.settings import Protocol
from jaxal.projects.simulated import Clock, World, play
from jaxal.projects.start import start
from jaxal.projects.state import State
from jaxal.report.terminal import Display
from jaxal.studies.scans import showing_on

READERS = (
    Reader("slow", minutes=45.0, answers=0.3),
    Reader("sloppy", "sloppy", waver=0.3),
    Reader("absent", answers=0.0),
    Reader("mirror", "mirror"),
    Reader("biased", "biased", waver=0.3),
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Projects with five readers, and whether the honest curve holds the truth."""

    seeds: int = 20
    """How many projects."""
    seed: int = 0
    """The first."""
    cases: int = 60
    """Scans of a project."""
    size: int = 12
    """Cases a query."""
    rounds: int = 5
    """Queries."""
    strategy: str = "aeig"
    """How cases are chosen."""
    preset: str = "small"
    """Sizes of network and training."""
    perfect: bool = False
    """All readers are perfect instead."""
    out: Path = Path("runs/readers")
    """Where projects and results go."""


def main(arguments: Arguments) -> int:
    """Runs the study; returns the exit status."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: Display) -> int:
    results: list[dict[str, float]] = []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        results += _one(arguments, seed, display)
        for number in sorted({int(line["round"]) for line in results}):
            lines = [line for line in results if line["round"] == number]
            last, inside = lines[-1], sum(line["low"] <= line["truth"] <= line["high"] for line in lines)
            display.note(
                f"seed {seed}, round {number}: Dice {last['estimate']:.3f} [{last['low']:.3f}, {last['high']:.3f}] from {last['cases']} cases "
                f"(readers {last['measured']:.3f}), truth {last['truth']:.3f} of {last['left']}; {inside} of {len(lines)} intervals hold it, "
                f"half width {np.mean([(line['high'] - line['low']) / 2 for line in lines]):.3f}"
            )
        write_text(arguments.out / "results.json", json.dumps(results, indent=1) + "\n")
    return 0


def _one(arguments: Arguments, seed: int, display: Display) -> list[dict[str, float]]:
    data, truth, folder = (arguments.out / f"{part}-{seed}" for part in ("scans", "truth", "project"))
    if not truth.is_dir():
        shutil.rmtree(data, ignore_errors=True)
        write_cohort(BrainConfig(arguments.cases, 4.0, "strong", seed=1000 + seed), data)
        (data / "labelsTr").rename(truth)
    shutil.rmtree(folder, ignore_errors=True)
    readers = tuple(Reader(reader.name) for reader in READERS) if arguments.perfect else READERS
    clock, showing = Clock(), showing_on(display)
    protocol = Protocol(strategy=arguments.strategy, seed=seed, size=arguments.size)
    names = tuple(reader.name for reader in readers)
    start(folder, Beginning(data, (), names, protocol, FolderConfig(need_labels=False), preset=arguments.preset), showing, clock)
    project = open_project(folder, clock)
    play(project, World(truth, readers, clock, seed), arguments.rounds, showing, display)
    state = project.state()
    pairs = [
        dice for _, _, dice in agreement(project, state) if min(dice) >= protocol.far_apart
    ]  # the others are decided by people
    agreed = readers_agreement(pairs)
    return [
        {"seed": seed, **_against_truth(project, state, measured, agreed, truth, display)}
        for measured in unseen(project, state)
        if measured.waiting == 0
    ]


def _against_truth(
    project: Project, state: State, measured: Unseen, agreed: Estimate, truth: Path, display: Display
) -> dict[str, float]:
    """One round's estimate and what it should have been."""
    round_ = next(round_ for round_ in state.rounds if round_.number == measured.round)
    kept = [id_ for id_, part in zip(measured.cases, measured.parts, strict=True) if part == "kept"]
    left = sorted({*round_.fields["unasked"], *kept})
    dice = [
        dice_of_maps(guess, np.asarray(nibabel.nifti1.load(truth / f"{id_}.nii.gz").dataobj).astype(np.uint8), len(state.classes))
        for id_, guess in predictions(project, *reopened(project, state, round_, left, showing_on(display), display), left, state)
    ]
    estimate = honest(measured)
    assert estimate is not None
    corrected = dice_with_truth(estimate.over_all, agreed, len(state.classes) - 1)
    return {
        "round": measured.round,
        "measured": estimate.over_all.value,
        "agreement": agreed.value,
        "estimate": corrected.value,
        "low": corrected.low,
        "high": corrected.high,
        "cases": corrected.cases,
        "truth": float(np.nanmean(mean_dice(np.array(dice)))),
        "left": len(left),
    }


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
