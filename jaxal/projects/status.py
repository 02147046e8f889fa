"""How a project stands, as plain records: for the terminal, for programs (`--json`), and for the page."""

import dataclasses
import shlex
from collections import Counter
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxal.assessment.intervals import Estimate
from jaxal.data.parts import count_in
from jaxal.projects.kind import Progress
from jaxal.projects.kinds import kind_of
from jaxal.projects.measures import Unseen, agreement, honest, is_known, parts_of_query, unseen
from jaxal.projects.project import Project
from jaxal.projects.state import MERGED, CaseState, Reading, State
from jaxal.projects.take import is_handed_in

STATUSES: tuple[Literal["labelled", "asked", "disputed", "unlabelled", "excluded"], ...] = (
    "labelled",
    "asked",
    "disputed",
    "unlabelled",
    "excluded",
)


@dataclasses.dataclass(frozen=True)
class ReaderStatus:
    """One reader.

    Attributes:
      name: theirs.
      present: whether they are there.
      open: cases that they have to read.
      returned: of these, those that came back to them.
      accepted: labels of theirs that were taken.
      unchanged: of these, those that were the proposal, voxel for voxel.
      minutes: median of their readings; None where no reading's time is known.
      waiting: files in their inbox.
    """

    name: str
    present: bool
    open: int
    returned: int
    accepted: int
    unchanged: int
    minutes: float | None
    waiting: int


@dataclasses.dataclass(frozen=True)
class CaseStatus:
    """One case.

    Attributes:
      id, group, status: its names, and how it stands.
      round: in which it was asked for last; None as long as it was not.
      readers: who reads or has read it.
      label: version that counts.
      accepted: when that came.
      minutes: that its readings took.
      notes: codes of what was noted.
      why: reasons why it was returned or excluded.
      share: of its voxels that are labelled, where parts of cases are asked for; else None.
    """

    id: str
    group: str
    status: str
    round: int | None
    readers: tuple[str, ...]
    label: str | None
    accepted: str | None
    minutes: float | None
    notes: tuple[str, ...]
    why: str
    share: float | None = None


class PartsStatus(NamedTuple):
    """How far a project is that asks for parts of cases.

    Attributes:
      asked: parts that were asked for.
      labelled: of these, those that have a label which counts.
      voxels: that have a label, where nobody was asked included.
      of: voxels of all cases that were not left out.
      left: as many parts as the voxels without a label would fill, about.
    """

    asked: int
    labelled: int
    voxels: int
    of: int
    left: int


class Todo(NamedTuple):
    """What is to be done now: a sentence, and the command that does it, if one does."""

    sentence: str
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Status:
    """All of it.

    Attributes:
      name, folder: of the project.
      at: time of the last event.
      todo: what to do now, the most urgent first.
      counts: cases by how they stand.
      readers, cases: each.
      classes: that are drawn or chosen.
      score: what predictions and second readers are judged by.
      rounds: that have begun.
      unseen: each network on cases that it has never seen.
      agreement: between two readers: the case, the readers, and by class how far they agree.
      minutes: spent in all, as far as they are known.
      guess: minutes that a reading takes: the median of those known, else as guessed at the start.
      size: cases a query.
      least_gain: see `Protocol`.
      refused: deliveries that were refused, newest first: time, reader, case, sentence.
      parts: how far it is where parts of cases are asked for; else None.
    """

    name: str
    folder: str
    at: str
    todo: tuple[Todo, ...]
    counts: dict[str, int]
    readers: tuple[ReaderStatus, ...]
    cases: tuple[CaseStatus, ...]
    classes: tuple[str, ...]
    score: str
    rounds: int
    unseen: tuple[Unseen, ...]
    agreement: tuple[tuple[str, tuple[str, str], list[float]], ...]
    minutes: float
    guess: float
    size: int
    least_gain: float | None
    refused: tuple[tuple[str, str, str, str], ...]
    parts: PartsStatus | None = None

    @property
    def unit(self) -> str:
        """What is asked for at once."""
        return "case" if self.parts is None else "part"


