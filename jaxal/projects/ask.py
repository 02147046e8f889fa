"""A round: what it works with is written down, a network is trained, cases are chosen and readers are asked for them.

Everything random is keyed by the project's seed and the round, and what a round works with is in the log before anything is trained.
So a round that was killed asks for the same cases when it is asked again, whatever labels have come in the meantime.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxal import hosts
from jaxal.acquisition.selection import k_center
from jaxal.data.scans.folder import Showing
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.projects.assignment import assign
from jaxal.projects.choice import Choice, parts_at_random, parts_of_strategy, record_of
from jaxal.projects.kinds import kind_of
from jaxal.projects.measures import kept_apart
from jaxal.projects.network import embeddings, open_round, without_labels
from jaxal.projects.project import Project, check_images, check_labels
from jaxal.projects.settle import settle
from jaxal.projects.state import ROLES, Round, State
from jaxal.projects.within_minutes import count_within
from jaxal.rounds.propose import choose, open_journal
from jaxal.rounds.protocol import beside, first_query, random_count
from jaxal.types import Unit, Watcher


def ask(
    project: Project,
    size: int | None,
    even_if_open: bool,
    showing: Showing,
    watcher: Watcher,
    minutes: float | None = None,
) -> Round:
    """Goes through one round, or finishes one that was killed; returns it.

    Args:
      project: whose.
      size: cases or parts of the query; the project's when left out.
      even_if_open: whether to ask although readings of the last query are open.
      showing, watcher: are told how far the work is, and may end it.
      minutes: that all its readings may take, instead of a size.

    Raises:
      UserError: nothing is left to ask for, readings are open, or a file of the data is not what it was.
      Interrupted: the watcher asked to stop; what is finished is kept.
    """
    settle(project)
    state = project.state()
    if not state.present:
        raise UserError(f"{project.folder}: no reader is there. `jaxal start {project.folder} --readers NAMES` adds one.")
    check_images(project, [id_ for id_, case in state.cases.items() if case.excluded is None], project.data(state))
    if not state.rounds or state.rounds[-1].asked is not None:
        check_labels(project, state, [label for role in ROLES for label in state.labels(role)])
        begin(project, size, even_if_open, minutes)
        state = project.state()
    round_ = state.rounds[-1]
    check_labels(project, state, [*round_.training, *round_.evaluation, *round_.test])
    choice = (
        _first_query(project, state, round_, showing, watcher)
        if round_.fields["network"] is None
        else _query(project, state, round_, showing, watcher)
    )
    if choice.working is not None:
        seen = [id_ for id_, _ in (*round_.test, *round_.evaluation)] if not choice.parts else []
        asked = [*choice.chosen, *choice.at_random]
        with showing("proposals") as progress:
            kind_of(project).propose(project, choice.working, choice.params, [*asked, *seen], asked, progress)
    readings = assign(project, round_, choice)
    while choice.working is not None and choice.working.run.prices and _is_over(round_, readings):
        choice = choice.shorter()
        readings = assign(project, round_, choice)
    text = json.dumps({**choice.record, "chosen": list(choice.chosen), "at_random": list(choice.at_random)}, indent=1) + "\n"
    write_text(project.round_folder(round_.number) / "query.json", text)
    with project.log.held() as pen:
        if project.state_of(pen.events).rounds[-1].asked is None:
            digest = hashlib.sha256(text.encode()).hexdigest()
            pen.add("asked", round=round_.number, readings=readings, query=digest)
    if choice.working is not None and hosts.is_leader():
        open_journal(choice.working.run).clear()
    return project.state().rounds[-1]


def _is_over(round_: Round, readings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a query of several cases takes longer than it may: what was set aside for cases at random and second readings was too little."""
    total, cases = sum(entry["minutes"] for entry in readings), {entry["case"] for entry in readings}
    return len(cases) > 1 and total > round_.fields["minutes"]


def begin(project: Project, size: int | None, even_if_open: bool, minutes: float | None = None) -> None:
    """Writes down what the next round works with.

    Raises:
      UserError: nothing is left to ask for, readings are open, or the minutes are too few.
    """
    protocol = project.settings.protocol
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        unasked = state.unasked()
        _check_open(project, state, even_if_open)
        if not unasked:
            raise UserError(
                f"{project.folder}: every case is labelled, asked for or excluded, so nothing is left to ask for. "
                f"`jaxal status {project.folder}` tells how good the network is, `jaxal export {project.folder} OUT` writes the labels."
            )
        if size is not None and size < 1:
            raise UserError(f"--size is {size}; it must be at least 1.")
        if size is not None and minutes is not None:
            raise UserError("--size and --within-minutes each say how long a query is. Give one of them.")
        count = size or (protocol.size if minutes is None else count_within(project, state, minutes))
        count = min(count, len(unasked)) if kind_of(project).parts is None else count
        number = len(state.rounds) + 1
        training, needs_evaluation = state.labels("training"), kind_of(project).looks_at_evaluation(protocol.strategy)
        has_evaluation = any(case.role == "evaluation" and case.excluded is None for case in state.cases.values())
        first = not training or (not has_evaluation and (number == 1 or needs_evaluation))
        if needs_evaluation and not first:
            _check_evaluation(project, state)
        at_random = 0 if first else random_count(protocol.shares, count, count)
        trained = sum(round_.fields["network"] is not None for round_ in state.rounds)
        pen.add(
            "round",
            round=number,
            size=count,
            network=None if first else trained,
            training=training,
            evaluation=state.labels("evaluation"),
            test=state.labels("test"),
            classes=list(state.classes),
            pool=len(unasked),
            unasked=unasked,
            refused=state.refused_cases(),
            at_random=at_random,
            chosen=count - at_random,
            **({} if minutes is None else {"minutes": minutes}),
        )


