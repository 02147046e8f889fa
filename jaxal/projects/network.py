"""A round's network: trained on the labels that the round began with, and what it makes of cases."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

from jaxal.arrays import key_of
from jaxal.data.cases import Splits
from jaxal.data.scans.folder import Showing
from jaxal.data.stream import kept
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project
from jaxal.projects.state import Round, State
from jaxal.projects.within_minutes import prices_of
from jaxal.rounds import setup
from jaxal.rounds import state as rounds_state
from jaxal.rounds.first_set import choose_first, features_of
from jaxal.rounds.networks import make_networks
from jaxal.rounds.setup import Run, Task
from jaxal.strategies.contract import First
from jaxal.strategies.named import Table, named_strategy
from jaxal.studies.scans import Chosen
from jaxal.types import Case, Params, Unit, Watcher

OWN_WAYS = ("random", "k_center")  # to draw a first query; any other is a strategy of features


class Working(NamedTuple):
    """What a round works with.

    Attributes:
      run: trains and scores.
      state: of the rounds' machinery.
      cases: all prepared cases, by id, with the labels that the round works with.
      number: the project's, of the round.
    """

    run: Run
    state: rounds_state.State
    cases: dict[str, Case]
    number: int

    @property
    def task(self) -> Task:
        return self.run.task


def open_round(project: Project, state: State, round_: Round, pool: Sequence[str], showing: Showing, watcher: Watcher) -> Working:
    """A round's training and scoring, new or begun before.

    Args:
      project: whose.
      state: of it.
      round_: what it works with.
      pool: cases that the strategy may choose.
      showing, watcher: are told how far the work is.
    """
    classes = list(round_.fields["classes"])  # one may have been added since
    state = dataclasses.replace(state, classes=classes)
    ready = kind_of(project).ready(project, state, [*round_.training, *round_.evaluation, *round_.test], showing)
    cases = dict(ready.cases)
    training, evaluation, test = (
        tuple(cases[id_] for id_, _ in part) for part in (round_.training, round_.evaluation, round_.test)
    )
    candidates = tuple(cases[id_] for id_ in sorted(pool))
    settings = project.settings
    # A case that is labelled in parts is trained on and may be chosen.
    splits = Splits(tuple(sorted({*training, *candidates})), evaluation, test)
    identity = {"project": settings.name, "cases": len(settings.cases), "plan": ready.plan, "classes": classes}
    start: Literal["scratch", "warm"] = "scratch" if _has_new_classes(state, round_) else settings.start
    task = ready.task(Chosen(splits, training), start, identity)
    number = round_.fields["network"]
    config = setup.RoundsConfig(
        rounds=number + 1,
        query_size=round_.fields["chosen"],
        seed=settings.protocol.seed,
        start=start,
        members=ready.members,
        batch_size=ready.batch_size,
    )
    run = setup.open_run(project.folder / "rounds", settings.protocol.strategy, config, task, watcher)
    run = run._replace(prices=prices_of(project, round_))
    key = jax.random.fold_in(key_of(settings.protocol.seed), number)
    units = [Unit(case._replace(label=ready.known.get(case.id))) for case in candidates]
    refused = [cases[id_]._replace(label=None) for id_ in round_.fields.get("refused", ()) if id_ in cases]
    return Working(run, rounds_state.State([], list(training), refused, units, None, number, key), cases, round_.number)


def _has_new_classes(state: State, round_: Round) -> bool:
    """Whether the last network has other classes, so that its weights do not fit."""
    before = [other for other in state.rounds if other.number < round_.number and other.fields["network"] is not None]
    return bool(before) and before[-1].fields["classes"] != round_.fields["classes"]


def reopened(
    project: Project, state: State, round_: Round, ids: Sequence[str], showing: Showing, watcher: Watcher
) -> tuple[Working, Params]:
    """A round that is over, and the weights of its network.

    Args:
      project: whose.
      state: of it.
      round_: that had a network.
      ids: cases to look at.
      showing, watcher: are told how far the work is.
    """
    working = open_round(project, state, round_, ids, showing, watcher)
    return working, make_networks(working.run)[0].restored(working.state.round)


def without_labels(
    project: Project, state: State, ids: Sequence[str], size: int, showing: Showing, watcher: Watcher
) -> list[str]:
    """The cases to label first, as the strategy of features chooses them that `--first` names."""
    first = first_named(project.settings.protocol.first, kind_of(project).task.strategies)
    task, cases, known = _known(project, state, sorted(ids), first, showing, watcher)
    key = jax.random.fold_in(key_of(project.settings.protocol.seed), 0)
    return choose_first(first, task, known, [case._replace(label=None) for case in cases], size, key)


def first_named(text: str, table: Table) -> First:
    """A strategy of features, as it would stand behind `cold:`.

    Raises:
      UserError: there is no such strategy, or it needs more than features.
    """
    first = named_strategy(f"cold:{text}", table).strategy.first
    assert first is not None, "the rule says how to begin"
    return first


def embeddings(project: Project, state: State, ids: Sequence[str], showing: Showing, watcher: Watcher) -> np.ndarray:
    """Pooled features of an untrained network, `[cases, features]`: they tell cases apart before there is any label."""
    untrained = first_named("coreset,features=network", kind_of(project).task.strategies)
    return _known(project, state, ids, untrained, showing, watcher)[2]["embedding"]


def _known(
    project: Project, state: State, ids: Sequence[str], first: First, showing: Showing, watcher: Watcher
) -> tuple[setup.Task, list[Case], dict[str, np.ndarray]]:
    """A task before there is any label, these of its cases, and what is known of them without labels."""
    ready = kind_of(project).ready(project, state, [], showing)
    wanted, key = [ready.cases[id_] for id_ in ids], key_of(project.settings.protocol.seed)
    task = ready.task(Chosen(Splits(tuple(sorted(wanted)), (), ()), wanted[:1]), project.settings.start, {})
    return task, wanted, features_of(first, task, wanted, kept(task.load), key, ready.batch_size, watcher)