def status_of(project: Project, progress: Progress = lambda done, total: None) -> Status:
    """Reads how a project stands."""
    state = project.state()
    versions = [version for case in state.cases.values() for version in case.versions]
    minutes = [version.minutes for version in versions if version.minutes is not None]
    each = [version.minutes_each for version in versions if version.minutes_each is not None]
    counts = Counter(case.status for case in state.cases.values())
    return Status(
        name=project.settings.name,
        folder=str(project.folder),
        at=state.last,
        todo=tuple(todo(project, state)),
        counts={status: counts[status] for status in STATUSES},
        readers=tuple(_reader(project, state, name) for name in sorted(state.readers)),
        cases=tuple(_case(project, state, id_) for id_ in sorted(state.cases)),
        classes=kind_of(project).named(state.classes),
        score=kind_of(project).judged.name,
        rounds=len(state.rounds),
        unseen=tuple(unseen(project, state, progress)),
        agreement=tuple((id_, (first, second), scores) for id_, (first, second), scores in agreement(project, state)),
        minutes=float(np.sum(minutes)),
        guess=float(np.median(each)) if each else project.settings.protocol.minutes,
        size=project.settings.protocol.size,
        least_gain=project.settings.protocol.least_gain,
        refused=tuple(
            (event.time, event.fields["reader"], event.fields["case"], event.fields["sentence"])
            for event in reversed(state.refused)
        ),
        parts=_parts(project, state) if project.asks_for_parts else None,
    )


def _parts(project: Project, state: State) -> PartsStatus:
    asked = [entry for round_ in state.rounds for entry in parts_of_query(state, round_)]
    used = [id_ for id_, case in state.cases.items() if case.excluded is None]
    voxels, of = sum(_voxels(project, state, id_) for id_ in used), sum(prod(project.cases[id_].shape) for id_ in used)
    scans = project.settings.scans
    size = scans.parts.size if scans.parts else ()
    share = prod(min(part or length, length) / length for part, length in zip(size, scans.plan.largest, strict=True))
    left = round((of - voxels) / (of / max(len(used), 1) * share)) if of else 0
    return PartsStatus(len(asked), sum(is_known(state, entry) for entry in asked), voxels, of, left)


def _voxels(project: Project, state: State, id_: str) -> int:
    """Voxels of a case that a label tells of, those among them that it leaves out included."""
    case, shape = state.cases[id_], project.cases[id_].shape
    if case.counts is None:
        return 0
    parts = case.parts_of(case.counts)
    return count_in(parts, shape) if parts else prod(shape)


def todo(project: Project, state: State) -> list[Todo]:
    """What to do now, the most urgent first; one thing at least."""
    things, folder = [], shlex.quote(str(project.folder))
    if disputed := state.with_status("disputed"):
        things.append(
            Todo(f"Decide on {_few(disputed)}: readers differ too much there, so no label counts.", f"jaxal review {folder}")
        )
    waiting = {name: files_waiting(project, name) for name in state.readers}
    if any(waiting.values()):
        told = ", ".join(f"{name} {count}" for name, count in sorted(waiting.items()) if count)
        things.append(Todo(f"Take in what lies in the inboxes ({told}).", f"jaxal take {folder}"))
    if state.rounds and state.rounds[-1].asked is None:
        things.append(Todo(f"Finish round {state.rounds[-1].number}, which was stopped.", f"jaxal ask {folder}"))
    elif readings := state.open_readings:
        things.append(_waiting_for(project, state, readings))
    elif state.unasked() and not disputed:
        size = project.settings.protocol.size
        following = f"{size} parts" if project.asks_for_parts else f"{min(size, len(state.unasked()))} cases"
        first = f"the first {following.split()[1]}" if not state.rounds else f"the next {following}"
        things.append(Todo(f"Ask for {first}.", f"jaxal ask {folder}"))
    if not things:
        things.append(Todo("Every case is labelled or left out; nothing is left to ask for.", f"jaxal export {folder} OUT"))
    return things


def _waiting_for(project: Project, state: State, readings: list[Reading]) -> Todo:
    by_reader = Counter(reading.reader for reading in readings)
    told = ", ".join(f"{name} {count}" for name, count in sorted(by_reader.items()))
    away = [name for name in by_reader if not state.readers.get(name)]
    if away:
        return Todo(
            f"Hand over the cases of {', '.join(away)}, who is away.",
            f"jaxal release {shlex.quote(str(project.folder))} --reader {shlex.quote(away[0])}",
        )
    count = len(readings)
    return Todo(f"Wait for {count} reading{'s' if count > 1 else ''} of round {max(r.round for r in readings)}: {told}.")


def files_waiting(project: Project, reader: str) -> int:
    """Files in a reader's inbox that can be taken in."""
    inbox = project.reader_folder(reader) / "inbox"
    return sum(is_handed_in(project, path) for path in inbox.glob("[!.]*")) if inbox.is_dir() else 0


