"""Labels come in: checked, placed on the case's own grid, kept as a version that is never changed, and written down.

A label is durable before the log speaks of it, and the log speaks of it before its reader is told. A delivery that is refused changes
nothing of what is stored; it is kept for its reader, with the reason.
"""

import contextlib
import dataclasses
import datetime
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import nibabel
import numpy as np

from jaxal.files import write_text, write_whole, writing
from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.findings import History
from jaxal.labels.formats import ending_of
from jaxal.labels.placing import Grid
from jaxal.labels.refusals import Note, Refused
from jaxal.labels.writing import write_nifti
from jaxal.projects.log import Pen
from jaxal.projects.project import Project, sha256_of
from jaxal.projects.settings import Scan
from jaxal.projects.state import MERGED, State, Version

# What is refused once, because it is rarely meant, and taken when the very same file is handed in again: that is how a reader says
# that it is meant, in programs that have no place to say it.
CONFIRMED_BY_REPEATING = frozenset({"mirrored", "empty"})
_LEFT_SECONDS = 3600.0  # after which a file aside is nobody's who still writes
REPEAT = "If it is right as it is, hand the same file in once more."


class Delivery(NamedTuple):
    """What a reader hands in.

    Attributes:
      reader, case: whose.
      path: of the file.
      names: what the file's values 1, 2, … mean, where the file does not say so itself.
      seconds: that it took, if the reader's program says so.
      empty: whether the reader says that there is nothing to see.
      comment: of the reader.
      via: how it came: `inbox`, `server`, `command`.
      trust_grid, resample: see `labels.placing`; only when somebody asked for it by name.
      in_inbox: whether a file that is refused goes, because a copy of it is kept.
    """

    reader: str
    case: str
    path: Path
    names: Sequence[str] | None = None
    seconds: float | None = None
    empty: bool = False
    comment: str = ""
    via: str = "inbox"
    trust_grid: bool = False
    resample: bool = False
    in_inbox: bool = False


class Receipt(NamedTuple):
    """What became of a delivery that was accepted.

    Attributes:
      case, version: what it is now.
      notes: what was noticed.
      again: whether it was there already.
    """

    case: str
    version: str
    notes: tuple[Note, ...]
    again: bool = False

    @property
    def sentence(self) -> str:
        """What the reader is told."""
        thanks = f"{self.case}: {'was here already' if self.again else 'taken'} as {self.version}."
        return " ".join([thanks, *(note.sentence for note in self.notes)])


def deliver(project: Project, delivery: Delivery) -> Receipt:
    """Takes a label in.

    Raises:
      Refused: it cannot be taken; the sentence says why and what to do. The file is kept in the reader's folder `returned`.
      UserError: the disk is full, or the like; nothing was stored, and the delivery can be repeated.
    """
    digest = sha256_of(delivery.path)
    state = project.state()
    try:
        if known := _taken_before(state, delivery, digest):
            return Receipt(delivery.case, known.name, (), again=True)
        _check_reading(project, state, delivery)
        confirmed = _confirmed(state, delivery, digest)
        expected = expected_of(project, state, delivery, confirmed)
        received = receive(
            delivery.path, expected, names=delivery.names, trust_grid=delivery.trust_grid, resample=delivery.resample
        )
    except Refused as refused:
        if refused.code in CONFIRMED_BY_REPEATING:
            refused = Refused(refused.code, f"{refused.sentence} {REPEAT}")
        keep_refused(project, delivery, refused)
        raise refused from None
    with _written_aside(project, delivery.case, received.labels) as (aside, stored), project.log.held() as pen:
        state = project.state_of(pen.events)
        if known := _taken_before(state, delivery, digest):
            return Receipt(delivery.case, known.name, (), again=True)
        _check_reading(project, state, delivery)
        version = next_version(state, delivery.case, delivery.reader)
        _name(aside, project.label_path(delivery.case, version))
        reading = state.cases[delivery.case].readings[delivery.reader]
        proposal = (
            reading.round
            if project.proposal_path(delivery.case, reading.round, ".seg.nrrd").is_file() and reading.proposal
            else None
        )
        pen.add(
            "label",
            case=delivery.case,
            reader=delivery.reader,
            version=version,
            digest=stored,
            delivered=digest,
            classes=len(state.classes),
            proposal=proposal,
            minutes=minutes_of(reading.opened, project.log.now(), delivery.seconds),
            notes=[{"code": note.code, "sentence": note.sentence} for note in received.notes],
            volumes_ml={name: round(volume, 3) for name, volume in received.volumes_ml.items()},
            centres={name: [round(part, 4) for part in place] for name, place in received.centres.items()},
            comment=delivery.comment[:500],
            via=delivery.via,
        )
    return Receipt(delivery.case, version, received.notes)


