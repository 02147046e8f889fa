"""What a strategy is: pure functions that say how a query is made. `docs/adding-a-strategy.md` shows how to write one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxal.acquisition.selection import Query, affordable, top_k
from jaxal.data.parts import cost_of
from jaxal.errors import UserError
from jaxal.types import Auxiliary, Collected, Seen, Unit

Array = jax.Array


class Needs(NamedTuple):
    """Statistics to collect over each split before scoring.

    Attributes:
      pool: names of those of the units that may be queried.
      labelled: of the cases that the network was trained on.
      evaluation: of the evaluation cases.
      refused: of the cases that readers would not label.
    """

    pool: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Context(NamedTuple):
    """What a strategy knows besides the pool's statistics.

    Attributes:
      key: of the round, for strategies that draw.
      pool: the units that may be queried, by id. Their labels are not known.
      round: its number, from 0.
      rounds: how many there are.
      learning_rate: the largest one of the training.
      cost_at_most: of a query in all, as `Unit.cost` counts; None where only the number of units is limited.
      last: the ledger's line of the round before; None in the first.
      refused: cases that readers would not label, with the statistics that were asked for of them.
      value: what the strategy's own `prepare` worked out.
    """

    key: Array
    pool: Sequence[Unit]
    round: int = 0
    rounds: int = 1
    learning_rate: float = 3e-3
    last: Mapping[str, Any] | None = None
    cost_at_most: float | None = None
    value: Any = None
    refused: Seen = Seen((), {})

    @property
    def ids(self) -> list[str]:
        """The pool's names."""
        return [unit.id for unit in self.pool]

    @property
    def costs(self) -> np.ndarray:
        """What each unit of the pool costs, `[pool]`."""
        return np.array([unit.cost for unit in self.pool], np.float64)


Head = tuple[Array, Array]  # kernel and bias of the last layer
Prepare = Callable[[Context, Head, Seen, Seen], Any]
Score = Callable[[Collected, Context], np.ndarray]
Select = Callable[[Array, np.ndarray, Collected, Context, int], Query]
Explain = Callable[[Collected, Context], dict[str, Any]]
Give = Callable[[Context, Head, Seen], Mapping[str, Any]]
Cut = Callable[[Collected, Context], Sequence[Unit]]


