"""Labels come in: checked, placed on the case's own grid, kept as a version that is never changed, and written down.

A label is durable before the log speaks of it, and the log speaks of it before its reader is told. A delivery that is refused changes
nothing of what is stored; it is kept for its reader, with the reason.
"""

import datetime
import gzip
import hashlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np

from jaxal.data.scans.nifti import read_stored
from jaxal.files import write_text, writing
from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.refusals import Note, Refused
from jaxal.projects.log import Pen
from jaxal.projects.project import Project
from jaxal.projects.settle import settle
from jaxal.projects.state import EXISTING, State, Version


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
    digest = _digest_of(delivery.path)
    state = project.state()
    try:
        if known := _taken_before(state, delivery, digest):
            return Receipt(delivery.case, known.name, (), again=True)
        _check_reading(project, state, delivery)
        received = receive(delivery.path, expected_of(project, state, delivery), names=delivery.names)
    except Refused as refused:
        _keep_refused(project, delivery, refused)
        raise
    values = received.values
    folder = project.folder / "labels" / delivery.case
    aside = folder / f".{uuid.uuid4().hex}.tmp"
    stored = write_label(aside, values, _own_image(project, state, delivery.case))
    try:
        with project.log.held() as pen:
            state = project.state_of(pen.events)
            if known := _taken_before(state, delivery, digest):
                return Receipt(delivery.case, known.name, (), again=True)
            _check_reading(project, state, delivery)
            version = next_version(state, delivery.case, delivery.reader)
            os.replace(aside, project.label_path(delivery.case, version))
            make_durable(folder)
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
                empty=bool(not (values > 0).any()),
                comment=delivery.comment[:500],
                via=delivery.via,
            )
    finally:
        aside.unlink(missing_ok=True)
    settle(project)
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
    path = project.label_path(case, version)
    aside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        digest = write_label(aside, values, _own_image(project, state, case))
        os.replace(aside, path)
        make_durable(path.parent)
    finally:
        aside.unlink(missing_ok=True)
    kind = "label" if reader == EXISTING else "merged"
    pen.add(
        kind,
        case=case,
        **({"reader": reader} if kind == "label" else {}),
        version=version,
        digest=digest,
        classes=len(state.classes),
        **fields,
    )
    return version


def expected_of(project: Project, state: State, delivery: Delivery) -> Expected:
    """What a delivery is checked against."""
    raise NotImplementedError


def read_version(project: Project, case: str, version: str) -> np.ndarray:
    """A stored label on the case's own grid."""
    return np.asarray(read_stored(project.label_path(case, version)).values, np.uint8)


def next_version(state: State, case: str, reader: str) -> str:
    return f"{reader}-{1 + sum(version.reader == reader for version in state.cases[case].versions)}"


def minutes_of(opened: str | None, now: float, seconds: float | None) -> float | None:
    """Minutes that a reading took, as far as one can tell."""
    if seconds is not None:
        return round(max(seconds, 0.0) / 60, 2)
    if opened is None:
        return None
    return round(max(now - datetime.datetime.fromisoformat(opened).timestamp(), 0.0) / 60, 2)


def write_label(path: Path, values: np.ndarray, like: nibabel.Nifti1Image) -> str:
    """Writes a label map with the place in space of another image, durably; returns the file's SHA-256."""
    image = nibabel.Nifti1Image(values.astype(np.uint8, copy=False), like.affine)
    image.header.set_xyzt_units("mm")
    for name in ("qform", "sform"):
        affine, code = getattr(like, f"get_{name}")(coded=True)
        getattr(image, f"set_{name}")(affine, int(code))
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path), path.open("wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed:
            packed.write(image.to_bytes())
        raw.flush()
        os.fsync(raw.fileno())
    return _digest_of(path)


def make_durable(folder: Path) -> None:
    """Makes a renaming in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own_image(project: Project, state: State, case: str) -> nibabel.Nifti1Image:
    return nibabel.load(project.image_paths(case, project.data(state))[0])


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _keep_refused(project: Project, delivery: Delivery, refused: Refused) -> None:
    """Keeps a refused file with the reason, and writes it down."""
    state = project.state()
    reader = delivery.reader if delivery.reader in state.readers else None
    kept = ""
    if reader:
        moment = datetime.datetime.fromtimestamp(project.log.now(), datetime.UTC).strftime("%Y%m%dT%H%M%S")
        case = delivery.case if delivery.case in state.cases else "unknown"
        folder = project.reader_folder(reader) / "returned"
        folder.mkdir(parents=True, exist_ok=True)
        ending = next(
            (end for end in (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".dcm") if delivery.path.name.lower().endswith(end)), ""
        )
        target = folder / f"{case}-{moment}-{uuid.uuid4().hex[:4]}{ending}"
        with writing(target):
            shutil.copyfile(delivery.path, target)
        write_text(target.with_name(target.name + ".txt"), f"{refused}\n")
        kept = target.name
    with project.log.held() as pen:
        pen.add(
            "refused",
            case=delivery.case if delivery.case in state.cases else "",
            reader=reader or "",
            code=refused.code,
            sentence=str(refused),
            file=kept,
            via=delivery.via,
        )
