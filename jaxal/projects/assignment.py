"""Who reads what, and what each label will be used for."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

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


def assign(project: Project, state: State, round_: Round, choice: _Chosen) -> list[dict[str, Any]]:
    """The readings that a round asks for, as the log has them: by reader, in an order that tells nothing of why a case was chosen.

    Args:
      project: whose.
      state: of it.
      round_: the round.
      choice: what it asks for.
    """
    first = round_.fields["network"] is None
    asked = [*choice.chosen, *choice.at_random]
    doubled = set(_doubled(project, state, round_, asked))
    minutes = predicted_minutes(project, state, asked)
    readers = share_out(project, state, round_, asked, minutes, doubled)
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


def _doubled(project: Project, state: State, round_: Round, asked: Sequence[str]) -> list[str]:
    """Cases that two readers get; neither knows."""
    protocol = project.settings.protocol
    if len(state.present) < 2 or not protocol.double_share:
        return []
    pairs = sum(
        len({version.reader for version in case.versions if version.reader in state.readers}) > 1 for case in state.cases.values()
    )
    count = round(protocol.double_share * len(asked))
    if pairs < PAIRS_WANTED:
        count = max(count, DOUBLE_AT_LEAST)
    groups = {id_: project.cases[id_].group for id_ in asked}
    return spread(asked, groups, min(count, len(asked)), protocol.seed, f"double of round {round_.number}")


def predicted_minutes(project: Project, state: State, ids: Sequence[str]) -> dict[str, float]:
    """Minutes that a reading of each case will take."""
    return dict.fromkeys(ids, project.settings.protocol.minutes)


def share_out(
    project: Project, state: State, round_: Round, asked: Sequence[str], minutes: dict[str, float], doubled: set[str]
) -> dict[str, list[str]]:
    """Readers of each case: the longest first to whom has least to do, all scans of a subject to one reader."""
    load = dict.fromkeys(state.present, 0.0)
    for reading in state.open_readings:
        if reading.reader in load:
            load[reading.reader] += project.settings.protocol.minutes
    of_subject: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for id_ in sorted(asked, key=lambda id_: (-minutes[id_], id_)):
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
    import jax
    import numpy as np

    from jaxal.arrays import key_of, keys_of, numbers_of

    names = sorted(asked)
    key = jax.random.fold_in(key_of(project.settings.protocol.seed), int(numbers_of([f"order of round {round_.number}"])[0]))
    chance = np.asarray(jax.vmap(jax.random.uniform)(keys_of(key, names)))
    return [names[place] for place in chance.argsort(kind="stable")]
