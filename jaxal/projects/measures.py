"""How good each round's network was on labels that it had never seen, and how well readers agree: from files, kept once computed."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxal.assessment.honest_curve import Honest, Stratum, honest_round
from jaxal.data.parts import count_in
from jaxal.projects.kind import PartsOfCases, Progress
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project
from jaxal.projects.state import Round, State
from jaxal.types import Case, Part, Unit


class Unseen(NamedTuple):
    """One round's network on cases that it was not trained on, or on parts of cases.

    What had no label when it was trained falls into what the strategy put first and all the rest. Of the first all are labelled once the
    query is answered; the rest is known by a sample at random: the round's random share, and cases that are kept from training for
    good since earlier rounds, as far as the strategy did not put them first.

    Attributes:
      round: number.
      trained_on: labels.
      cases: ids of those whose labels are there.
      parts: of each, `chosen` by the strategy, drawn at `random` now, or `kept` from training since an earlier round.
      strata: of each.
      sizes: of the strata.
      waiting: cases whose labels are not there yet.
      scores: of each class that readers draw or choose, `[cases, classes]`; NaN where neither label nor prediction has the class.
    """

    round: int
    trained_on: int
    cases: tuple[str, ...]
    parts: tuple[Literal["chosen", "random", "kept"], ...]
    strata: tuple[Stratum, ...]
    sizes: Mapping[Stratum, int]
    waiting: int
    scores: np.ndarray


def unseen(project: Project, state: State, progress: Progress = lambda done, total: None) -> list[Unseen]:
    """The honest measurements of all rounds that had a network, oldest first."""
    measured: list[Unseen] = []
    rounds = [round_ for round_ in state.rounds if round_.asked and round_.fields["network"] is not None]
    taken: set[str] = set()
    for done, round_ in enumerate(rounds):
        progress(done, len(rounds))
        put_first = set(query_of(project, round_.number).get("would_take", ()))
        if (parts := kind_of(project).parts) is None:
            measured.append(_measure(project, state, round_, taken, put_first))
        else:
            measured.append(_measure_parts(project, state, round_, parts))
        taken |= put_first
    progress(len(rounds), len(rounds))
    return measured


def kept_apart(project: Project, state: State, round_: Round) -> list[tuple[str, str]]:
    """Cases that a round's network is measured on besides its own random share: drawn at random, never trained on, and never looked at
    by the strategy.
    """
    if kind_of(project).parts is not None:  # of its scans only parts are known
        return []
    evaluation = () if kind_of(project).looks_at_evaluation(project.settings.protocol.strategy) else round_.evaluation
    return [*round_.test, *((id_, version) for id_, version in evaluation if state.cases[id_].part == "first")]


def query_of(project: Project, round_: int) -> dict[str, Any]:
    """What is known of a round's choice; nothing if its file is gone, which `jaxal check` tells."""
    path = project.round_folder(round_) / "query.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _measure(project: Project, state: State, round_: Round, taken: set[str], put_first: set[str]) -> Unseen:
    """Measures one round.

    Args:
      project: whose.
      state: of it.
      round_: that was asked.
      taken: kept cases that the strategy put first in an earlier round, and which what is left does not resemble any more.
      put_first: kept cases that the strategy put first in this round.
    """
    assert round_.asked is not None
    part_of: dict[str, Literal["chosen", "random", "kept"]] = {
        entry["case"]: "random" if entry["part"] == "random" else "chosen" for entry in round_.asked["readings"]
    }
    part_of |= {id_: "kept" for id_, _ in kept_apart(project, state, round_) if id_ not in taken}

    def stratum(id_: str) -> Stratum:
        return project.cases[id_].group, part_of.get(id_) == "chosen" or id_ in put_first

    usable = [id_ for id_ in part_of if state.cases[id_].excluded is None]
    kind = kind_of(project)
    known = [id_ for id_ in usable if state.cases[id_].counts and kind.proposed(project, id_, round_.number)]
    left = {*round_.fields["unasked"], *(id_ for id_, part in part_of.items() if part == "kept")}
    return Unseen(
        round_.number,
        len(round_.training),
        tuple(known),
        tuple(part_of[id_] for id_ in known),
        tuple(stratum(id_) for id_ in known),
        dict(Counter(stratum(id_) for id_ in left if state.cases[id_].excluded is None)),
        len(usable) - len(known),
        kind.scores(project, state, [(id_, round_.number, str(state.cases[id_].counts)) for id_ in known]),
    )