def _nothing(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> None:
    """There is nothing to prepare."""


def best(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
    """The units of highest score; ties go to the id that comes first. A unit that costs more than is left is passed over."""
    return top_k(context.ids, scores, budget, context.costs, context.cost_at_most)


def _unexplained(statistics: Collected, context: Context) -> dict[str, Any]:
    """The scores say it all."""
    return {}


def gives_nothing(context: Context, head: Head, evaluation: Seen) -> dict[str, Any]:
    """Statistics need nothing."""
    return {}


Unlabelled = Literal["appearance", "network", "contrastive", "orientation"]  # features that need no label


class First(NamedTuple):
    """How the first set is chosen, before there is a label.

    Attributes:
      strategy: which reads `embedding`, `class_shares` and `self_supervised_loss` of the pool at most.
      features: `appearance`, coarse brightness and its histogram; `network`, of the network before any training, with the weights that it was given; of
        a network that learned without labels to tell cases apart, `contrastive`, or how they are turned over, `orientation`.
      epochs: how often such a network sees each case.
    """

    strategy: "Strategy"
    features: Unlabelled
    epochs: int

    @property
    def learns(self) -> bool:
        """Whether a network is trained without labels."""
        return self.features in ("contrastive", "orientation")


class Strategy(NamedTuple):
    """How a query is made.

    Attributes:
      needs: the statistics to collect.
      score: `(statistics, context) -> [pool]`; high always means "label me".
      prepare: `(context, head, labelled, evaluation) -> value`, what it must know besides the pool: group Dice, evaluation
        features.
      select: `(key, scores, statistics, context, budget) -> Query`; the budget is a number of units.
      cut: `(statistics, context) -> units`, the parts of the pool's cases that may be asked for; left out, they are asked for as a whole.
      given: `(context, head, evaluation) -> {statistic: value}`, what statistics of the pool are given in a round, such as the power of a
        noise or the evaluation set's features.
      explain: `(statistics, context) -> entries for the ledger` that say why units were chosen, besides their scores; the statistics
        are those of the chosen units, in the query's order.
      auxiliary: an output that the network gets besides its task's, with a loss of its own.
      last_network: whether the last round's network is one more member; in the first round the round's own stands in for it. `alone`: this round's first network
        and the last round's are the only members, without dropout samples and views. `student`: the same, but for the last round's the weights of this training's last
        step, of which the first network is the moving average.
      first: how the cases that are labelled at the start are chosen; at random, or as the study has it, when left out.
      of_evidence: whether it reads how much evidence the network has, so that networks must be trained to have little where they know little.
      compares: whether it says nothing before a case has a label, so that it cannot choose a first set.
    """

    needs: Needs
    score: Score
    prepare: Prepare = _nothing
    select: Select = best
    explain: Explain = _unexplained
    cut: Cut | None = None
    given: Give = gives_nothing
    auxiliary: Auxiliary | None = None
    last_network: bool | Literal["alone", "student"] = False
    of_evidence: bool = False
    first: First | None = None
    compares: bool = False


def given_by(strategies: Sequence[Strategy], context: Context, head: Head, evaluation: Seen) -> dict[str, Any]:
    """What strategies give the statistics of the pool, for one pass that serves all of them.

    Raises:
      UserError: two of them give one statistic different numbers.
    """
    given: dict[str, Any] = {}
    for strategy in strategies:
        for name, value in strategy.given(context, head, evaluation).items():
            if isinstance(value, float) and given.setdefault(name, value) != value:
                raise UserError(
                    f"Two strategies give {name!r} the numbers {given[name]:g} and {value:g}, and it takes one. Score them one by one."
                )
            given[name] = value
    return given


class Decision(NamedTuple):
    """What a strategy decided.

    Attributes:
      scores: of the units that could be asked for, `[units]`.
      query: what is to be labelled.
      explanation: entries for the ledger that say why.
      units: that could be asked for, by name.
    """

    scores: np.ndarray
    query: Query
    explanation: dict[str, Any]
    units: Mapping[str, Unit]


def decide(
    strategy: Strategy, context: Context, head: Head, pool: Collected, labelled: Seen, evaluation: Seen, budget: int
) -> Decision:
    """Prepares, scores and selects.

    Args:
      strategy: of the run.
      context: with the pool.
      head: of the network that makes the single predictions.
      pool: the statistics that it needs of the pool, a row a case.
      labelled: those of the labelled cases.
      evaluation: those of the evaluation cases.
      budget: units of the query.

    Raises:
      UserError: its scores or its query are not what they must be.
    """
    if not context.pool:
        return Decision(np.zeros(0), Query((), (), None), {}, {})
    # Statistics are those of the pool's cases, each once, in the order in which they come.
    row = {case: number for number, case in enumerate(dict.fromkeys(unit.case for unit in context.pool))}
    scores, context = score_pool(strategy, context, head, pool, labelled, evaluation)
    query = strategy.select(jax.random.fold_in(context.key, 1), scores, pool, context, budget)
    if not isinstance(query, Query):
        raise UserError(f"The strategy's select gave {type(query).__name__}; it must give a Query (jaxal.acquisition.selection).")
    units = {unit.id: unit for unit in context.pool}
    _check_query(query, units, budget, context.cost_at_most if strategy.cut else None)
    if context.cost_at_most is not None and not strategy.cut:  # strategies that choose sets do not look at what cases cost
        costs = np.array([units[name].cost for name in query.units])
        kept = affordable(range(len(costs)), costs, context.cost_at_most)
        if len(kept) < len(costs):
            query = Query(tuple(query.units[place] for place in kept), tuple(query.scores[place] for place in kept), None)
    chosen = np.array([row[units[id_].case] for id_ in query.units], np.int64)
    explanation = strategy.explain(jax.tree.map(lambda part: part[chosen], pool), context)
    return Decision(scores, query, explanation, units)


def score_pool(
    strategy: Strategy, context: Context, head: Head, pool: Collected, labelled: Seen, evaluation: Seen
) -> tuple[np.ndarray, Context]:
    """Prepares and scores: each unit's score, and the context with what the strategy worked out, and the units as it cut them.

    Args and errors are those of `decide`.
    """
    cases = list(dict.fromkeys(unit.case for unit in context.pool))
    for name, seen in (
        ("pool", Seen(cases, pool)),
        ("labelled", labelled),
        ("evaluation", evaluation),
        ("refused", context.refused),
    ):
        _check_statistics(name, seen)
    context = context._replace(value=strategy.prepare(context, head, labelled, evaluation))
    if strategy.cut:
        context = context._replace(pool=list(strategy.cut(pool, context)))
    try:
        scores = strategy.score(pool, context)
    except KeyError as error:
        if error.args and isinstance(error.args[0], str) and error.args[0] not in pool:
            has = ", ".join(strategy.needs.pool) or "none"
            raise UserError(
                f"The strategy's score reads {error.args[0]!r} of the pool, which its Needs(pool=…) does not name; it names {has}."
            ) from error
        raise
    return _checked_scores(scores, context.ids), context


def _check_statistics(name: str, seen: Seen) -> None:
    """Makes sure that what strategies see is finite: a NaN would go through distances and draws without a word.

    Raises:
      UserError: a number is not; the network is broken, or its input is.
    """
    for statistic, values in seen.statistics.items():
        for leaf in jax.tree.leaves(values):
            if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all():
                rows = np.flatnonzero(~np.isfinite(leaf.reshape(len(leaf), -1)).all(1))
                raise UserError(
                    f"The network's output is not finite for {len(rows)} of {len(leaf)} {name} cases, the first is {seen.cases[rows[0]].id} (seen in the "
                    f"statistic {statistic!r}). Look at the network's weights and at the images."
                )


def _checked_scores(scores: Any, units: Sequence[str]) -> np.ndarray:
    """A score for each unit of the pool.

    Raises:
      UserError: they are not as many numbers, or one is not finite; the strategy is wrong, or its statistics are.
    """
    try:
        checked = np.asarray(scores, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"The strategy's scores are no numbers ({error}).") from error
    if checked.shape != (len(units),):
        raise UserError(
            f"The strategy gave scores of shape {checked.shape} for {len(units)} units; it must give each one number."
        )
    if not np.isfinite(checked).all():
        broken = np.flatnonzero(~np.isfinite(checked))
        raise UserError(
            f"The strategy gave {len(broken)} of {len(units)} units a score that is not finite, the first is {units[broken[0]]}. Look at its "
            "formula; if it is one of jaxal's own, at the images and the network."
        )
    return checked


def _check_query(query: Query, pool: Mapping[str, Unit], budget: int, cost_at_most: float | None) -> None:
    """Makes sure of what a query must be, before it is written down.

    Raises:
      UserError: a unit is there twice or not in the pool, there are too many, they cost too much, or scores are missing.
    """
    units = query.units
    if len(set(units)) < len(units):
        twice = next(unit for unit in units if units.count(unit) > 1)
        raise UserError(f"The strategy chose {twice!r} twice.")
    if strange := sorted(set(units) - pool.keys()):
        raise UserError(f"The strategy chose {strange[0]!r}, which is not in the pool.")
    cost = cost_of([pool[unit] for unit in units])
    if cost_at_most is not None and cost > cost_at_most:
        raise UserError(f"The strategy chose units that cost {cost:g}; the budget is {cost_at_most:g}.")
    if len(units) > budget or len(query.scores) != len(units):
        raise UserError(f"The strategy chose {len(units)} units with {len(query.scores)} scores; the budget is {budget}.")
