"""A project on disk: its settings, its log, and where everything of it lies.

PROJECT/project.json                  what it was started with; never written again
PROJECT/log.jsonl                     all that happened since; the truth
PROJECT/labels/CASE/VERSION.nii.gz    labels as they were accepted, on the case's own grid; never written again. Classes of images are in the log
PROJECT/rounds/003/                   what a round asked and why; its network is in rounds/checkpoints
PROJECT/proposals/CASE/r003.…         the network's proposals, and where it is unsure; of images rounds/003/guesses.json
PROJECT/readers/NAME/                 worklists, an inbox, what was taken, and what was returned
PROJECT/prepared/                     resampled or decoded cases; may be deleted, and is made anew
"""

import datetime
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxal.data.cases import fingerprint_of
from jaxal.errors import UserError
from jaxal.files import why_no_file
from jaxal.projects.log import Log
from jaxal.projects.replay import replay
from jaxal.projects.settings import Settings, Source, read_settings
from jaxal.projects.state import Reading, State

IGNORE = 255  # in label maps: nobody knows, because nobody looked or readers differ


class Project(NamedTuple):
    """A project.

    Attributes:
      folder: where it lies.
      settings: what it was started with.
      log: what happened since.
      cases: of the settings, by id.
    """

    folder: Path
    settings: Settings
    log: Log
    cases: dict[str, Source]

    def state(self) -> State:
        """Where it stands now."""
        return self.state_of(self.log.read())

    def state_of(self, events: Sequence) -> State:
        """Where it stood after these events."""
        shapes = {id_: scan.shape for id_, scan in self.cases.items()} if self.asks_for_parts else {}
        return replay(events, list(self.cases), self.settings.classes, shapes)

    @property
    def asks_for_parts(self) -> bool:
        """Whether readers are asked for parts of cases."""
        return self.settings.of_scans is not None and self.settings.of_scans.parts is not None

    def label_path(self, case: str, version: str) -> Path:
        return self.folder / "labels" / case / f"{version}.nii.gz"

    def round_folder(self, number: int) -> Path:
        return self.folder / "rounds" / f"{number:03d}"

    def proposal_path(self, case: str, round_: int, ending: str) -> Path:
        """Of a proposal; endings are `.seg.nrrd`, `.nii.gz` and `.unsure.nii.gz`."""
        return self.folder / "proposals" / case / f"r{round_:03d}{ending}"

    def reader_folder(self, reader: str) -> Path:
        return self.folder / "readers" / reader

    @property
    def key(self) -> str:
        """Tells this project from another of the same name."""
        return self.log.beginning[:12]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the files that each case has."""
        return self.settings.of_scans.channels if self.settings.of_scans else ("image",)

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    def shows(self, reading: Reading) -> bool:
        """Whether the reader of a case sees what the network proposes."""
        return self.settings.protocol.proposals and reading.proposal

    def data(self, state: State) -> Path:
        """Where the data lie.

        Raises:
          UserError: they are not there.
        """
        path = Path(state.data or self.settings.data)
        if not path.is_dir():
            raise UserError(
                f"{path}: the data of the project {self.settings.name} are not there. If they were moved, tell where they are: "
                f"`jaxal start {self.folder} --data DIR`."
            )
        return path

    def image_paths(self, case: str, data: Path) -> tuple[Path, ...]:
        return tuple(data / image for image in self.cases[case].images)


def open_project(folder: Path, now: Callable[[], float] = time.time) -> Project:
    """Opens a project; `now` is the present time in seconds.

    Raises:
      UserError: there is none, or it is damaged.
    """
    settings, beginning = read_settings(folder)
    return Project(folder, settings, Log(folder / "log.jsonl", beginning, now), {case.id: case for case in settings.cases})


def check_images(project: Project, ids: Sequence[str], data: Path) -> None:
    """Makes sure that images are what they were when the project began.

    Raises:
      UserError: a file is gone or has changed; the message names the case and says what to do.
    """
    for id_ in ids:
        paths = project.image_paths(id_, data)
        advice = f"Put back what was there, or leave the case out: `jaxal exclude {project.folder} {id_} --why TEXT`."
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path}: {why_no_file(path)}; it is an image of the case {id_}. {advice}")
        if fingerprint_of(paths, None).image != project.cases[id_].fingerprint:
            raise UserError(
                f"{paths[0]}: has changed since the project began, so labels of the case {id_} may lie elsewhere now. {advice}"
            )


def check_labels(project: Project, state: State, labels: Sequence[tuple[str, str]]) -> None:
    """Makes sure that labels are what was accepted.

    Args:
      project: whose.
      state: of it.
      labels: cases and versions; see `CaseState.counts`.

    Raises:
      UserError: a file is gone or was altered; the message says what to do.
    """
    for id_, name in labels:
        for version in state.cases[id_].versions_of(name):
            if version.category is not None:  # the log holds it, and no file
                continue
            path = project.label_path(id_, version.name)
            what = "is missing" if not path.is_file() else "was altered after it was accepted"
            if not path.is_file() or sha256_of(path) != version.digest:
                raise UserError(
                    f"{path}: {what}. Restore it from a backup, or leave the case out: `jaxal exclude {project.folder} {id_} --why TEXT`."
                )


def plain_name(case: str) -> str:
    """A case's id as part of a file's name: images are called by their paths, which hold slashes."""
    return case if "/" not in case else f"{case.rpartition('/')[2]}-{hashlib.sha256(case.encode()).hexdigest()[:8]}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def days_between(earlier: str, later: str) -> float:
    """Days from one instant to another, as the log writes them."""
    return (datetime.datetime.fromisoformat(later) - datetime.datetime.fromisoformat(earlier)).total_seconds() / 86400


def is_read(project: Project, state: State, id_: str) -> bool:
    """Whether networks look at a case: at all that are not left out, and at those that readers refused as long as their files are there."""
    case = state.cases[id_]
    if case.excluded is None:
        return True
    return case.refused_by is not None and all(path.is_file() for path in project.image_paths(id_, project.data(state)))
