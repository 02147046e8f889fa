"""Who reads what, and what each label will be used for."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax

from jaxal.arrays import chances_of, key_of, numbers_of
from jaxal.data.draws import spread
from jaxal.projects.project import Project
from jaxal.projects.state import Round, State

PAIRS_WANTED = 20  # of double readings: until there are so many, two a round at least
DOUBLE_AT_LEAST = 2


class _Chosen(Protocol):
    @property
    def chosen(self) -> Sequence[str]: ...
    @property
    def at_random(self) -> Sequence[str]: ...
    @property
    def roles(self) -> Mapping[str, str]: ...


def load_of(project: Project, state: State) -> dict[str, float]:
    """Minutes that each reader who is there still has to read."""
    load = dict.fromkeys(state.present, 0.0)
    for reading in state.open_readings:
        if reading.reader in load:
            load[reading.reader] += project.settings.protocol.minutes
    return load


def pairs_of(state: State) -> int:
    """Cases that two readers have read."""
    return sum(
        len({version.reader for version in case.versions if version.reader in state.readers}) > 1 for case in state.cases.values()
    )


def assign(project: Project, round_: Round, choice: _Chosen) -> list[dict[str, Any]]:
    """The readings that a round asks for, as the log has them: by reader, in an order that tells nothing of why a case was chosen.

    It depends on nothing but what the round began with, so that a round which was stopped is asked as it would have been.

    Args:
      project: whose.
      round_: the round.
      choice: what it asks for.
    """
    first = round_.fields["network"] is None
    asked = [*choice.chosen, *choice.at_random]
    doubled = set(_doubled(project, round_, asked))
    minutes = dict.fromkeys(asked, project.settings.protocol.minutes)
    readers = _share_out(project, round_, minutes, doubled)
    at_random = set(choice.at_random)
    entries = [
        {
            "case": id_,
            "reader": reader,
            "part": "first" if first else "random" if id_ in at_random else "strategy",
            "role": choice.roles.get(id_, "training"),
            "double": len(readers[id_]) > 1,
            "proposal": not first and len(readers[id_]) == 1,  # a common proposal would make two readers agree
            "minutes": round(minutes[id_], 1),
        }
        for id_ in asked
        for reader in readers[id_]
    ]
    order = {id_: place for place, id_ in enumerate(_shuffled(project, round_, asked))}
    return sorted(entries, key=lambda entry: (entry["reader"], order[entry["case"]]))


def _doubled(project: Project, round_: Round, asked: Sequence[str]) -> list[str]:
    """Cases that two readers get; neither knows."""
    protocol = project.settings.protocol
    if len(round_.fields["load"]) < 2 or not protocol.double_share:
        return []
    count = round(protocol.double_share * len(asked))
    if round_.fields["pairs"] < PAIRS_WANTED:
        count = max(count, DOUBLE_AT_LEAST)
    groups = {id_: project.cases[id_].group for id_ in asked}
    return spread(asked, groups, min(count, len(asked)), protocol.seed, f"double of round {round_.number}")


def _share_out(project: Project, round_: Round, minutes: Mapping[str, float], doubled: set[str]) -> dict[str, list[str]]:
    """Readers of each case: the longest first to whom has least to do, all scans of a subject to one reader."""
    load = dict(round_.fields["load"])
    of_subject: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for id_ in sorted(minutes, key=lambda id_: (-minutes[id_], id_)):
        subject = project.cases[id_].subject
        first = of_subject.get(subject) or min(load, key=lambda name: (load[name], name))
        of_subject[subject] = first
        readers[id_] = [first]
        load[first] += minutes[id_]
        if id_ in doubled:
            second = min((name for name in load if name != first), key=lambda name: (load[name], name))
            readers[id_].append(second)
            load[second] += minutes[id_]
    return readers


def _shuffled(project: Project, round_: Round, asked: Sequence[str]) -> list[str]:
    names = sorted(asked)
    key = jax.random.fold_in(key_of(project.settings.protocol.seed), int(numbers_of([f"order of round {round_.number}"])[0]))
    chance = chances_of(key, names)
    return [names[place] for place in chance.argsort(kind="stable")]