def _few(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _reader(project: Project, state: State, name: str) -> ReaderStatus:
    versions = [version for case in state.cases.values() for version in case.versions if version.reader == name]
    readings = [reading for reading in state.open_readings if reading.reader == name]
    minutes = [version.minutes for version in versions if version.minutes is not None]
    return ReaderStatus(
        name,
        state.readers[name],
        len(readings),
        sum(reading.status == "returned" for reading in readings),
        len(versions),
        sum("unchanged" in version.notes for version in versions),
        float(np.median(minutes)) if minutes else None,
        files_waiting(project, name),
    )


def _case(project: Project, state: State, id_: str) -> CaseStatus:
    case = state.cases[id_]
    drawn = [version for version in case.versions if version.reader != MERGED]
    minutes = [version.minutes for version in drawn if version.minutes is not None]
    rounds = [reading.round for reading in case.readings.values()]
    return CaseStatus(
        id_,
        project.cases[id_].group,
        case.status,
        max(rounds) if rounds else None,
        tuple(sorted({*case.readings, *(version.reader for version in drawn)})),
        case.counts,
        max(version.time for version in case.versions_of(case.counts)) if case.counts else None,
        float(np.sum(minutes)) if minutes else None,
        tuple(dict.fromkeys(note for version in drawn for note in version.notes)),
        _why(case),
        _voxels(project, state, id_) / prod(project.cases[id_].shape) if project.asks_for_parts else None,
    )


def _why(case: CaseState) -> str:
    if case.excluded is not None:
        return case.excluded if case.refused_by is None else f"{case.refused_by}: {case.excluded}"
    return "; ".join(f"{reading.reader}: {reading.why}" for reading in case.readings.values() if reading.why)


def to_json(status: Status) -> dict[str, Any]:
    """For programs; what is undefined is null."""
    record = dataclasses.asdict(dataclasses.replace(status, unseen=(), agreement=()))
    record["todo"] = [thing._asdict() for thing in status.todo]
    record["parts"] = None if status.parts is None else status.parts._asdict()
    record["unseen"] = [
        {
            "round": measured.round,
            "trained_on": measured.trained_on,
            "waiting": measured.waiting,
            "cases": {
                id_: {"part": part, "scores": [None if np.isnan(value) else float(value) for value in scores]}
                for id_, part, scores in zip(measured.cases, measured.parts, measured.scores, strict=True)
            },
        }
        for measured in status.unseen
    ]
    record["agreement"] = [
        {"case": id_, "readers": list(readers), "scores": [None if np.isnan(value) else value for value in scores]}
        for id_, readers, scores in status.agreement
    ]
    return record


def in_words(status: Status) -> list[str]:
    """Lines for the terminal: what to do first, then how it stands."""
    lines = [f"{thing.sentence}{f'  {thing.command}' if thing.command else ''}" for thing in status.todo]
    lines.append("")
    told = ", ".join(f"{count} {name}" for name, count in status.counts.items() if count)
    lines.append(
        f"{status.name}: {len(status.cases)} cases, {told}; {status.rounds} rounds, {status.minutes:.0f} minutes of reading known."
    )
    if status.parts is not None:
        lines.append(f"  {parts_in_words(status.parts)}")
    for reader in status.readers:
        minutes = "" if reader.minutes is None else f", {reader.minutes:.{1 if reader.minutes >= 1 else 2}f} minutes a case"
        returned = f" ({reader.returned} came back)" if reader.returned else ""
        away = "" if reader.present else ", away"
        lines.append(f"  {reader.name:<12} {reader.open} open{returned}, {reader.accepted} taken{minutes}{away}")
    for measured in status.unseen:
        estimate = honest(measured)
        lines.append(
            f"  round {measured.round:<3} trained on {measured.trained_on:<4} {_told(status.score, estimate.over_all if estimate else None, status.unit)}"
        )
    return lines


def parts_in_words(parts: PartsStatus) -> str:
    """How far a project is that asks for parts, in a sentence."""
    share = parts.voxels / max(parts.of, 1)
    return f"{parts.labelled} of {parts.asked} parts that were asked for are labelled; {share:.{1 if share >= 0.001 else 2}%} of all voxels have a label."


def _told(score: str, estimate: Estimate | None, unit: str) -> str:
    if estimate is None or np.isnan(estimate.value):
        return "no label of what it has not seen is there yet"
    interval = "" if np.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{score} {estimate.value:.3f}{interval} on what it has not seen, from {estimate.cases} {unit}s"
