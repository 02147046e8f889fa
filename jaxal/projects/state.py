"""Where a project stands, as records. Nothing here is stored: it is the replay of the log (`replay.py`), so it cannot be out of date.

A *reading* is what one reader is asked for once: a case, an attempt. A *version* is a label that somebody handed in, which is never
changed. A case's *label* is the version that counts now. Where parts of cases are asked for, each attempt asks for other parts of a case, and
what counts are the versions of several attempts, which lie one over the other.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from jaxal import types
from jaxal.data.parts import count_in
from jaxal.projects.log import Event

Part = Literal["existing", "first", "strategy", "random", "again", "third"]  # how a case came to be asked for
Role = Literal["training", "evaluation", "test"]
ROLES: tuple[Role, ...] = ("training", "evaluation", "test")
EXISTING = "data"  # stands for a reader in the versions of labels that were there at the start
MERGED = "merged"
SKIPPED = "skipped"  # why a case went to somebody else whose reader gave it back
OVERDUE = "overdue"  # why a case went to somebody else that nobody had opened for long


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
      digest: SHA-256 of its file; empty of a class.
      delivered: SHA-256 of what was handed in.
      classes: names that its reader could choose from.
      proposal: round of the proposal that it began from; None where there was none.
      size: how much the proposal of its round showed, whether the reader saw it or not; see `assignment.Size`.
      volumes_ml, centres: of the classes that are in it, by name, where they are known; see `labels.survey`.
      category: the class of an image; None of what was drawn.
      parts: of the case that it tells of, on its own grid; empty where it tells of all of it.
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
    size: tuple[float, ...] | None = None
    volumes_ml: Mapping[str, float] = MappingProxyType({})
    centres: Mapping[str, Sequence[float]] = MappingProxyType({})
    category: str | None = None
    parts: tuple[types.Part, ...] = ()

    @property
    def minutes_each(self) -> float | None:
        """Minutes that each part took, or the case as a whole."""
        return None if self.minutes is None else self.minutes / max(1, len(self.parts))


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
      size: how much the proposal shows.
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
    size: tuple[float, ...] | None = None

    @property
    def is_open(self) -> bool:
        return self.status != "accepted"


class Review(NamedTuple):
    """What a reviewer said of a version last: `approve`, `flag` or `comment`, who, when, and in which words."""

    decision: str
    by: str
    time: str
    text: str


@dataclasses.dataclass
class CaseState:
    """A case.

    Attributes:
      readings: of the present attempt, by reader.
      versions: all, oldest first.
      label: name of the version that counts, of the present attempt where parts are asked for; None where there is none.
      attempt: how often it was asked for.
      part, role: how it came to be asked for, and what its label is used for; None as long as it was not.
      excluded: why it is unusable, if it is.
      refused_by: the reader who said so; None where who runs the project did.
      disputed: names of versions that differ too much, as long as nobody has decided.
      reviews: the last one of each version, by its name.
      given_back: readers who gave it back in the present attempt, and are not asked again.
      asked_parts: of the case that the present attempt asks for, on its own grid; empty where it asks for all of it.
      earlier: versions of earlier attempts that go on counting, by attempt, where this one asks for other parts.
    """

    readings: dict[str, Reading] = dataclasses.field(default_factory=dict)
    versions: list[Version] = dataclasses.field(default_factory=list)
    label: str | None = None
    attempt: int = 0
    part: Part | None = None
    role: Role | None = None
    excluded: str | None = None
    refused_by: str | None = None
    disputed: tuple[str, ...] = ()
    reviews: dict[str, Review] = dataclasses.field(default_factory=dict)
    given_back: set[str] = dataclasses.field(default_factory=set)
    asked_parts: tuple[types.Part, ...] = ()
    earlier: dict[int, str] = dataclasses.field(default_factory=dict)

    def begin(self, parts: tuple[types.Part, ...] = ()) -> None:
        """Begins another attempt. Where it asks for parts, what is known of the case goes on counting."""
        if parts and self.label:
            self.earlier[self.version(self.label).attempt] = self.label
            self.label = None
        self.attempt += 1
        self.readings, self.given_back, self.asked_parts = {}, set(), parts

    @property
    def counts(self) -> str | None:
        """The label that counts: a version's name, or names of several, oldest first, parted by `/`; later ones lie over earlier ones."""
        names = [*(name for _, name in sorted(self.earlier.items())), *([self.label] if self.label else [])]
        whole = [place for place, name in enumerate(names) if not self.version(name).parts]
        return "/".join(names[max(whole, default=0) :]) or None

    def versions_of(self, label: str) -> list[Version]:
        """The versions that make up a label, oldest first."""
        return [self.version(name) for name in label.split("/")]

    def digest_of(self, label: str) -> str:
        """Tells a label's content from another's: the digest of its version, or of those of several."""
        digests = [version.digest for version in self.versions_of(label)]
        return digests[0] if len(digests) == 1 else hashlib.sha256("/".join(digests).encode()).hexdigest()

    def parts_of(self, label: str) -> tuple[types.Part, ...]:
        """The parts of the case that a label tells of; none where it tells of all of it."""
        versions = self.versions_of(label)
        return tuple(part for version in versions for part in version.parts) if versions[0].parts else ()

    def parts_for(self, reader: str) -> tuple[types.Part, ...]:
        """The parts that a label of somebody would tell of: what was asked of them; of whom nothing was asked, such as a reviewer, all that counts."""
        return self.parts_of(self.counts) if self.counts and reader not in self.readings else self.asked_parts

    @property
    def status(self) -> Literal["excluded", "disputed", "asked", "labelled", "unlabelled"]:
        if self.excluded is not None:
            return "excluded"
        if self.disputed:
            return "disputed"
        if any(reading.is_open for reading in self.readings.values()) or self.waits_for_merging:
            return "asked"
        return "labelled" if self.counts else "unlabelled"

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
      lapsed: readers who let a case lie until it went to somebody else, and have not opened or handed in anything since.
      classes: their names, those that were added among them.
      data: where the data lie, if they were moved.
      rounds: that have begun.
      refused: events of deliveries that were refused.
      events: how many there are.
      last: time of the last one.
      shapes: voxels of each case along its axes, where parts of cases are asked for; else empty.
    """

    cases: dict[str, CaseState]
    readers: dict[str, bool]
    classes: list[str]
    data: str | None = None
    lapsed: set[str] = dataclasses.field(default_factory=set)
    rounds: list[Round] = dataclasses.field(default_factory=list)
    refused: list[Event] = dataclasses.field(default_factory=list)
    events: int = 0
    last: str = ""
    shapes: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)

    @property
    def present(self) -> list[str]:
        """Readers who are there."""
        return sorted(name for name, there in self.readers.items() if there)

    @property
    def active(self) -> list[str]:
        """Readers who get new cases: those who are there and have let nothing lapse; all who are there if nobody else is left."""
        return [name for name in self.present if name not in self.lapsed] or self.present

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

    def refused_cases(self) -> list[str]:
        """Cases that their readers would not label."""
        return [id_ for id_, case in self.cases.items() if case.refused_by is not None]

    def with_status(self, status: str) -> list[str]:
        """Ids of the cases that stand so."""
        return [id_ for id_, case in sorted(self.cases.items()) if case.status == status]

    def labels(self, role: Role) -> list[tuple[str, str]]:
        """Cases of a role that have a label which counts, with its version, by id."""
        return [
            (id_, case.counts)
            for id_, case in sorted(self.cases.items())
            if case.role == role and case.counts and case.excluded is None
        ]

    def unasked(self) -> list[str]:
        """Cases that may be asked for, by id: those without a label, and of those that are asked for in parts what is not wholly labelled."""
        return [id_ for id_, case in sorted(self.cases.items()) if case.status == "unlabelled" or self._has_more(id_, case)]

    def _has_more(self, id_: str, case: CaseState) -> bool:
        if id_ not in self.shapes or case.status != "labelled" or case.role != "training":
            return False
        parts = case.parts_of(str(case.counts))
        return bool(parts) and count_in(parts, self.shapes[id_]) < prod(self.shapes[id_])