def correct(project: Project, delivery: Delivery) -> Receipt:
    """Takes in a label of somebody who was not asked for it, such as a reviewer's; it counts from now on.

    Raises:
      Refused: it cannot be taken.
    """
    state = project.state()
    if delivery.case not in state.cases or state.cases[delivery.case].excluded is not None:
        raise Refused("unknown-case", f"{delivery.case!r} is no case of this project.")
    received = receive(delivery.path, _expected(project, state, delivery), names=delivery.names)
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        fields = {"delivered": received.sha256, "minutes": None, "comment": delivery.comment[:500], "via": delivery.via}
        version = store(project, pen, delivery.case, delivery.reader, received.labels, **fields)
        pen.add("decided", case=delivery.case, version=version, by=delivery.reader, why=delivery.comment[:500])
    return Receipt(delivery.case, version, received.notes)


def store(project: Project, pen: Pen, case: str, reader: str, values: np.ndarray, **fields: Any) -> str:
    """Keeps a label that did not come from a reader, such as one that was there at the start; returns its version's name.

    Args:
      project: whose.
      pen: of its log.
      case, reader: whose label; `reader` is the first part of the version's name.
      values: on the case's own grid.
      fields: for the log.
    """
    state = project.state_of(pen.events)
    version = next_version(state, case, reader)
    with _written_aside(project, case, values) as (aside, digest):
        _name(aside, project.label_path(case, version))
        kind, who = ("merged", {}) if reader == MERGED else ("label", {"reader": reader})
        pen.add(kind, case=case, **who, version=version, digest=digest, classes=len(state.classes), **fields)
    return version


def _confirmed(state: State, delivery: Delivery, digest: str) -> set[str]:
    """Codes for which this very file was refused before: the reader means it."""
    this = {"case": delivery.case, "reader": delivery.reader, "delivered": digest}
    before = [event.fields for event in state.refused if this.items() <= event.fields.items()]
    return {fields["code"] for fields in before} & CONFIRMED_BY_REPEATING


def expected_of(project: Project, state: State, delivery: Delivery, confirmed: Collection[str] = ()) -> Expected:
    """What a delivery is checked against; of what is refused once, `confirmed` is taken."""
    reading = state.cases[delivery.case].readings[delivery.reader]
    path = project.proposal_path(delivery.case, reading.round, ".nii.gz")
    shown = reading.proposal and path.is_file()
    return dataclasses.replace(
        _expected(project, state, delivery),
        proposal=(lambda: np.asarray(nibabel.nifti1.load(path).dataobj).astype(np.uint8)) if shown else None,
        minutes=minutes_of(reading.opened, project.log.now(), delivery.seconds),
        empty_is_meant=delivery.empty or "empty" in confirmed,
        hard=frozenset({"mirrored"}) - set(confirmed),
    )


def _expected(project: Project, state: State, delivery: Delivery) -> Expected:
    scan = project.cases[delivery.case]
    return Expected(
        case=scan.id,
        grid=grid_of(scan),
        classes=tuple(state.classes[1:]),
        others={other.id: grid_of(other) for other in project.settings.cases if other.id != scan.id},
        history=history_of(state),
        empty_is_meant=delivery.empty,
        partial=True,
    )


def grid_of(scan: Scan) -> Grid:
    """A case's own grid."""
    return Grid(scan.shape, np.array([*scan.affine, (0.0, 0.0, 0.0, 1.0)]))


def history_of(state: State) -> History:
    """What labels that were accepted are like."""
    drawn = [version for case in state.cases.values() for version in case.versions if version.reader != MERGED]
    names = {name for version in drawn for name in version.volumes_ml}
    return History(
        cases=len(drawn),
        share={name: sum(name in version.volumes_ml for version in drawn) / len(drawn) for name in names},
        volumes_ml={name: [version.volumes_ml[name] for version in drawn if name in version.volumes_ml] for name in names},
        centres={name: [version.centres[name] for version in drawn if name in version.centres] for name in names},
        minutes=[version.minutes for version in drawn if version.minutes is not None],
    )


