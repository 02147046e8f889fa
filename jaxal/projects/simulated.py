"""A project that simulated readers go through: for the demo, and to try the whole loop against the truth."""

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from jaxal.data.parts import mask_of
from jaxal.data.scans.folder import Showing
from jaxal.data.simulated.readers import Reader, answers_now, drawn, minutes_taken
from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.labels.writing import write_seg_nrrd
from jaxal.projects.ask import ask
from jaxal.projects.decisions import mark_opened, release_overdue
from jaxal.projects.deliver import deliver
from jaxal.projects.kind import Delivery
from jaxal.projects.project import Project
from jaxal.projects.scans.labels import grid_of
from jaxal.projects.settle import settle
from jaxal.types import Watcher

LOOKS_AT_MOST = 60  # of a query, a day each


class Clock:
    """A time that only moves when it is told to."""

    def __init__(self, start: str = "2026-01-05T08:00:00+00:00"):
        self.seconds = datetime.datetime.fromisoformat(start).timestamp()

    def __call__(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


class World(NamedTuple):
    """What surrounds a project in a simulation.

    Attributes:
      truth: folder of label maps, `CASE.nii.gz`.
      readers: who draw.
      clock: of the project.
      seed: of what readers do.
    """

    truth: Path
    readers: Sequence[Reader]
    clock: Clock
    seed: int = 0


def play(
    project: Project,
    world: World,
    rounds: int,
    showing: Showing,
    watcher: Watcher,
    told: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Goes through rounds: asks, lets the readers draw day after day, and asks again.

    Args:
      project: opened with the world's clock.
      world: around it.
      rounds: queries, or fewer if nothing is left to ask for.
      showing, watcher: are told how far the work is.
      told: is called with a sentence for everything worth knowing.
    """
    while len([round_ for round_ in project.state().rounds if round_.asked]) < rounds:
        try:
            round_ = ask(project, None, False, showing, watcher)
        except UserError as error:
            if project.state().unasked():
                raise
            told(str(error))
            return
        told(f"Round {round_.number} is asked.")
        for look in range(LOOKS_AT_MOST):
            world.clock.wait(86400)
            _day(project, world, look, told)
            release_overdue(project)
            for sentence in settle(project):
                told(sentence)
            if not project.state().open_readings:
                break


def _day(project: Project, world: World, look: int, told: Callable[[str], None]) -> None:
    """Every reader looks at what is asked of them."""
    readers, seed = {reader.name: reader for reader in world.readers}, world.seed
    for reading in project.state().open_readings:
        reader = readers[reading.reader]
        if not answers_now(reader, reading.case, look, seed):
            continue
        case = project.state().cases[reading.case]
        before = [version for version in case.versions if not case.asked_parts or version.attempt == case.attempt]
        attempt = 1 + sum(version.reader == reader.name for version in before)
        mark_opened(project, reader.name, [reading.case], "simulation")
        for again in (0, 1):
            world.clock.wait(60 * minutes_taken(reader, reading.case, attempt + again, seed))
            try:
                receipt = deliver(project, _drawn(project, world.truth, reader, reading.case, attempt + again, seed))
            except Refused as refused:
                told(f"{reader.name}: {refused}")
                continue
            if receipt.notes:
                told(f"{reader.name}: {receipt.sentence}")
            break


def _drawn(project: Project, truth: Path, reader: Reader, case: str, attempt: int, seed: int) -> Delivery:
    """A label as the reader's program would have saved it."""
    source = nibabel.nifti1.load(truth / f"{case}.nii.gz")
    left_right = nibabel.orientations.io_orientation(source.affine)[:, 0].tolist().index(0)
    labels = drawn(reader, case, np.asarray(source.dataobj).astype(np.uint8), left_right, attempt, seed)
    if parts := project.state().cases[case].asked_parts:
        labels = labels * mask_of(parts, labels.shape)  # nobody draws elsewhere
    path = project.reader_folder(reader.name) / "drawn" / f"{case}.seg.nrrd"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_seg_nrrd(path, labels, grid_of(project.cases[case]), project.state().classes[1:])
    return Delivery(reader.name, case, path, via="simulation", empty=not (labels > 0).any())
