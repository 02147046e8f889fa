"""A project as the server's desk."""

import datetime
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.labels.refusals import Refused
from jaxal.labels.writing import write_seg_nrrd
from jaxal.projects import decisions
from jaxal.projects.deliver import Delivery, correct, deliver, grid_of, read_version
from jaxal.projects.measures import honest, unseen
from jaxal.projects.project import Project
from jaxal.projects.settle import settle
from jaxal.projects.state import CaseState, Reading, State
from jaxal.server.desk import Counts, Decision, Entry, Handed, Image, Receipt, Role, Standing, UnknownCase, Version

_STANDING: Mapping[str, Standing] = {"approve": "approved", "flag": "flagged"}


class ProjectDesk:
    """A project, as the server needs it.

    Args:
      project: that is served.
      reviewers: who may review.
      status: makes the page of the project.
      worklist: makes the page of a reader.
      review: makes the page of what is to be decided.
    """

    def __init__(
        self,
        project: Project,
        reviewers: Sequence[str],
        status: Callable[[], str],
        worklist: Callable[[str], str],
        review: Callable[[], str | None],
    ):
        self.name = project.settings.name
        self.uploads = project.folder / "uploads"
        self.uploads.mkdir(exist_ok=True)
        self._project, self._reviewers = project, tuple(reviewers)
        self._status, self._worklist, self._review = status, worklist, review
        self._one_at_a_time = threading.Lock()  # two who ask at once must not get one case
        self._images: dict[str, Image] = {}
        self._last: State | None = None

    @property
    def classes(self) -> Sequence[str]:
        return self._state().classes[1:]

    def roles(self) -> Mapping[str, Role]:
        roles: dict[str, Role] = dict.fromkeys(self._state().present, "reader")
        return roles | dict.fromkeys(self._reviewers, "reviewer")

    def counts(self) -> Counts:
        cases = [case for case in self._state().cases.values() if case.excluded is None]
        return Counts(len(cases), sum(_is_complete(case) for case in cases))

    def accuracy(self) -> float | None:
        estimates = [honest(measured) for measured in unseen(self._project, self._state())]
        known = [
            estimate.over_all.value for estimate in estimates if estimate is not None and not np.isnan(estimate.over_all.value)
        ]
        return known[-1] if known else None

    def cases(self) -> Sequence[Entry]:
        state = self._state()
        return [
            Entry(id_, self.image(id_).file_name, _is_complete(case), self._beginning(state, id_) is not None)
            for id_, case in sorted(state.cases.items())
            if case.excluded is None
        ]

    def current_case(self, reader: str) -> str | None:
        opened = [reading for reading in self._state().open_readings if reading.reader == reader and reading.opened is not None]
        return max(opened, key=lambda reading: str(reading.opened)).case if opened else None

    def next_case(self, reader: str) -> str | None:
        with self._one_at_a_time:
            state = self._state()
            mine = [reading for reading in state.open_readings if reading.reader == reader]
            if not mine:
                mine = self._handed_over(state, reader)
            if not mine:
                return None
            reading = min(mine, key=lambda reading: (reading.opened is None, reading.status != "returned"))
            decisions.mark_opened(self._project, reader, reading.case, "server")
            return reading.case

    def _handed_over(self, state: State, reader: str) -> list[Reading]:
        """Who has nothing left gets an unopened case of whoever has most of them, so that nobody waits for somebody who is slow."""
        free: dict[str, list[Reading]] = {}
        for reading in state.open_readings:
            if reading.opened is None and reading.status == "asked" and reader not in state.cases[reading.case].readings:
                free.setdefault(reading.reader, []).append(reading)
        busiest = max(free, key=lambda name: (len(free[name]), name), default=None)
        if busiest is None or reader not in state.present:
            return []
        reading = free[busiest][-1]
        decisions.release(self._project, busiest, [reading.case], "idle reader", reader)
        return [other for other in self._state().open_readings if other.reader == reader]

    def skip(self, reader: str, case: str) -> None:
        with self._one_at_a_time:
            decisions.skip(self._project, reader, case)

    def image(self, case: str) -> Image:
        if case not in self._images:
            self._check(case)
            path = self._project.image_paths(case, self._project.data(self._state()))[0]
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            ending = ".nii.gz" if path.name.endswith(".gz") else ".nii"
            self._images[case] = Image(path, f"{case}-{digest[:8]}{ending}", digest)
        return self._images[case]

    def proposal(self, case: str) -> Path | None:
        self._check(case)
        return self._beginning(self._state(), case)

    def _beginning(self, state: State, case: str) -> Path | None:
        """What a reader of this case begins with: their own label where it came back, else the network's proposal, if they may see it."""
        readings = [reading for reading in state.cases[case].readings.values() if reading.is_open]
        if len(readings) != 1 or len(state.cases[case].readings) > 1:
            return None
        if readings[0].status == "returned":
            own = [version for version in state.cases[case].versions if version.reader == readings[0].reader]
            label = own[-1].name if own else state.cases[case].label
            if label:
                return self._project.label_path(case, label)
        path = self._project.proposal_path(case, readings[0].round, ".nii.gz")
        return path if readings[0].proposal and path.is_file() else None

    def deliver(self, handed: Handed) -> Receipt:
        receipt = deliver(self._project, _delivery(handed))
        settle(self._project)
        return Receipt(receipt.version, receipt.sentence, receipt.notes)

    def answer(self, reader: str, case: str, name: str, seconds: float | None) -> Receipt:
        raise Refused("not-drawn", "Scans of this project are drawn, not classified. Open the case in 3D Slicer.")

    def versions(self) -> Mapping[str, Sequence[Version]]:
        return {
            id_: [_version(case, version.name) for version in case.versions]
            for id_, case in sorted(self._state().cases.items())
            if case.versions and case.excluded is None
        }

    def version_file(self, case: str, version: str) -> Path:
        self._check(case)
        state = self._state()
        if version not in {known.name for known in state.cases[case].versions}:
            raise UnknownCase(f"{case}: there is no label {version!r}.")
        path = self._project.folder / "cache" / "versions" / f"{case}-{version}-{len(state.classes)}.seg.nrrd"
        if not path.is_file():
            labels = read_version(self._project, case, version)
            write_seg_nrrd(path, labels, grid_of(self._project.cases[case]), state.classes[1:])
        return path

    def review(self, reviewer: str, case: str, version: str, decision: Decision, text: str) -> None:
        self._check(case)
        names = {known.name for known in self._state().cases[case].versions}
        if version not in names:
            raise Refused(
                "unknown-version", f"{case}: there is no label {version!r}; there are {', '.join(sorted(names)) or 'none'}."
            )
        with self._project.log.held() as pen:
            pen.add("reviewed", case=case, version=version, decision=decision, by=reviewer, text=text[:500])
        if decision == "approve":
            decisions.decide(self._project, case, version, reviewer, text[:500])
        elif decision == "flag":
            self._give_back(reviewer, case, version, text)

    def _give_back(self, reviewer: str, case: str, version: str, text: str) -> None:
        drew = next(known.reader for known in self._state().cases[case].versions if known.name == version)
        if drew in self._state().readers:
            decisions.give_back(self._project, [f"{case}/{version}"], text or "the reviewer asks to look at it again", reviewer)

    def submit_version(self, handed: Handed) -> Receipt:
        receipt = correct(self._project, _delivery(handed))
        return Receipt(receipt.version, receipt.sentence, receipt.notes)

    def status_page(self) -> str:
        return self._status()

    def review_page(self) -> str | None:
        return self._review()

    def worklist_page(self, reader: str) -> str:
        return self._worklist(reader)

    def click_page(self, reader: str) -> str | None:
        return None

    def _state(self) -> State:
        """The present state; it is replayed only if something has happened."""
        events = self._project.log.read()
        if self._last is None or self._last.events != len(events):
            self._last = self._project.state_of(events)
        return self._last

    def _check(self, case: str) -> None:
        if case not in self._project.cases or self._state().cases[case].excluded is not None:
            raise UnknownCase(f"{case!r} is no case of this project.")


def _is_complete(case: CaseState) -> bool:
    return case.label is not None and case.status == "labelled"


def _delivery(handed: Handed) -> Delivery:
    return Delivery(
        handed.reader,
        handed.case,
        handed.path,
        names=handed.names,
        seconds=handed.seconds,
        empty=handed.empty,
        comment=handed.comment,
        via=handed.via,
    )


def _version(case: CaseState, name: str) -> Version:
    version, review = case.version(name), case.reviews.get(name)
    time = int(datetime.datetime.fromisoformat(version.time).timestamp())
    if review is None:
        return Version(name, version.reader, time)
    return Version(name, version.reader, time, _STANDING.get(review.decision, ""), review.by, review.text)