def read_version(project: Project, case: str, version: str) -> np.ndarray:
    """A stored label on the case's own grid."""
    return np.asarray(nibabel.nifti1.load(project.label_path(case, version)).dataobj).astype(np.uint8)


def next_version(state: State, case: str, reader: str) -> str:
    return f"{reader}-{1 + sum(version.reader == reader for version in state.cases[case].versions)}"


def minutes_of(opened: str | None, now: float, seconds: float | None) -> float | None:
    """Minutes that a reading took, as far as one can tell; a clock that was set back since tells nothing."""
    if seconds is None:
        seconds = -1.0 if opened is None else now - datetime.datetime.fromisoformat(opened).timestamp()
    return round(seconds / 60, 2) if seconds >= 0 else None


@contextlib.contextmanager
def _written_aside(project: Project, case: str, labels: np.ndarray) -> Iterator[tuple[Path, str]]:
    """A label map that is written durably beside where it will be, and the SHA-256 of the file; what has no name at the end is removed."""
    folder = project.folder / "labels" / case
    for left in folder.glob(".*.tmp"):  # by a kill
        if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
            left.unlink(missing_ok=True)
    aside = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        write_nifti(aside, labels, grid_of(project.cases[case]))
        yield aside, sha256_of(aside)
    finally:
        aside.unlink(missing_ok=True)


def _name(aside: Path, path: Path) -> None:
    """Gives a written file its name, durably."""
    with writing(path):
        os.replace(aside, path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _taken_before(state: State, delivery: Delivery, digest: str) -> Version | None:
    """The version that this very file became, if it was handed in before and nobody has asked again since."""
    case = state.cases.get(delivery.case)
    reading = case.readings.get(delivery.reader) if case else None
    if case is None or (reading is not None and reading.is_open):
        return None
    same = [version for version in case.versions if version.reader == delivery.reader and version.delivered == digest]
    return same[-1] if same else None


def _check_reading(project: Project, state: State, delivery: Delivery) -> None:
    """Makes sure that this reader was asked for this case."""
    if delivery.reader not in state.readers:
        raise Refused("unknown-reader", f"{delivery.reader!r} is no reader of this project. Ask who runs it to add you.")
    if delivery.case not in state.cases:
        raise Refused(
            "unknown-case", f"{delivery.case!r} is no case of this project. Name the file after the case that was asked for."
        )
    case = state.cases[delivery.case]
    if case.excluded is not None:
        raise Refused(
            "excluded", f"{delivery.case} was left out of the project, so no label of it is needed. Go on with the next case."
        )
    reading = case.readings.get(delivery.reader)
    if reading is None:
        raise Refused("not-asked", f"{delivery.case} was not asked of {delivery.reader}. Hand in the cases of your own list.")
    if not reading.is_open:
        raise Refused(
            "not-open",
            f"{delivery.case}: your label was taken already, and this is another one. To correct it, ask who runs the project to reopen the case.",
        )


def keep_refused(project: Project, delivery: Delivery, refused: Refused) -> None:
    """Keeps a refused file with the reason, and writes it down.

    A file of an inbox is gone from there before it is written down: what is handed in twice may count as confirmed, and a kill must not
    hand it in.
    """
    state, digest = project.state(), sha256_of(delivery.path)
    reader = delivery.reader if delivery.reader in state.readers else None
    kept = ""
    if reader:
        moment = datetime.datetime.fromtimestamp(project.log.now(), datetime.UTC).strftime("%Y%m%dT%H%M%S")
        case = delivery.case if delivery.case in state.cases else "unknown"
        target = (
            project.reader_folder(reader) / "returned" / f"{case}-{moment}-{uuid.uuid4().hex[:4]}{ending_of(delivery.path.name)}"
        )
        write_whole(target, lambda file: _copy(delivery.path, file))
        write_text(target.with_name(target.name + ".txt"), f"{refused}\n")
        kept = target.name
        if delivery.in_inbox:
            delivery.path.unlink()
    with project.log.held() as pen:
        pen.add(
            "refused",
            case=delivery.case if delivery.case in state.cases else "",
            reader=reader or "",
            code=refused.code,
            sentence=str(refused),
            delivered=digest,
            file=kept,
            via=delivery.via,
        )


def _copy(path: Path, target: BinaryIO) -> None:
    with path.open("rb") as source:
        shutil.copyfileobj(source, target)
