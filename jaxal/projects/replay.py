"""The state of a project from the events of its log. Fields of an event that are not named here are for the record.

started   readers                                 the project begins
reader    name, present                           a reader is added, is away, or is back
data      path                                    the data were moved
class     name, old ("absent" or "ask")           a class is added; what it means for labels that were drawn before
round     round, training, evaluation, test       what a round works with: written down before it trains
asked     round, readings: case, reader, part, role, double, perhaps parts
                                                  a round's query; role is what the label will be used for, parts what of the case is asked for
opened    case, reader                            the reader has the case before him
label     case, reader, version, perhaps category   a label was accepted; the class of an image is the category
merged    case, version, of                       several readings were made one
disputed  case, of                                readers differ too much, so a person decides
decided   case, version, by                       that version counts
returned  case, version, why                      a label is not good enough; its reader gets the case again
refused   case, reader, code                      a delivery was not accepted
skipped   case, reader, why                       the reader gave the case back
assigned  case, reader, why                       a reader gets a case that is asked for
released  case, reader, why                       a reader need not read a case any more
reopened  case, reader, why                       a label is to be corrected; it counts until the new one is there
excluded  case, why, perhaps reader               the case is unusable; a reader may have said so
included  case, why                               it is not, after all
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from jaxal.projects.log import Event
from jaxal.projects.state import EXISTING, MERGED, OVERDUE, ROLES, SKIPPED, CaseState, Reading, Review, Round, State, Version


def replay(
    events: Iterable[Event],
    cases: Sequence[str],
    classes: Sequence[str],
    shapes: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> State:
    """The state after these events.

    Args:
      events: of the log.
      cases: ids of all cases.
      classes: names at the start, the background of scans included.
      shapes: see `State`.
    """
    state = State({id_: CaseState() for id_ in cases}, {}, list(classes), shapes=shapes)
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
    state.lapsed.discard(event.fields["name"])


def _data(state: State, event: Event) -> None:
    state.data = event.fields["path"]


def _class(state: State, event: Event) -> None:
    state.classes.append(event.fields["name"])
    if event.fields["old"] == "ask":  # they may show it, and nobody has looked
        for case in state.cases.values():
            case.label, case.readings, case.disputed, case.earlier = None, {}, (), {}


def _round(state: State, event: Event) -> None:
    parts = {name: tuple(map(tuple, event.fields[name])) for name in ROLES}
    state.rounds.append(Round(event.fields["round"], **parts, fields=event.fields, asked=None))


def _asked(state: State, event: Event) -> None:
    state.rounds[-1] = state.rounds[-1]._replace(asked=event.fields)
    for entry in event.fields["readings"]:
        case = state.cases[entry["case"]]
        if not any(reading.round == event.fields["round"] for reading in case.readings.values()):
            case.begin(tuple((tuple(start), tuple(size)) for start, size in entry.get("parts", ())))
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
            size=tuple(entry["size"]) if "size" in entry else None,
        )


def _opened(state: State, event: Event) -> None:
    reading = state.cases[event.fields["case"]].readings.get(event.fields["reader"])
    state.lapsed.discard(event.fields["reader"])
    if reading and reading.is_open:
        reading.status = "opened" if reading.status == "asked" else reading.status
        reading.opened = event.fields.get("clock", event.time)  # that of a clock which runs backwards, for what it took


def _label(state: State, event: Event) -> None:
    fields, case = event.fields, state.cases[event.fields["case"]]
    reading = case.readings.get(fields["reader"])
    state.lapsed.discard(fields["reader"])
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
            reading.size if reading else None,
            fields.get("volumes_ml", {}),
            fields.get("centres", {}),
            fields.get("category"),
            () if fields["reader"] == EXISTING else case.parts_for(fields["reader"]),
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
            max((case.version(name).round for name in fields.get("of", ())), default=0),
            event.time,
            None,
            (),
            fields["digest"],
            "",
            fields["classes"],
            None,
            category=fields.get("category"),
            parts=case.asked_parts,
        )
    )
    case.label, case.disputed = fields["version"], ()


def _disputed(state: State, event: Event) -> None:
    state.cases[event.fields["case"]].disputed = tuple(event.fields["of"])


def _decided(state: State, event: Event) -> None:
    case = state.cases[event.fields["case"]]
    version = case.version(event.fields["version"])
    if version.parts and version.attempt != case.attempt:  # it tells of other parts than those that are asked for now
        case.earlier[version.attempt] = version.name
        return
    case.readings = {
        name: reading for name, reading in case.readings.items() if reading.status != "asked"
    }  # nobody waits for these
    case.label, case.disputed = event.fields["version"], ()


def _reviewed(state: State, event: Event) -> None:
    fields = event.fields
    state.cases[fields["case"]].reviews[fields["version"]] = Review(fields["decision"], fields["by"], event.time, fields["text"])


def _returned(state: State, event: Event) -> None:
    case = state.cases[event.fields["case"]]
    version = case.version(event.fields["version"])
    if version.parts and version.attempt != case.attempt:
        case.earlier.pop(version.attempt, None)
        case.begin(version.parts)
    reading = case.readings.get(version.reader)
    if reading is None and version.parts:
        reading = Reading(version.case, version.reader, version.round, case.part or "again", False, "asked", event.time)
        case.readings[version.reader] = reading
    elif reading is None:  # of an attempt that is over
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
    if event.fields["why"] == OVERDUE:
        state.lapsed.add(event.fields["reader"])
    if event.fields["why"] == SKIPPED:
        case.given_back.add(event.fields["reader"])
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
    if any(version.name == case.label and version.reader in case.readings for version in case.of_attempt()):
        case.label = None  # the only reading that was left counted; now there are two again, which are compared


def _reopened(state: State, event: Event) -> None:
    fields, case = event.fields, state.cases[event.fields["case"]]
    case.begin(case.parts_of(case.counts) if case.counts else ())
    round_ = state.rounds[-1].number if state.rounds else 0
    case.readings = {
        fields["reader"]: Reading(
            fields["case"], fields["reader"], round_, "again", False, "returned", event.time, why=fields["why"]
        )
    }


def _excluded(state: State, event: Event) -> None:
    id_ = event.fields["case"]
    case = state.cases[id_]
    case.excluded, case.refused_by, case.readings, case.disputed = event.fields["why"], event.fields.get("reader"), {}, ()
    if state.rounds and state.rounds[-1].asked is None:  # a round that was stopped goes on without it
        round_ = state.rounds[-1]
        training, evaluation, test = (
            tuple(label for label in labels if label[0] != id_) for labels in (round_.training, round_.evaluation, round_.test)
        )
        unasked = [other for other in round_.fields.get("unasked", ()) if other != id_]
        state.rounds[-1] = Round(round_.number, training, evaluation, test, {**round_.fields, "unasked": unasked}, None)


def _included(state: State, event: Event) -> None:
    case = state.cases[event.fields["case"]]
    case.excluded = case.refused_by = None


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
    "reviewed": _reviewed,
    "returned": _returned,
    "skipped": _skipped,
    "released": _released,
    "assigned": _assigned,
    "reopened": _reopened,
    "excluded": _excluded,
    "included": _included,
    "refused": _refused,
}