def _check_open(project: Project, state: State, even_if_open: bool) -> None:
    waiting = state.open_readings
    disputed = state.with_status("disputed")
    if even_if_open or not (waiting or disputed):
        return
    by_reader = {reader: sum(reading.reader == reader for reading in waiting) for reader in sorted({r.reader for r in waiting})}
    told = ", ".join(f"{reader} {count}" for reader, count in by_reader.items())
    what = [f"open readings: {told}"] if waiting else []
    if disputed:
        what.append(
            f"readers disagree on {', '.join(disputed[:3])}, which somebody must decide (`jaxal review {project.folder}`)"
        )
    raise UserError(
        f"{project.folder}: the last query is not answered yet; {'; '.join(what)}. `jaxal take {project.folder}` takes in what lies in the "
        "inboxes; with --even-if-open the next query is asked all the same."
    )


def _check_evaluation(project: Project, state: State) -> None:
    """Makes sure that a strategy which looks at the evaluation set finds one.

    Raises:
      UserError: none of it is labelled yet.
    """
    if not state.labels("evaluation"):
        waiting = [reading for reading in state.open_readings if state.cases[reading.case].role == "evaluation"]
        told = ", ".join(sorted({f"{reading.case} ({reading.reader})" for reading in waiting}))
        raise UserError(
            f"{project.folder}: {project.settings.protocol.strategy} looks at an evaluation set, of which no case has a label yet. Wait for "
            f"{told or 'what is disputed'}."
        )


def can_ask(project: Project, state: State) -> bool:
    """Whether the labels that a next round needs are there."""
    has_labels = bool(state.labels("evaluation")) or not kind_of(project).looks_at_evaluation(project.settings.protocol.strategy)
    return has_labels or not any(case.role == "evaluation" and case.excluded is None for case in state.cases.values())


def _first_query(project: Project, state: State, round_: Round, showing: Showing, watcher: Watcher) -> Choice:
    """The query that no network has chosen: at random in proportion to the groups, or by features that need no label."""
    unasked, protocol, kind = list(round_.fields["unasked"]), project.settings.protocol, kind_of(project)
    count = min(kind.first_cases(int(round_.fields["size"])), len(unasked))
    groups = {id_: project.cases[id_].group for id_ in unasked}
    wants_evaluation = kind.parts is None or kind.looks_at_evaluation(protocol.strategy)
    has_evaluation = bool(state.labels("evaluation")) or not wants_evaluation
    shares = dataclasses.replace(protocol.shares, evaluation=0.0) if has_evaluation else protocol.shares
    first = first_query(unasked, groups, count, shares, protocol.seed)
    roles = dict.fromkeys(first.evaluation, "evaluation")
    if protocol.first == "random":
        drawn = sorted([*first.training, *first.evaluation])
        choice = Choice([], drawn, roles, {"why": "drawn at random, in proportion to the groups"})
        return choice if kind.parts is None else parts_at_random(project, state, round_, choice)
    # Evaluation needs a sample of all cases; the rest of the query is spread over the features.
    left = [id_ for id_ in unasked if id_ not in roles]
    if protocol.first == "k_center":
        chosen = _far_apart(project, state, left, first.evaluation, count - len(roles), showing, watcher)
        why = "far apart in the features of an untrained network (k-center)"
    else:
        chosen = without_labels(project, state, left, count - len(roles), showing, watcher)
        why = f"by {protocol.first}, without labels"
    choice = Choice(chosen, first.evaluation, roles, {"why": why})
    return choice if kind.parts is None else parts_at_random(project, state, round_, choice)


def _far_apart(
    project: Project, state: State, ids: Sequence[str], centres: Sequence[str], count: int, showing: Showing, watcher: Watcher
) -> list[str]:
    """Cases that are far from each other and from others in the pooled features of a network that nobody has trained."""
    points = embeddings(project, state, [*centres, *ids], showing, watcher)
    given, candidates = points[: len(centres)], points[len(centres) :]
    chosen, _ = k_center(candidates, given, np.ones(len(ids), bool), count)
    return [ids[int(place)] for place in np.asarray(chosen)]


def _query(project: Project, state: State, round_: Round, showing: Showing, watcher: Watcher) -> Choice:
    """A query that the strategy chooses, and beside it cases at random."""
    unasked, protocol = list(round_.fields["unasked"]), project.settings.protocol
    groups = {id_: project.cases[id_].group for id_ in unasked}
    working = open_round(project, state, round_, unasked, showing, watcher)
    kept = [Unit(working.cases[id_]._replace(label=None)) for id_, _ in kept_apart(project, state, round_)]
    chosen = choose(working.run, working.state, kept)
    if kind_of(project).parts is not None:
        return parts_of_strategy(project, state, round_, working, chosen)
    drawn = [case for case in state.cases.values() if case.part == "random"]
    before = len(drawn), sum(case.role == "test" for case in drawn)
    number, count = round_.number, int(round_.fields["at_random"])
    rest = [id_ for id_ in unasked if id_ not in set(chosen.decision.query.units)]
    at_random, held_out = beside(rest, groups, count, before, protocol.shares, protocol.seed, number)
    query = chosen.decision.query
    roles, record = dict.fromkeys(held_out, "test"), record_of(working, chosen)
    return Choice(list(query.units), at_random, roles, record, working, chosen.params)
