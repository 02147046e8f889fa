"""Labels come in: checked, kept as a version that is never changed, and written down.

A label is durable before the log speaks of it, and the log speaks of it before its reader is told. A delivery that is refused changes
nothing of what is stored; it is kept for its reader, with the reason.
"""

import contextlib
import datetime
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jaxal.files import write_text, write_whole, writing
from jaxal.labels.formats import ending_of
from jaxal.labels.refusals import Note, Refused
from jaxal.projects.kind import Delivery, Received, minutes_of
from jaxal.projects.kinds import kind_of
from jaxal.projects.log import Pen
from jaxal.projects.project import Project, plain_name, sha256_of
from jaxal.projects.state import MERGED, State, Version

# What is refused once, because it is rarely meant, and taken when the very same file is handed in again: that is how a reader says
# that it is meant, in programs that have no place to say it.
CONFIRMED_BY_REPEATING = frozenset({"mirrored", "empty", "came-back"})
_LEFT_SECONDS = 3600.0  # after which a file aside is nobody's who still writes
REPEAT = "If it is right as it is, hand the same file in once more."


class Receipt(NamedTuple):
    """What became of a delivery that was accepted.

    Attributes:
      case, version: what it is now; the version is empty where the reader refused the case.
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
        how = "was here already" if self.again else "taken"
        thanks = f"{self.case}: {how} as {self.version}." if self.version else f"{self.case}: {how} as unusable, and left out."
        return " ".join([thanks, *(note.sentence for note in self.notes)])


def deliver(project: Project, delivery: Delivery) -> Receipt:
    """Takes a label in.

    Raises:
      Refused: it cannot be taken; the sentence says why and what to do. The file is kept in the reader's folder `returned`.
      UserError: the disk is full, or the like; nothing was stored, and the delivery can be repeated.
    """
    if delivery.refusal:
        try:
            return _leave_out(project, delivery)
        except Refused as refused:
            keep_refused(project, delivery, refused)
            raise
    digest = digest_of(delivery)
    state = project.state()
    try:
        if known := _taken_before(state, delivery, digest):
            return Receipt(delivery.case, known.name, (), again=True)
        _check_reading(project, state, delivery)
        confirmed = _confirmed(state, delivery, digest)
        if "came-back" not in confirmed:
            _check_changed(state, delivery, digest)
        received = kind_of(project).receive(project, state, delivery, confirmed)
    except Refused as refused:
        if refused.code in CONFIRMED_BY_REPEATING:
            refused = Refused(refused.code, f"{refused.sentence} {REPEAT}")
        keep_refused(project, delivery, refused)
        raise refused from None
    with _written_aside(project, delivery.case, received) as (aside, stored), project.log.held() as pen:
        state = project.state_of(pen.events)
        if known := _taken_before(state, delivery, digest):
            return Receipt(delivery.case, known.name, (), again=True)
        _check_reading(project, state, delivery)
        version = next_version(state, delivery.case, delivery.reader)
        _name(aside, project.label_path(delivery.case, version))
        reading = state.cases[delivery.case].readings[delivery.reader]
        was_shown = project.shows(reading) and kind_of(project).proposed(project, delivery.case, reading.round)
        pen.add(
            "label",
            case=delivery.case,
            reader=delivery.reader,
            version=version,
            digest=stored,
            delivered=digest,
            classes=len(state.classes),
            proposal=reading.round if was_shown else None,
            minutes=minutes_of(reading.opened, project.log.now(), delivery.seconds),
            notes=[{"code": note.code, "sentence": note.sentence} for note in received.notes],
            comment=delivery.comment[:500],
            via=delivery.via,
            **received.fields,
        )
    return Receipt(delivery.case, version, received.notes)


def _leave_out(project: Project, delivery: Delivery) -> Receipt:
    """Leaves a case out because its reader will not label it. Who runs the project can take it back.

    Raises:
      Refused: the reader was not asked for it.
    """
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        case = state.cases.get(delivery.case)
        if case is not None and case.excluded is not None and case.refused_by == delivery.reader:
            return Receipt(delivery.case, "", (), again=True)
        _check_reading(project, state, delivery)
        reading = state.cases[delivery.case].readings[delivery.reader]
        pen.add(
            "excluded",
            case=delivery.case,
            why=delivery.refusal,
            reader=delivery.reader,
            minutes=minutes_of(reading.opened, project.log.now(), delivery.seconds),
            via=delivery.via,
        )
    return Receipt(delivery.case, "", ())


def correct(project: Project, delivery: Delivery) -> Receipt:
    """Takes in a label of somebody who was not asked for it, such as a reviewer's; it counts from now on.

    Raises:
      Refused: it cannot be taken.
    """
    state = project.state()
    if delivery.case not in state.cases or state.cases[delivery.case].excluded is not None:
        raise Refused("unknown-case", f"{delivery.case!r} is no case of this project.")
    case = state.cases[delivery.case]
    if case.asked_parts and any(reading.is_open for reading in case.readings.values()):
        raise Refused("not-open", f"{delivery.case}: other parts of it are being read. Correct it when they are in.")
    received = kind_of(project).receive(project, state, delivery, ())
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        fields = {"delivered": digest_of(delivery), "minutes": None, "comment": delivery.comment[:500], "via": delivery.via}
        version = store(project, pen, delivery.case, delivery.reader, received, **fields)
        pen.add("decided", case=delivery.case, version=version, by=delivery.reader, why=delivery.comment[:500])
    return Receipt(delivery.case, version, received.notes)


def store(project: Project, pen: Pen, case: str, reader: str, received: Received, **fields: Any) -> str:
    """Keeps a label that did not come from a reader, such as one that was there at the start; returns its version's name.

    Args:
      project: whose.
      pen: of its log.
      case, reader: whose label; `reader` is the first part of the version's name.
      received: the label.
      fields: for the log, besides the label's own.
    """
    state = project.state_of(pen.events)
    version = next_version(state, case, reader)
    with _written_aside(project, case, received) as (aside, digest):
        _name(aside, project.label_path(case, version))
        kind, who = ("merged", {}) if reader == MERGED else ("label", {"reader": reader})
        pen.add(kind, case=case, **who, version=version, digest=digest, classes=len(state.classes), **received.fields, **fields)
    return version


def digest_of(delivery: Delivery) -> str:
    """SHA-256 of what was handed in; of a chosen class, of the choice and its time, so that it is told from a later one."""
    if delivery.path is not None:
        return sha256_of(delivery.path)
    return hashlib.sha256(json.dumps([delivery.answer or delivery.refusal, delivery.at]).encode()).hexdigest()


def _confirmed(state: State, delivery: Delivery, digest: str) -> set[str]:
    """Codes for which this very file was refused before: the reader means it."""
    this = {"case": delivery.case, "reader": delivery.reader, "delivered": digest}
    case = state.cases[delivery.case]
    since = case.readings[delivery.reader].asked if case.asked_parts else ""  # an empty file says nothing of the next parts
    before = [event.fields for event in state.refused if event.time >= since and this.items() <= event.fields.items()]
    return {fields["code"] for fields in before} & CONFIRMED_BY_REPEATING


def next_version(state: State, case: str, reader: str) -> str:
    return f"{reader}-{1 + sum(version.reader == reader for version in state.cases[case].versions)}"


@contextlib.contextmanager
def _written_aside(project: Project, case: str, received: Received) -> Iterator[tuple[Path | None, str]]:
    """A label's file that is written durably beside where it will be, and its SHA-256; what has no name at the end is removed.

    None and nothing of a label without a file.
    """
    if received.write is None:
        yield None, ""
        return
    folder = project.folder / "labels" / case
    for left in folder.glob(".*.tmp"):  # by a kill
        if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
            left.unlink(missing_ok=True)
    aside = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        received.write(aside)
        yield aside, sha256_of(aside)
    finally:
        aside.unlink(missing_ok=True)


def _name(aside: Path | None, path: Path) -> None:
    """Gives a written file its name, durably."""
    if aside is None:
        return
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
    own = [version for version in case.versions if version.reader == delivery.reader]
    same = [version for version in own if version.delivered == digest]
    if delivery.answer is not None and own and own[-1] not in same:
        return None  # who chose one class, then another, then the first again means the first
    return same[-1] if same else None


def _check_changed(state: State, delivery: Delivery, digest: str) -> None:
    """Makes sure that what came back is not handed in again as it was, as an old file in the inbox would be.

    Raises:
      Refused: it is the very label that came back.
    """
    case = state.cases[delivery.case]
    own = [version.delivered for version in case.versions if version.reader == delivery.reader]
    if case.readings[delivery.reader].status == "returned" and digest in own:
        why = case.readings[delivery.reader].why
        raise Refused(
            "came-back", f"{delivery.case}: this is what you handed in before, and it came back ({why}). Correct it first."
        )


def _may_correct(state: State, delivery: Delivery) -> bool:
    """Whether a reader may choose another class than before, or refuse the case: a slip is easy, and as long as nobody else's word counts, nothing is lost."""
    case = state.cases[delivery.case]
    chosen = delivery.answer is not None or bool(delivery.refusal)
    return chosen and (case.label is None or len(case.readings) == 1)


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
    if not reading.is_open and not _may_correct(state, delivery):
        raise Refused(
            "not-open",
            f"{delivery.case}: your label was taken already, and this is another one. To correct it, ask who runs the project to reopen the case.",
        )


def keep_refused(project: Project, delivery: Delivery, refused: Refused) -> None:
    """Keeps a refused file with the reason, and writes it down.

    A file of an inbox is gone from there before it is written down: what is handed in twice may count as confirmed, and a kill must not
    hand it in.
    """
    state, digest = project.state(), digest_of(delivery)
    reader = delivery.reader if delivery.reader in state.readers else None
    kept = ""
    if reader and delivery.path is not None:
        moment = datetime.datetime.fromtimestamp(project.log.now(), datetime.UTC).strftime("%Y%m%dT%H%M%S")
        case = delivery.case if delivery.case in state.cases else "unknown" if delivery.case else delivery.path.stem
        ending = ending_of(delivery.path.name) or delivery.path.suffix
        target = project.reader_folder(reader) / "returned" / f"{plain_name(case)}-{moment}-{uuid.uuid4().hex[:4]}{ending}"
        write_whole(target, lambda file, source=delivery.path: _copy(source, file))  # type: ignore[misc]
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