def _measure_parts(project: Project, state: State, round_: Round, parts: PartsOfCases) -> Unseen:
    """Measures one round of a project that asks for parts, each by itself: those that the strategy chose, and those drawn at random.

    The pool's parts overlap, so there is no number of them; it counts as many as its voxels without a label would fill.
    """
    kind, training, asked = kind_of(project), dict(round_.training), parts_of_query(state, round_)
    known = [entry for entry in asked if is_known(state, entry) and kind.proposed(project, entry.case, round_.number)]
    each = float(np.mean([prod(size) for _, (_, size), _ in asked])) if asked else 1.0
    sizes = Counter((project.cases[entry.case].group, not entry.at_random) for entry in asked)
    left = Counter[str]()
    for id_ in round_.fields["unasked"]:
        if state.cases[id_].excluded is None:
            shape, label = project.cases[id_].shape, training.get(id_)
            of_label = state.cases[id_].parts_of(label) if label else ()
            left[project.cases[id_].group] += prod(shape) - count_in(of_label, shape)
    for group, voxels in left.items():
        sizes[group, False] = max(sizes[group, False], round(voxels / each) - sizes[group, True])
    return Unseen(
        round_.number,
        sum(len(state.cases[id_].parts_of(label)) or 1 for id_, label in round_.training),
        tuple(Unit(Case(entry.case, "", Path()), *entry.part).id for entry in known),
        tuple("random" if entry.at_random else "chosen" for entry in known),
        tuple((project.cases[entry.case].group, not entry.at_random) for entry in known),
        {stratum: size for stratum, size in sizes.items() if size},
        len(asked) - len(known),
        parts.scores(project, state, [(entry.case, round_.number, entry.part) for entry in known]),
    )


class AskedPart(NamedTuple):
    """A part that a round asked for: of which case, where on its own grid, and whether it was drawn at random beside the strategy's choice."""

    case: str
    part: Part
    at_random: bool


def parts_of_query(state: State, round_: Round) -> list[AskedPart]:
    """The parts that a round asked for, of all cases that were not left out, each once however many readers have it."""
    asked = {}
    for entry in (round_.asked or {"readings": ()})["readings"]:
        for place, (start, size) in enumerate(entry.get("parts", ())):
            if state.cases[entry["case"]].excluded is None:
                part = AskedPart(entry["case"], (tuple(start), tuple(size)), place in entry["at_random"])
                asked[part.case, part.part] = part
    return list(asked.values())


def is_known(state: State, asked: AskedPart) -> bool:
    """Whether a label that counts tells of a part."""
    case = state.cases[asked.case]
    return case.counts is not None and (not case.parts_of(case.counts) or asked.part in case.parts_of(case.counts))


def honest(measured: Unseen) -> Honest | None:
    """Estimates from a round's measurements; None where of the strategy's choice, or of the rest, no label is there yet."""
    return honest_round(measured.scores, measured.strata, measured.sizes) if measured.cases else None


def agreement(project: Project, state: State) -> list[tuple[str, Sequence[str], list[float]]]:
    """Dice between two readers of each case that both have read, and no third: the case, the readers, Dice of each class above 0."""
    rows: list[tuple[str, Sequence[str], list[float]]] = []
    for id_, case in sorted(state.cases.items()):
        newest = {version.reader: version for version in case.versions if version.reader in state.readers}
        of_one_attempt = [version for version in newest.values() if version.attempt == case.attempt]
        if len(of_one_attempt) == 2 and case.excluded is None:  # of three, two were disputed
            first, second = sorted(of_one_attempt)
            rows.append((id_, (first.reader, second.reader), kind_of(project).between(project, state, first, second)))
    return rows
