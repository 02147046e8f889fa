"""`jaxal demo readers`: the whole loop on simulated scans with simulated readers, and the pages to look at."""

import dataclasses
import shutil
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxal.cli import command
from jaxal.data.scans.folder import FolderConfig
from jaxal.data.simulated.brain import BrainConfig, write_cohort
from jaxal.data.simulated.readers import Reader
from jaxal.errors import UserError
from jaxal.files import lock
from jaxal.projects.ask import ask
from jaxal.projects.kind import AskedUnits, Beginning
from jaxal.projects.project import open_project
from jaxal.projects.settings import Protocol
from jaxal.projects.simulated import Clock, World, play
from jaxal.projects.start import start
from jaxal.projects.status import in_words, status_of
from jaxal.projects.written import refresh
from jaxal.report.terminal import Display
from jaxal.studies.scans import showing_on

CASES, SPACING_MM, SIZE, PARTS, ROUNDS = 40, 4.0, 8, 32, 3
READERS = (
    Reader("anna", minutes=8.0),
    Reader("ben", "sloppy", minutes=12.0, waver=0.3),
    Reader("carla", "mirror", minutes=10.0),
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Tries the whole loop with simulated readers; nothing is downloaded."""

    what: Annotated[Literal["readers"], tyro.conf.Positional]
    """What to show."""
    out: Path = Path("runs/demo-readers")
    """Folder for scans, truth and project; an earlier demo there is replaced."""
    unit: Literal["image", "slice", "box"] = "image"
    """What readers are asked for: whole scans, slices or boxes of them."""


def main(arguments: Arguments) -> int:
    """Runs the demo; returns the exit status."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: Display) -> int:
    out = arguments.out
    if out.exists() and any(out.iterdir()) and not (out / ".demo").exists():
        raise UserError(f"{out}: is there already and holds no demo. Name another --out.")
    with lock(out):
        for part in ("scans", "truth", "project"):
            shutil.rmtree(out / part, ignore_errors=True)
        (out / ".demo").touch()
        display.note(f"1. {CASES} simulated brain scans, of which nobody has labelled any: {out / 'scans'}")
        with display.progress("simulating scans") as progress:
            write_cohort(BrainConfig(CASES, SPACING_MM, "strong"), out / "scans", progress)
        (out / "scans" / "labelsTr").rename(out / "truth")
        names = tuple(reader.name for reader in READERS)
        display.note(
            f"2. A project with three readers: jaxal start {out / 'project'} --data {out / 'scans'} --readers {','.join(names)}"
            + ("" if arguments.unit == "image" else f" --unit {arguments.unit}")
        )
        clock, showing = Clock(), showing_on(display)
        units, is_whole = AskedUnits(arguments.unit), arguments.unit == "image"
        protocol = Protocol(size=SIZE) if is_whole else Protocol(size=PARTS, test_cases=0, double_share=0.0)
        config = FolderConfig(need_labels=False)
        beginning = Beginning(out / "scans", (), names, protocol, config, preset="smoke", units=units)
        start(out / "project", beginning, showing, clock)
        project = open_project(out / "project", clock)
        display.note(
            f"3. {ROUNDS} queries of {f'{SIZE} cases' if is_whole else f'{PARTS} parts'}; anna draws well, ben's outlines waver, carla sometimes exchanges left and right:"
        )
        play(
            project,
            World(out / "truth", READERS, clock),
            ROUNDS,
            showing,
            display,
            lambda sentence: display.note(f"   {sentence}"),
        )
        display.note("4. The next query, which waits for you:")
        ask(project, None, False, showing, display)
        refresh(project)
        for line in in_words(status_of(project)):
            display.note(f"   {line}")
    pages = [out / "project" / "readers" / name / "worklist.html" for name in names]
    display.note(f"Look at {out / 'project' / 'status.html'}, and at what each reader sees: {', '.join(map(str, pages))}")
    return 0
