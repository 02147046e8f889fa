"""Who reads what: predicted minutes, balanced shares, and a part that two read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jaxal.arrays import chances_of, key_of, numbers_of
from jaxal.assessment import minutes as of_minutes
from jaxal.assessment.sharing import Reader, share_out
from jaxal.data.draws import spread
from jaxal.projects.kind import Size
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project
from jaxal.projects.state import Round, State
from jaxal.types import Part

PAIRS_WANTED = 20  # of double readings: until there are so many, two a round at least
DOUBLE_AT_LEAST = 2


class _Chosen(Protocol):
    @property
    def chosen(self) -> Sequence[str]: ...
    @property
    def at_random(self) -> Sequence[str]: ...
    @property
    def roles(self) -> Mapping[str, str]: ...
    @property
    def parts(self) -> Mapping[str, Sequence[tuple[Part, bool]]]: ...


def assign(project: Project, round_: Round, choice: _Chosen) -> list[dict[str, Any]]:
    """The readings that a round asks for, as the log has them: by reader, in an order that tells nothing of why a case was chosen.

    It depends on nothing but what was known when the round began, so that a round which was stopped is asked as it would have been.

    Args:
      project: whose.
      round_: the round.
      choice: what it asks for; of a query that a network chose, the proposals are written.
    """
    state = when_it_began(project, round_)
    first = round_.fields["network"] is None
    asked = [*choice.chosen, *choice.at_random]
    sizes = {} if first else kind_of(project).sizes(project, asked, round_.number)
    doubled = set(_doubled(project, state, round_, asked))
    each = predicted_minutes(project, state, sizes, asked)
    guessed = {id_: minutes * max(1, len(choice.parts.get(id_, ()))) for id_, minutes in each.items()}
    readers = share_out(
        asked,
        guessed,
        {id_: project.cases[id_].subject for id_ in asked},
        _loads(project, state),
        double=doubled,
        settled=_settled(project, state),
        pairs=_pairs(state),
        key=f"{project.settings.protocol.seed}",
    )
    at_random, order = set(choice.at_random), {id_: place for place, id_ in enumerate(_shuffled(project, round_, asked))}
    entries = [
        {
            "case": id_,
            "reader": reader,
            "part": "first" if first else "random" if id_ in at_random else "strategy",
            "role": choice.roles.get(id_, "training"),
            "double": len(readers[id_]) > 1,
            "proposal": project.settings.protocol.proposals
            and not first
            and len(readers[id_]) == 1,  # a common proposal would make two readers agree
            "minutes": round(guessed[id_], 1),
            **({"size": list(sizes[id_])} if sizes else {}),
            **_parts(choice.parts.get(id_, ())),
        }
        for id_ in asked
        for reader in readers[id_]
    ]
    return sorted(entries, key=lambda entry: (entry["reader"], order[entry["case"]]))


def _parts(parts: Sequence[tuple[Part, bool]]) -> dict[str, Any]:
    """What of a case is asked for, as the log has it; nothing where all of it is."""
    if not parts:
        return {}
    places = [[list(start), list(size)] for (start, size), _ in parts]
    return {"parts": places, "at_random": [place for place, (_, at_random) in enumerate(parts) if at_random]}


def when_it_began(project: Project, round_: Round) -> State:
    """All that was known when a round began, which is all that its readings may depend on."""
    events = project.log.read()
    begun = next(event.number for event in events if event.kind == "round" and event.fields["round"] == round_.number)
    return project.state_of(events[: begun + 1])


def predicted_minutes(project: Project, state: State, sizes: Mapping[str, Size], ids: Sequence[str]) -> dict[str, float]:
    """Minutes that a reading of each case, or of a part of it, will take by an average reader: as guessed at the start until ten readings are known."""
    guess = project.settings.protocol.minutes
    if not sizes:
        known = [version.minutes_each for case in state.cases.values() for version in case.versions if version.minutes_each]
        return dict.fromkeys(ids, float(np.median(known)) if len(known) >= of_minutes.FEWEST_READINGS else guess)
    rows, readers, known = [], [], []
    for case in state.cases.values():
        for version in case.versions:
            if version.size is not None and version.minutes:
                rows.append((*version.size, version.proposal is not None))
                readers.append(version.reader)
                known.append(version.minutes)
    model = of_minutes.fit(_features(rows), readers, np.array(known)) if rows else None
    each, _ = of_minutes.predict(model, _features([(*sizes[id_], True) for id_ in ids]), ["anybody"] * len(ids), guess)
    return {id_: estimate.value for id_, estimate in zip(ids, each, strict=True)}


def _features(rows: Sequence[tuple[float, ...]]) -> np.ndarray:
    volume, slices, proposal = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    return of_minutes.features(volume, np.ones(len(rows)), slices, proposal)


def _loads(project: Project, state: State) -> dict[str, Reader]:
    """What waits for each reader who gets new cases."""
    load = dict.fromkeys(state.active, 0.0)
    for reading in state.open_readings:
        if reading.reader in load:
            load[reading.reader] += project.settings.protocol.minutes * max(1, len(state.cases[reading.case].asked_parts))
    return {name: Reader(1.0, minutes) for name, minutes in load.items()}


def _settled(project: Project, state: State) -> dict[str, str]:
    """The reader of each subject of which a scan is read or was."""
    settled: dict[str, str] = {}
    for id_, case in sorted(state.cases.items()):
        names = [*case.readings, *(version.reader for version in case.versions if version.reader in state.readers)]
        if names:
            settled.setdefault(project.cases[id_].subject, names[0])
    return settled


def _pairs(state: State) -> dict[tuple[str, str], int]:
    """How many cases each pair of readers has read."""
    pairs: Counter[tuple[str, str]] = Counter()
    for case in state.cases.values():
        names = sorted({version.reader for version in case.versions if version.reader in state.readers})
        if len(names) > 1:
            pairs[names[0], names[1]] += 1
    return dict(pairs)


def _doubled(project: Project, state: State, round_: Round, asked: Sequence[str]) -> list[str]:
    """Cases that two readers get; neither knows."""
    count = double_count(project, state, len(asked))
    groups = {id_: project.cases[id_].group for id_ in asked}
    return spread(asked, groups, count, project.settings.protocol.seed, f"double of round {round_.number}") if count else []


def double_count(project: Project, state: State, cases: int) -> int:
    """How many of so many cases two readers get."""
    share = project.settings.protocol.double_share
    if len(state.active) < 2 or not share:
        return 0
    count = round(share * cases)
    if sum(_pairs(state).values()) < PAIRS_WANTED:
        count = max(count, DOUBLE_AT_LEAST)
    return min(count, cases)


def _shuffled(project: Project, round_: Round, asked: Sequence[str]) -> list[str]:
    names = sorted(asked)
    key = jax.random.fold_in(key_of(project.settings.protocol.seed), int(numbers_of([f"order of round {round_.number}"])[0]))
    chance = chances_of(key, names)
    return [names[place] for place in chance.argsort(kind="stable")]
