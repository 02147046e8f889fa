"""What a project's page needs besides its status: what came back, how long readings took, and where readers and networks differ."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxal.assessment.minutes import LONGEST
from jaxal.assessment.reader_error import DICE, Judged
from jaxal.projects.kinds import kind_of
from jaxal.projects.log import Event
from jaxal.projects.measures import kept_apart
from jaxal.projects.project import Project
from jaxal.projects.state import EXISTING, MERGED, State, Version


class Back(NamedTuple):
    """A label that went back to a reader, a case that is asked for again, or one that a reader does not read any more.

    Attributes:
      time: when.
      kind: `returned`, `reopened`, `released` or `skipped`.
      reader, case: whose.
      why: in words.
      by: who said so; empty where that is not known.
    """

    time: str
    kind: str
    reader: str
    case: str
    why: str
    by: str


class Pair(NamedTuple):
    """A case that two readers have read, as they read it first.

    Those on which they differed so much that a third was asked are among them, because two readers agree all too well on what is left.

    Attributes:
      case: its id.
      readers: both.
      scores: of each class that readers draw or choose; NaN where neither has it.
      volumes_ml: of each class that each of them drew.
      disputed: whether somebody else had to decide.
      chosen: classes of both; empty where they are drawn.
    """

    case: str
    readers: tuple[str, str]
    scores: Sequence[float]
    volumes_ml: tuple[Mapping[str, float], Mapping[str, float]]
    disputed: bool
    chosen: tuple[str, ...] = ()


class Taken(NamedTuple):
    """A label of a reader.

    Attributes:
      reader: who drew it.
      minutes: that it took; NaN where that is not known.
      drawn_ml: volume of all classes.
      proposed_ml: that of the proposal it began from; NaN where it began from none, or where that volume is not known.
      had_proposal: whether it began from one.
      parts: of the case that it tells of; 1 where that is all of it.
    """

    reader: str
    minutes: float
    drawn_ml: float
    proposed_ml: float
    had_proposal: bool
    parts: int = 1


class Past(NamedTuple):
    """What happened until now.

    Attributes:
      back: newest first.
      taken: every label of a reader.
      pairs: cases that two readers have read.
      spent: minutes spent on the labels that a round's network was trained on and the one before was not, by round; NaN where none is known.
      stable: scores between the proposals of each round's network and the one before, of cases that neither was trained on, `[cases, classes]`.
      doubled: share of a query that two readers get.
      measured_with_proposals: whether labels of the random cases were drawn from proposals.
      judged: what predictions and second readers are judged by.
    """

    back: Sequence[Back] = ()
    taken: Sequence[Taken] = ()
    pairs: Sequence[Pair] = ()
    spent: Mapping[int, float] = {}
    stable: Sequence[np.ndarray] = ()
    doubled: float = 0.0
    measured_with_proposals: bool = False
    judged: Judged = DICE


def past_of(project: Project) -> Past:
    """Reads it from the log, and from proposals what they have in common."""
    events = project.log.read()
    state = project.state_of(events)
    protocol = project.settings.protocol
    drawn = [version for case in state.cases.values() for version in case.versions if version.reader not in (MERGED, EXISTING)]
    random = {id_ for id_, case in state.cases.items() if case.part == "random"}
    return Past(
        back=tuple(reversed([_back(event) for event in events if event.kind in BACK])),
        taken=tuple(map(_taken, drawn)),
        pairs=_pairs(project, state, events),
        spent=_spent(state),
        stable=_stable(project, state),
        doubled=protocol.double_share if len(state.active) > 1 else 0.0,
        measured_with_proposals=any(version.case in random and version.proposal is not None for version in drawn),
        judged=kind_of(project).judged,
    )


BACK = ("returned", "reopened", "released", "skipped")


def _back(event: Event) -> Back:
    fields = event.fields
    return Back(event.time, event.kind, fields["reader"], fields["case"], fields.get("why", ""), fields.get("by", ""))


def _taken(version: Version) -> Taken:
    had_proposal = version.proposal is not None
    return Taken(
        version.reader,
        np.nan if version.minutes is None else version.minutes,
        float(sum(version.volumes_ml.values())),
        float(version.size[0]) if had_proposal and version.size else np.nan,
        had_proposal,
        max(1, len(version.parts)),
    )


def _pairs(project: Project, state: State, events: Sequence[Event]) -> tuple[Pair, ...]:
    """The log holds the scores of two readings when they become one label, or a dispute; of readings that were repeated the first count."""
    pairs: dict[tuple[str, str, str], Pair] = {}
    for event in events:
        if event.kind not in ("merged", "disputed") or len(event.fields["of"]) != 2 or "scores" not in event.fields:
            continue
        case = state.cases[event.fields["case"]]
        versions = sorted(case.version(name) for name in event.fields["of"])
        (scores,) = event.fields["scores"].values()
        values = [np.nan if value is None else value for value in scores]
        values += [np.nan] * (len(kind_of(project).named(state.classes)) - len(values))  # classes that were added later
        if case.excluded is None and not {version.reader for version in versions} - state.readers.keys():
            first, second = versions
            chosen = tuple(version.category for version in versions if version.category is not None)
            volumes = first.volumes_ml, second.volumes_ml
            pair = Pair(first.case, (first.reader, second.reader), values, volumes, event.kind == "disputed", chosen)
            pairs.setdefault((first.case, first.reader, second.reader), pair)
    return tuple(pairs.values())


def _spent(state: State) -> dict[int, float]:
    spent, before = {}, set[tuple[str, int | None]]()
    for round_ in state.rounds:
        if round_.fields["network"] is None:
            continue
        new = {attempt for id_, label in round_.training for attempt in _attempts(state, id_, label)} - before
        minutes = [
            version.minutes
            for id_, attempt in new
            for version in state.cases[id_].versions
            if attempt in (None, version.attempt)
            and version.minutes is not None
            and version.minutes <= LONGEST  # longer ones hold a night
        ]
        spent[round_.number] = float(np.sum(minutes)) if minutes else np.nan
        before |= new
    return spent


def _attempts(state: State, id_: str, label: str) -> set[tuple[str, int | None]]:
    """The attempts at a case that a label is of: of one that is asked for as a whole all, whatever their number; of parts each by itself."""
    versions = state.cases[id_].versions_of(label)
    return {(id_, version.attempt if version.parts else None) for version in versions}


def _stable(project: Project, state: State) -> list[np.ndarray]:
    """Compares successive networks on the cases that are kept from training."""
    rounds, kind = [round_ for round_ in state.rounds if round_.asked and round_.fields["network"] is not None], kind_of(project)
    compared = []
    for before, after in itertools.pairwise(rounds):
        wanted = [
            (id_, before.number, after.number)
            for id_, _ in kept_apart(project, state, before)
            if state.cases[id_].excluded is None and all(kind.proposed(project, id_, of.number) for of in (before, after))
        ]
        compared.append(kind.steady(project, state, wanted))
    return compared
