"""A project as the server's desk."""

import datetime
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.labels.writing import write_nifti, write_seg_nrrd
from jaxal.projects import decisions
from jaxal.projects.deliver import Receipt as Taken
from jaxal.projects.deliver import correct, deliver
from jaxal.projects.kind import Delivery
from jaxal.projects.kinds import kind_of
from jaxal.projects.measures import honest, unseen
from jaxal.projects.project import IGNORE, Project, check_images, plain_name, sha256_of
from jaxal.projects.scans.labels import grid_of, label_file, read_version
from jaxal.projects.settle import settle
from jaxal.projects.state import MERGED, CaseState, Reading, State
from jaxal.projects.worklists import in_order
from jaxal.server.background import Background
from jaxal.server.desk import Counts, Decision, Entry, Handed, Image, Receipt, Role, Standing, UnknownCase, Version
from jaxal.worklists.parts import words_of

_STANDING: Mapping[str, Standing] = {"approve": "approved", "flag": "flagged"}


class ProjectDesk:
    """A project, as the server needs it.

    Args:
      project: that is served.
      reviewers: who may review.
      status: makes the page of the project.
      worklist: makes the page of a reader.
      review: makes the page of what is to be decided.
      click: makes the page where a reader clicks classes.
    """

    def __init__(
        self,
        project: Project,
        reviewers: Sequence[str],
        status: Callable[[], str],
        worklist: Callable[[str], str],
        review: Callable[[], str | None],
        click: Callable[[str], str],
    ):
        self.name = project.settings.name
        self.uploads = project.folder / "uploads"
        self.uploads.mkdir(exist_ok=True)
        self._project, self._reviewers = project, tuple(reviewers)
        self._status, self._worklist, self._review, self._click = status, worklist, review, click
        self._draws = kind_of(project).name == "scans"
        self._one_at_a_time = threading.Lock()  # two who ask at once must not get one case
        self._one_writer = threading.RLock()  # of what can be made anew; files aside are named after the process, not the thread
        self._images: dict[tuple[str, int, int], Image] = {}
        self._last: State | None = None
        self._accuracy = Background(self._measure)

    @property
    def classes(self) -> Sequence[str]:
        return kind_of(self._project).named(self._state().classes)

    def roles(self) -> Mapping[str, Role]:
        roles: dict[str, Role] = dict.fromkeys(self._state().present, "reader")
        return roles | dict.fromkeys(self._reviewers, "reviewer")

    def counts(self) -> Counts:
        cases = [case for case in self._state().cases.values() if case.excluded is None]
        return Counts(len(cases), sum(_is_complete(case) for case in cases))

    def accuracy(self) -> float | None:
        return self._accuracy.newest(self._state().events)

    def wait(self) -> None:
        """Waits for what is computed beside requests."""
        self._accuracy.wait()

    def _measure(self) -> float | None:
        with self._one_writer:
            estimates = [honest(measured) for measured in unseen(self._project, self._state())]
        known = [
            estimate.over_all.value for estimate in estimates if estimate is not None and not np.isnan(estimate.over_all.value)
        ]
        return known[-1] if known else None

    def cases(self) -> Sequence[Entry]:
        state = self._state()
        return [
            Entry(id_, self._file_name(id_), _is_complete(case), self._beginning(state, id_) is not None)
            for id_, case in sorted(state.cases.items())
            if case.excluded is None
        ]

    def current_case(self, reader: str) -> str | None:
        readings = self._readings(self._state(), reader)
        return readings[0].case if readings and readings[0].opened is not None else None

    def next_case(self, reader: str) -> str | None:
        if not self._draws:
            raise Refused(
                "not-drawn",
                f"Images of this project are not drawn on. Open readers/{reader}/click.html of this server in a browser.",
            )
        with self._one_at_a_time:
            state = self._state()
            readings = self._readings(state, reader) or self._handed_over(state, reader)
            broken: UserError | None = None
            for reading in readings:
                try:
                    self.image(reading.case)
                except UserError as error:  # the others can be read meanwhile
                    print(f"jaxal serve: {error}", file=sys.stderr)
                    broken = broken or error
                    continue
                decisions.mark_opened(self._project, reader, [reading.case], "server")
                return reading.case
            if broken is not None:
                raise broken
            return None

    def _readings(self, state: State, reader: str) -> list[Reading]:
        """What a reader has to read: what they have begun, what came back, and the rest in the order of their worklist."""
        mine = [reading for reading in state.open_readings if reading.reader == reader]
        return sorted(in_order(state, reader, mine), key=lambda reading: (reading.opened is None, reading.status != "returned"))

    def _handed_over(self, state: State, reader: str, share: float = 0.0) -> list[Reading]:
        """Who has nothing left gets a share, and one at least, of the unopened cases of whoever has most of them, so that nobody waits for
        somebody who is slow.
        """
        free: dict[str, list[Reading]] = {}
        for reading in state.open_readings:
            case = state.cases[reading.case]
            if reading.opened is None and reading.status == "asked" and reader not in {*case.readings, *case.given_back}:
                free.setdefault(reading.reader, []).append(reading)
        busiest = max(free, key=lambda name: (len(free[name]), name), default=None)
        if busiest is None or reader not in state.present:
            return []
        last = in_order(state, busiest, free[busiest])[-max(1, int(share * len(free[busiest]))) :]
        decisions.release(self._project, busiest, [reading.case for reading in last], "idle reader", reader)
        return self._readings(self._state(), reader)

    def asked_for(self, reader: str, case: str) -> str:
        self._check(case)
        about = self._state().cases[case]
        parts = about.asked_parts if reader in about.readings else ()
        return words_of(parts, grid_of(self._project.cases[case])) if parts else ""

    def skip(self, reader: str, case: str) -> None:
        with self._one_at_a_time:
            decisions.skip(self._project, reader, case)

    def image(self, case: str) -> Image:
        """Besides what the desk says: a scan is only sent if it is what it was when the project began.

        Raises:
          UserError: it is gone, or has changed.
        """
        self._check(case)
        data = self._project.data(self._state())
        path = self._project.image_paths(case, data)[0]
        try:
            stat = path.stat()
            key = (str(path), stat.st_size, stat.st_mtime_ns)
            if key not in self._images:
                check_images(self._project, [case], data)
                self._images[key] = Image(path, self._file_name(case), sha256_of(path))
            return self._images[key]
        except FileNotFoundError:
            check_images(self._project, [case], data)  # says it in words
            raise

    def _file_name(self, case: str) -> str:
        """As scans are sent. It comes from what is known since the start, so that a list of all cases opens none."""
        scan = self._project.cases[case]
        ending = "".join(
            Path(scan.images[0]).suffixes[-2:] if scan.images[0].endswith(".gz") else Path(scan.images[0]).suffixes[-1:]
        )
        return f"{plain_name(case)}-{scan.fingerprint[:8]}{ending}"

    def proposal(self, case: str, reader: str | None = None) -> Path | None:
        self._check(case)
        state = self._state()
        if reader is not None and not any(r.is_open and r.reader == reader for r in state.cases[case].readings.values()):
            return None
        path = self._beginning(state, case)
        labels = (self._project.label_path(case, "").parent, self._project.folder / "cache" / "labels")
        return self._without_ignored(case, path) if path and path.parent in labels else path

    def _beginning(self, state: State, case: str) -> Path | None:
        """What a reader of this case begins with: their own label where it came back, else the network's proposal, if they may see it."""
        readings = [reading for reading in state.cases[case].readings.values() if reading.is_open]
        if not self._draws or len(readings) != 1 or len(state.cases[case].readings) > 1:
            return None
        if readings[0].status == "returned":
            about = state.cases[case]
            mine = [version for version in about.versions if version.reader == readings[0].reader]
            own = [version for version in mine if version.parts == about.asked_parts]
            label = own[-1].name if own else about.counts
            if label:
                return label_file(self._project, state, case, label)
        path = self._project.proposal_path(case, readings[0].round, ".nii.gz")
        return path if self._project.shows(readings[0]) and path.is_file() else None

    def _without_ignored(self, case: str, path: Path) -> Path:
        """A stored label as a reader begins with it: what nobody knows is background, because Slicer has no segment for it."""
        labels = np.asarray(nibabel.nifti1.load(path).dataobj).astype(np.uint8)
        if not (labels == IGNORE).any():
            return path
        shown = self._project.folder / "cache" / "versions" / f"{case}-{path.name}"
        with self._one_writer:
            if not shown.is_file():
                labels[labels == IGNORE] = 0
                write_nifti(shown, labels, grid_of(self._project.cases[case]))
        return shown

    def deliver(self, handed: Handed) -> Receipt:
        receipt = deliver(self._project, _delivery(handed))
        self._settle(receipt)
        return Receipt(receipt.version, receipt.sentence, receipt.notes)

    def _settle(self, receipt: Taken) -> None:
        try:
            settle(self._project)
        except Exception:  # the label is stored, so its reader must hear that; whoever settles next does it again
            print(f"jaxal serve: {receipt.case}/{receipt.version} is stored, but then:", file=sys.stderr)
            traceback.print_exc()

    def answer(self, reader: str, case: str, name: str, seconds: float | None, at: str = "", refusal: str = "") -> Receipt:
        if self._draws:
            raise Refused("not-drawn", "Scans of this project are drawn, not classified. Open the case in 3D Slicer.")
        answer = None if refusal else name
        receipt = deliver(
            self._project, Delivery(reader, case, answer=answer, seconds=seconds, at=at, via="browser", refusal=refusal)
        )
        self._settle(receipt)
        return Receipt(receipt.version, receipt.sentence, receipt.notes)

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
        if not self._draws:
            raise UnknownCase(f"{case}: its label is a class, which is on the page of the project, and no file.")
        path = self._project.folder / "cache" / "versions" / f"{case}-{version}-{len(state.classes)}.seg.nrrd"
        with self._one_writer:
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
        """Asks for another label, unless the one that is flagged counts no more and is no part of one that does."""
        state, why = self._state(), text.strip() or "the reviewer asks to look at it again"
        about = state.cases[case]
        flagged, label, counting = about.version(version), about.label, (about.counts or "").split("/")
        is_part = flagged.attempt == about.attempt and (label is None or about.version(label).reader == MERGED)
        if version not in counting and not is_part:
            return
        if flagged.reader in state.readers:
            reading = about.readings.get(flagged.reader)
            if reading is None or not reading.is_open:
                decisions.give_back(self._project, [f"{case}/{version}"], why, reviewer)
        elif about.status == "labelled":  # made of several, or from before the project began
            decisions.reopen(self._project, [case], why)

    def submit_version(self, handed: Handed) -> Receipt:
        receipt = correct(self._project, _delivery(handed))
        return Receipt(receipt.version, receipt.sentence, receipt.notes)

    def status_page(self) -> str:
        with self._one_writer:
            return self._status()

    def review_page(self) -> str | None:
        with self._one_writer:
            return self._review()

    def worklist_page(self, reader: str) -> str:
        with self._one_writer:
            return self._worklist(reader)

    def click_page(self, reader: str) -> str | None:
        """Besides what the desk says: who has nothing left gets half of what the busiest reader has not been shown, and what is on the
        page is reserved.
        """
        if self._draws:
            return None
        with self._one_at_a_time:
            state = self._state()
            readings = self._readings(state, reader) or self._handed_over(state, reader, 0.5)
            decisions.mark_opened(self._project, reader, [reading.case for reading in readings], "browser")
        with self._one_writer:
            return self._click(reader)

    def _state(self) -> State:
        """The present state; it is replayed only if something has happened."""
        events, last = self._project.log.read(), self._last
        if last is None or last.events != len(events):
            self._last = last = self._project.state_of(events)
        return last  # not what another thread may have put there meanwhile, which may be older

    def _check(self, case: str) -> None:
        if case not in self._project.cases or self._state().cases[case].excluded is not None:
            raise UnknownCase(f"{case!r} is no case of this project.")


def _is_complete(case: CaseState) -> bool:
    return case.counts is not None and case.status == "labelled"


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
