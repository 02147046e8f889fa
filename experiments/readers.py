"""Does the honest curve of a project with readers tell the truth, whatever the readers do?

    python -m experiments.readers --seeds 20

A project of 60 simulated brains at 4 mm, five readers (a slow one, a sloppy one, one who is never there, one who sometimes exchanges left
and right, one who draws everything too large), four queries of twelve. Nobody helps. At the end the last network is measured on all that was
left when it was trained, against the truth, which the project does not know: the interval of the honest curve should hold it
in nineteen of twenty seeds, and be 0.05 wide to each side at most. Results go to runs/readers/results.json. About a minute a seed on two
cores.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np

from jaxal.cli import command
from jaxal.data.scans.folder import FolderConfig
from jaxal.data.simulated.brain import BrainConfig, write_cohort
from jaxal.data.simulated.readers import Reader
from jaxal.files import write_text
from jaxal.projects.measures import dice_of_maps, honest, mean_dice, unseen
from jaxal.projects.network import predictions
from jaxal.projects.project import open_project
from jaxal.projects.settings import Protocol
from jaxal.projects.simulated import Clock, World, play
from jaxal.projects.start import Beginning, start
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
    rounds: int = 4
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
    results = []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        result = _one(arguments, seed, display)
        results.append(result)
        inside = sum(line["low"] <= line["truth"] <= line["high"] for line in results)
        display.note(
            f"seed {seed}: Dice {result['estimate']:.3f} [{result['low']:.3f}, {result['high']:.3f}] from {result['cases']} cases, truth "
            f"{result['truth']:.3f} of {result['left']}; {inside} of {len(results)} intervals hold it"
        )
        write_text(arguments.out / "results.json", json.dumps(results, indent=1) + "\n")
    return 0


def _one(arguments: Arguments, seed: int, display: Display) -> dict[str, float]:
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
    measured = unseen(project, state)[-1]
    estimate = honest(measured)
    assert estimate is not None
    round_ = state.rounds[-1]
    kept = [id_ for id_, part in zip(measured.cases, measured.parts, strict=True) if part == "kept"]
    left = sorted({*round_.fields["unasked"], *kept})
    dice = [
        dice_of_maps(guess, np.asarray(nibabel.nifti1.load(truth / f"{id_}.nii.gz").dataobj).astype(np.uint8), len(state.classes))
        for id_, guess in predictions(project, state, round_, left, showing, display)
    ]
    over_all = estimate.over_all
    return {
        "seed": seed,
        "estimate": over_all.value,
        "low": over_all.low,
        "high": over_all.high,
        "cases": over_all.cases,
        "truth": float(np.nanmean(mean_dice(np.array(dice)))),
        "left": len(left),
        "labelled": len(state.with_status("labelled")),
        "open": len(state.open_readings),
    }


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
