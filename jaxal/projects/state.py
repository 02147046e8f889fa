"""Where a project stands: the replay of its log. Nothing here is stored, so nothing here can be out of date.

A *reading* is what one reader is asked for once: a case, an attempt. A *version* is a label that somebody handed in, which is never
changed. A case's *label* is the version that counts now. These events make the state; every other field of theirs is for the record.

    started   readers                                 the project begins
    reader    name, present                           a reader is added, is away, or is back
    data      path                                    the data were moved
    class     name, old ("absent" or "ask")           a class is added; what it means for labels that were drawn before
    round     round, training, evaluation, test       what a round works with: written down before it trains
    asked     round, readings: case, reader, part, role, double
                                                      a round's query; role is what the label will be used for
    opened    case, reader                            the reader has the case before him
    label     case, reader, version                   a label was accepted
    merged    case, version, of                       several readings were made one
    disputed  case, of                                readers differ too much, so a person decides
    decided   case, version, by                       that version counts
    returned  case, version, why                      a label is not good enough; its reader gets the case again
    refused   case, reader, code                      a delivery was not accepted
    skipped   case, reader, why                       the reader gave the case back
    assigned  case, reader, why                       a reader gets a case that is asked for
    released  case, reader, why                       a reader need not read a case any more
    reopened  case, reader, why                       a label is to be corrected; it counts until the new one is there
    excluded  case, why                               the case is unusable
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from jaxal.projects.log import Event

Part = Literal["existing", "first", "strategy", "random", "again", "third"]  # how a case came to be asked for
Role = Literal["training", "evaluation", "test"]
EXISTING = "data"  # stands for a reader in the versions of labels that were there at the start
MERGED = "merged"


class Version(NamedTuple):
    """A label that was handed in, or made of several.

    Attributes:
      name: `READER-NUMBER`.
      case, reader: whose.
      attempt: of the case.
      round: in which it was asked for.
      time: when it was accepted.
      minutes: that it took, if that is known.
      notes: codes of what was noted.
      digest: SHA-256 of its file, or the class's name of an image that has one.
      delivered: SHA-256 of what was handed in.
      classes: names that its reader could choose from.
      proposal: round of the proposal that it began from; None where there was none.
      volumes_ml, centres: of the classes that are in it, by name, where they are known; see `labels.survey`.
    """

    name: str
    case: str
    reader: str
    attempt: int
    round: int
    time: str
    minutes: float | None
    notes: tuple[str, ...]
    digest: str
    delivered: str
    classes: int
    proposal: int | None
    volumes_ml: Mapping[str, float] = MappingProxyType({})
    centres: Mapping[str, Sequence[float]] = MappingProxyType({})


@dataclasses.dataclass
class Reading:
    """What a reader is asked for.

    Attributes:
      case, reader: who reads what.
      round: in which it was asked for.
      part: how the case came to be asked for. Readers must not know.
      double: whether somebody else reads the same case, too.
      status: `returned` is open again, with reasons.
      asked, opened: when.
      why: reasons of the last return.
      proposal: whether a proposal is shown.
    """

    case: str
    reader: str
    round: int
    part: Part
    double: bool
    status: Literal["asked", "opened", "returned", "accepted"]
    asked: str
    opened: str | None = None
    why: str = ""
    proposal: bool = True

    @property
    def is_open(self) -> bool:
        return self.status != "accepted"


@dataclasses.dataclass
class CaseState:
    """A case.

    Attributes:
      readings: of the present attempt, by reader.
      versions: all, oldest first.
      label: name of the version that counts; None where there is none.
      attempt: how often it was asked for.
      part, role: how it came to be asked for, and what its label is used for; None as long as it was not.
      excluded: why it is unusable, if it is.
      disputed: names of versions that differ too much, as long as nobody has decided.
    """

    readings: dict[str, Reading] = dataclasses.field(default_factory=dict)
    versions: list[Version] = dataclasses.field(default_factory=list)
    label: str | None = None
    attempt: int = 0
    part: Part | None = None
    role: Role | None = None
    excluded: str | None = None
    disputed: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["excluded", "disputed", "asked", "labelled", "unlabelled"]:
        if self.excluded is not None:
            return "excluded"
        if self.disputed:
            return "disputed"
        if any(reading.is_open for reading in self.readings.values()) or self.waits_for_merging:
            return "asked"
        return "labelled" if self.label else "unlabelled"

    @property
    def waits_for_merging(self) -> bool:
        """Whether all readings are there and have not been made one yet."""
        return not self.disputed and len(self.readings) > 1 and not self.counts_after(self.attempt) and not self._is_open

    @property
    def _is_open(self) -> bool:
        return any(reading.is_open for reading in self.readings.values())

    def counts_after(self, attempt: int) -> bool:
        """Whether the label that counts is of this attempt."""
        return any(version.name == self.label and version.attempt == attempt for version in self.versions)

    def version(self, name: str) -> Version:
        return next(version for version in self.versions if version.name == name)

    def of_attempt(self) -> list[Version]:
        """The newest version of each reader of the present attempt, by reader."""
        newest = {version.reader: version for version in self.versions if version.attempt == self.attempt}
        return [version for reader, version in sorted(newest.items()) if reader in self.readings]


class Round(NamedTuple):
    """A round that has begun.

    Attributes:
      number: from 1.
      training, evaluation, test: cases and the versions of their labels, as the round works with them.
      fields: all that the log says of its beginning.
      asked: what the log says of its query; None as long as it was not asked.
    """

    number: int
    training: tuple[tuple[str, str], ...]
    evaluation: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]
    fields: Mapping[str, Any]
    asked: Mapping[str, Any] | None


@dataclasses.dataclass
class State:
    """A project's state.

    Attributes:
      cases: by id.
      readers: by name, whether they are there.
      classes: their names, those that were added among them.
      data: where the data lie, if they were moved.
      rounds: that have begun.
      refused: events of deliveries that were refused.
      events: how many there are.
      last: time of the last one.
    """

    cases: dict[str, CaseState]
    readers: dict[str, bool]
    classes: list[str]
    data: str | None = None
    rounds: list[Round] = dataclasses.field(default_factory=list)
    refused: list[Event] = dataclasses.field(default_factory=list)
    events: int = 0
    last: str = ""

    @property
    def present(self) -> list[str]:
        """Readers who are there."""
        return sorted(name for name, there in self.readers.items() if there)

    @property
    def open_readings(self) -> list[Reading]:
        """What is still to be handed in, in the order in which it was asked for."""
        return [
            reading
            for case in self.cases.values()
            if case.excluded is None
            for reading in case.readings.values()
            if reading.is_open
        ]

    def with_status(self, status: str) -> list[str]:
        """Ids of the cases that stand so."""
        return [id_ for id_, case in sorted(self.cases.items()) if case.status == status]

    def labels(self, role: Role) -> list[tuple[str, str]]:
        """Cases of a role that have a label which counts, with its version, by id."""
        return [
            (id_, case.label)
            for id_, case in sorted(self.cases.items())
            if case.role == role and case.label and case.excluded is None
        ]

    def unasked(self) -> list[str]:
        """Cases that may be asked for, by id."""
        return [id_ for id_, case in sorted(self.cases.items()) if case.status == "unlabelled"]


def replay(events: Iterable[Event], cases: Sequence[str], classes: Sequence[str]) -> State:
    """The state after these events.

    Args:
      events: of the log.
      cases: ids of all cases.
      classes: names at the start, background included.
    """
    state = State({id_: CaseState() for id_ in cases}, {}, list(classes))
    for event in events:
        state.events, state.last = event.number + 1, event.time
        change = _CHANGES.get(event.kind)
        if change:
            change(state, event)
    return state


def _started(state: State, event: Event) -> None:
    state.readers = dict.fromkeys(event.fields["readers"], True)


def _reader(state: State, event: Event) -> None:
    state.readers[event.fields["name"]] = event.fields["present"]


def _data(state: State, event: Event) -> None:
    state.data = event.fields["path"]


def _class(state: State, event: Event) -> None:
    state.classes.append(event.fields["name"])
    if event.fields["old"] == "ask":  # they may show it, and nobody has looked
        for case in state.cases.values():
            case.label, case.readings, case.disputed = None, {}, ()


def _round(state: State, event: Event) -> None:
    parts = {name: tuple(map(tuple, event.fields[name])) for name in ("training", "evaluation", "test")}
    state.rounds.append(Round(event.fields["round"], **parts, fields=event.fields, asked=None))


def _asked(state: State, event: Event) -> None:
    state.rounds[-1] = state.rounds[-1]._replace(asked=event.fields)
    for entry in event.fields["readings"]:
        case = state.cases[entry["case"]]
        if not any(reading.round == event.fields["round"] for reading in case.readings.values()):
            case.attempt += 1
            case.readings = {}
        case.part, case.role = entry["part"], entry["role"]
        case.readings[entry["reader"]] = Reading(
            entry["case"],
            entry["reader"],
            event.fields["round"],
            entry["part"],
            entry["double"],
            "asked",
            event.time,
            proposal=entry.get("proposal", True),
        )


def _opened(state: State, event: Event) -> None:
    reading = state.cases[event.fields["case"]].readings.get(event.fields["reader"])
    if reading and reading.is_open:
        reading.status, reading.opened = "opened" if reading.status == "asked" else reading.status, event.time


def _label(state: State, event: Event) -> None:
    fields, case = event.fields, state.cases[event.fields["case"]]
    reading = case.readings.get(fields["reader"])
    case.versions.append(
        Version(
            fields["version"],
            fields["case"],
            fields["reader"],
            case.attempt,
            reading.round if reading else 0,
            event.time,
            fields.get("minutes"),
            tuple(note["code"] for note in fields.get("notes", ())),
            fields["digest"],
            fields.get("delivered", ""),
            fields["classes"],
            fields.get("proposal"),
            fields.get("volumes_ml", {}),
            fields.get("centres", {}),
        )
    )
    if fields["reader"] == EXISTING:
        case.label, case.part, case.role = fields["version"], "existing", fields["role"]
    if reading:
        reading.status, reading.why = "accepted", ""
    if case.disputed:
        case.disputed = ()  # a third reading; what comes of it is decided anew
    if reading and len(case.readings) == 1:
        case.label = fields["version"]


def _merged(state: State, event: Event) -> None:
    fields, case = event.fields, state.cases[event.fields["case"]]
    case.versions.append(
        Version(
            fields["version"],
            fields["case"],
            MERGED,
            case.attempt,
            0,
            event.time,
            None,
            (),
            fields["digest"],
            "",
            fields["classes"],
            None,
        )
    )
    case.label, case.disputed = fields["version"], ()


def _disputed(state: State, event: Event) -> None:
    state.cases[event.fields["case"]].disputed = tuple(event.fields["of"])


def _decided(state: State, event: Event) -> None:
    case = state.cases[event.fields["case"]]
    case.label, case.disputed = event.fields["version"], ()


def _returned(state: State, event: Event) -> None:
    case = state.cases[event.fields["case"]]
    version = case.version(event.fields["version"])
    reading = case.readings.get(version.reader)
    if reading is None:  # of an attempt that is over
        reading = Reading(case.versions[0].case, version.reader, version.round, case.part or "again", False, "asked", event.time)
        case.attempt += 1
        case.readings = {version.reader: reading}
    reading.status, reading.why, reading.opened = "returned", event.fields["why"], None
    case.label, case.disputed = None, ()


def _skipped(state: State, event: Event) -> None:
    _released(state, event)


def _released(state: State, event: Event) -> None:
    case = state.cases[event.fields["case"]]
    reading = case.readings.get(event.fields["reader"])
    if reading and reading.is_open:
        del case.readings[reading.reader]
        for other in case.readings.values():
            other.double = len(case.readings) > 1
        left = list(case.readings.values())
        if len(left) == 1 and left[0].status == "accepted" and not case.counts_after(case.attempt):
            case.label = case.of_attempt()[0].name  # the only reading that is left counts


def _assigned(state: State, event: Event) -> None:
    fields, case = event.fields, state.cases[event.fields["case"]]
    rounds = [reading.round for reading in case.readings.values()] or [state.rounds[-1].number if state.rounds else 0]
    case.readings[fields["reader"]] = Reading(
        fields["case"],
        fields["reader"],
        max(rounds),
        fields.get("part") or case.part or "strategy",
        bool(case.readings),
        "asked",
        event.time,
        proposal=fields.get("proposal", True),
    )
    if fields.get("part") == "third":
        case.disputed = ()


def _reopened(state: State, event: Event) -> None:
    fields, case = event.fields, state.cases[event.fields["case"]]
    case.attempt += 1
    round_ = state.rounds[-1].number if state.rounds else 0
    case.readings = {
        fields["reader"]: Reading(
            fields["case"], fields["reader"], round_, "again", False, "returned", event.time, why=fields["why"]
        )
    }


def _excluded(state: State, event: Event) -> None:
    case = state.cases[event.fields["case"]]
    case.excluded, case.readings, case.disputed = event.fields["why"], {}, ()


def _refused(state: State, event: Event) -> None:
    state.refused.append(event)


_CHANGES = {
    "started": _started,
    "reader": _reader,
    "data": _data,
    "class": _class,
    "round": _round,
    "asked": _asked,
    "opened": _opened,
    "label": _label,
    "merged": _merged,
    "disputed": _disputed,
    "decided": _decided,
    "returned": _returned,
    "skipped": _skipped,
    "released": _released,
    "assigned": _assigned,
    "reopened": _reopened,
    "excluded": _excluded,
    "refused": _refused,
}
