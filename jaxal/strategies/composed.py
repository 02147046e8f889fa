"""Strategies made of others: rules behind a strategy's name, `badge+power`, `entropy+then:coreset,factor=5`.

A rule takes a strategy, perhaps a second one, and options of its own. It leaves the scores to the first, but for `with`, and changes what is made of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import scipy  # loads `scipy.stats`, which takes half a second, where it is used first

from jaxal.acquisition.budget import best_batch, class_quota, knapsack
from jaxal.acquisition.clusters import k_means
from jaxal.acquisition.coverage import unit_rows
from jaxal.acquisition.open_set import nearer_to_refused
from jaxal.acquisition.selection import Query, power_scores, top_k
from jaxal.arrays import chances_of, gumbels_of
from jaxal.assessment.ranking import rank_correlation
from jaxal.errors import UserError
from jaxal.strategies.contract import Context, First, Head, Needs, Strategy, Unlabelled, given_by, gives_nothing
from jaxal.strategies.rows import by_id, no_score
from jaxal.types import Collected, Seen, Unit

Array = jax.Array


def power(strategy: Strategy, *, beta: float = 1.0) -> Strategy:
    """Draws with chances in proportion to a power of the score, which must not be below zero (Kirsch et al. 2023, arXiv 2106.12059).

    Args:
      beta: the power; large values come close to the highest scores, 0 draws all alike.
    """
    _not_below_zero("beta", beta)
    _read_scores_of(strategy)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        if (scores < 0).any():
            raise UserError(f"power: draws by scores that are not below zero, but there is one of {scores.min():g}.")
        drawn = power_scores(gumbels_of(key, context.ids), scores, beta)
        return top_k(context.ids, drawn, budget, context.costs, context.cost_at_most)

    return strategy._replace(select=select)


def stochastic(strategy: Strategy) -> Strategy:
    """Divides the pool at random into batches and takes the one of highest mean score (Gaillochet et al. 2023, arXiv 2301.07670)."""

    if strategy.cut:
        raise ValueError("parts of cases cost differently, so batches of as many parts are no batches of one cost.")
    _read_scores_of(strategy)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        draws = np.asarray(chances_of(key, context.ids), np.float64)
        places = best_batch(scores, draws, min(budget, len(scores)))
        return Query(tuple(context.pool[place].id for place in places), tuple(float(scores[place]) for place in places), None)

    return strategy._replace(select=select)


def quota(strategy: Strategy, *, weight: float = 0.6) -> Strategy:
    """Takes high scores whose predicted classes are those that labels are lacking of (Bengar et al. 2022, arXiv 2110.04543); for images that have one class.

    In round r labels are lacking of a class as far as there are fewer than (r + 3) times the query over the classes, as in the authors' code.

    Args:
      weight: of what is lacking, beside scores; the paper has 0.6 for ten classes and entropy.
    """
    _not_below_zero("weight", weight)
    _read_scores_of(strategy)

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[object, np.ndarray]:
        counts = np.asarray(labelled.statistics["class_counts"], np.float64).sum(0)
        return strategy.prepare(context, head, labelled, evaluation), counts

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return strategy.score(statistics, context._replace(value=context.value[0]))

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order, counts = by_id(context), context.value[1]
        wanted = (context.round + 3) * budget / len(counts)
        shares, lacking = statistics["class_shares"][order], np.maximum(0.0, wanted - counts)
        places, _ = class_quota(scores[order], shares, lacking, min(budget, len(order)), weight)
        return Query(
            tuple(context.pool[place].id for place in order[places]), tuple(float(scores[place]) for place in order[places]), None
        )

    needs = _union(strategy.needs, Needs(pool=("class_shares",), labelled=("class_counts",)))
    return strategy._replace(needs=needs, prepare=prepare, score=score, select=select, explain=_of_first(strategy))


def within_cost(strategy: Strategy) -> Strategy:
    """Takes the set of largest total score that a budget of cost allows, not the highest scores one after the other (Kuo et al. 2018, MICCAI)."""
    _read_scores_of(strategy)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        if context.cost_at_most is None:
            raise UserError(
                "within_cost: chooses by what units cost, and this query has no budget of cost, only a number of units."
            )
        order = by_id(context)
        worth = scores[order] - min(scores.min(), 0.0)  # what is below zero would never be taken, and what is zero next to never
        worth = worth + 1e-9 * (worth.max() or 1.0)
        places = order[knapsack(worth, context.costs[order], context.cost_at_most)][:budget]
        return Query(tuple(context.pool[place].id for place in places), tuple(float(scores[place]) for place in places), None)

    return strategy._replace(select=select)


def usable(strategy: Strategy, *, clusters: int = 9) -> Strategy:
    """Passes over cases that are more like those that readers refused than like labelled ones (OpenAL, Qu et al. 2023, arXiv 2307.05254).

    Where fewer are left than are asked for, those come that are least like refused ones. As long as nothing was refused, it is as though the rule were not there.

    Args:
      clusters: of the refused cases at most; each has five cases or more on average.
    """
    if clusters < 1:
        raise ValueError(f"clusters is {clusters}; there is one at least.")
    if strategy.cut:
        raise ValueError("parts of cases are not refused, but cases.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[object, Seen]:
        return strategy.prepare(context, head, labelled, evaluation), labelled

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return strategy.score(statistics, _for(context, 0))

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        known, everybody = context.value[1].statistics, [True] * len(context.pool)
        if not context.refused.cases:
            return _choose(strategy, key, statistics, _for(context, 0), budget, everybody)
        refused = unit_rows(context.refused.statistics["embedding"]).astype(np.float64)
        of_refused = k_means(
            jax.random.fold_in(key, 1), refused, np.ones(len(refused)), min(clusters, max(len(refused) // 5, 1))
        ).of
        gap = nearer_to_refused(
            unit_rows(statistics["embedding"]).astype(np.float64),
            unit_rows(known["embedding"]).astype(np.float64),
            np.asarray(known["class_counts"]).argmax(-1),
            refused,
            np.asarray(of_refused),
        )
        kept = (gap <= 0) | (gap <= np.sort(gap)[min(budget, len(gap)) - 1])
        return _choose(strategy, key, statistics, _for(context, 0), budget, kept.tolist())

    more = Needs(pool=("embedding",), labelled=("embedding", "class_counts"), refused=("embedding",))
    return strategy._replace(
        needs=_union(strategy.needs, more), prepare=prepare, score=score, select=select, explain=_of_first(strategy)
    )


def then(first: Strategy, second: Strategy, *, factor: float = 10.0) -> Strategy:
    """Of the cases of highest score by the first strategy, those that the second asks for: filter, then diversify.

    Args:
      factor: cases that the second chooses from, times the size of the query.
    """
    if factor < 1:
        raise ValueError(f"factor is {factor:g}; of fewer than the query nothing can be chosen.")
    _read_scores_of(first)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        kept = set(top_k(context.ids, scores, math.ceil(factor * budget)).units)
        return _choose(second, key, statistics, _for(context, 1), budget, [unit.id in kept for unit in context.pool])

    return _of_two(first, second, lambda statistics, context: first.score(statistics, _for(context, 0)), select)


def with_(first: Strategy, second: Strategy, *, share: float = 0.5) -> Strategy:
    """The cases that rank highest by both strategies: the mean of their ranks.

    Args:
      share: of the first's rank; the rest is the second's.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share:g}; it goes from 0 to 1.")
    _read_scores_of(first, second)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        ranks = [
            scipy.stats.rankdata(np.asarray(strategy.score(statistics, _for(context, place)), np.float64)) / len(context.pool)
            for place, strategy in enumerate((first, second))
        ]
        return share * ranks[0] + (1.0 - share) * ranks[1]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        return top_k(context.ids, scores, budget)

    return _of_two(first, second, score, select)


def or_(first: Strategy, second: Strategy) -> Strategy:
    """Whichever of two strategies has scores that put the evaluation cases in the better order of their errors, by Spearman's correlation; tried anew in each round.

    A score asks for the wrong cases where it is low although the network is wrong, however sound its formula. Where both are as good, and where the evaluation set does
    not say, the first counts.
    """
    _read_scores_of(first, second)
    if not _give_nothing(first, second):
        raise ValueError(
            "one of the two gives the pool's statistics a number in each round, such as a temperature, which those of evaluation cases do not get."
        )

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[object, object, list[float]]:
        values = [one.prepare(context, head, labelled, evaluation) for one in (first, second)]
        there = context._replace(pool=[Unit(case._replace(label=None)) for case in evaluation.cases])
        success = 1.0 - np.asarray(evaluation.statistics["error"], np.float64)
        scores = [
            one.score(evaluation.statistics, there._replace(value=value))
            for one, value in zip((first, second), values, strict=True)
        ]
        return *values, [0.0 - (rank_correlation(found, success) or 0.0) for found in scores]

    def better(context: Context) -> tuple[Strategy, Context]:
        place = int(np.argmax(context.value[2]))
        return (first, second)[place], _for(context, place)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        strategy, known = better(context)
        return strategy.score(statistics, known)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        strategy, known = better(context)
        return strategy.select(key, scores, statistics, known, budget)

    def explain(statistics: Collected, context: Context) -> dict[str, Any]:
        strategy, known = better(context)
        return strategy.explain(statistics, known) | {"ranks_errors": [round(value, 6) for value in context.value[2]]}

    needs = Needs(evaluation=(*first.needs.pool, *second.needs.pool, "error"))
    both = _of_two(first, second, score, select)
    return both._replace(needs=_union(both.needs, needs), prepare=prepare, explain=explain)


def moving_to(first: Strategy, second: Strategy) -> Strategy:
    """The first strategy's query in the first round, the second's in the last, and between them a share of each that moves (Wu et al. 2022, ECCV, p. 449)."""

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        keys, budget = jax.random.split(key), min(budget, len(context.pool))
        of_second = round(budget * context.round / max(context.rounds - 1, 1))
        everybody = [True] * len(context.pool)
        query = _choose(first, keys[0], statistics, _for(context, 0), budget - of_second, everybody)
        left = [unit.id not in query.units for unit in context.pool]
        more = _choose(second, keys[1], statistics, _for(context, 1), of_second, left)
        return Query((*query.units, *more.units), (*query.scores, *more.scores), None)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return first.score(statistics, _for(context, 0))

    return _of_two(first, second, no_score if first.score is no_score else score, select)


def cold(strategy: Strategy, second: Strategy, *, features: Unlabelled = "appearance", epochs: int = 50) -> Strategy:
    """Lets a second strategy choose what is labelled at the start, by features of the pool that need no label (cold start, Yuan et al. 2020, arXiv 2010.09535).

    Args:
      features: `appearance`, coarse brightness and its histogram; `network`, of the network before any training, such as one with `--weights`; of a network
        that learned without labels to tell cases apart, `contrastive`, or how they are turned over, `orientation`.
      epochs: how often such a network sees each case.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; a network must see the cases at least once.")
    needs, known = second.needs, ("embedding", "class_shares", "self_supervised_loss")
    if second.cut:
        raise ValueError("a first set is of whole cases, and that strategy asks for parts.")
    if needs.evaluation or not {*needs.pool} <= {*known} or not {*needs.labelled} <= {"embedding", "class_counts"}:
        raise ValueError("of a pool without labels only features are known, and that strategy reads more.")
    if second.compares:
        raise ValueError("that strategy compares with labelled cases, and at the start there is none.")
    first = First(second, features, epochs)
    if "self_supervised_loss" in needs.pool and not first.learns:
        raise ValueError(
            "that strategy reads what a network that learns without labels finds hard. Add features=contrastive, or features=orientation."
        )
    return strategy._replace(first=first)


RULES: Mapping[str, Callable[..., Strategy]] = {
    "power": power,
    "stochastic": stochastic,
    "quota": quota,
    "within_cost": within_cost,
    "then": then,
    "with": with_,
    "or": or_,
    "moving_to": moving_to,
    "cold": cold,
    "usable": usable,
}
OF_TWO = ("then", "with", "or", "moving_to", "cold")  # rules that take a second strategy


def _of_two(first: Strategy, second: Strategy, score: Callable, select: Callable) -> Strategy:
    """Two strategies as one, which knows what both have prepared.

    Raises:
      ValueError: they cannot share a network or a pool.
    """
    if first.cut or second.cut:
        raise ValueError("parts of cases are asked for by one strategy.")
    others = {first.last_network, second.last_network}
    if len(others) > 1 and others & {"alone", "student"}:
        raise ValueError("one of the two looks at two networks alone, and they share members.")
    if first.auxiliary and second.auxiliary and first.auxiliary != second.auxiliary:
        raise ValueError("both strategies give the network a further output; it has room for one.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[object, object]:
        return first.prepare(context, head, labelled, evaluation), second.prepare(context, head, labelled, evaluation)

    def given(context: Context, head: Head, evaluation: Seen) -> dict[str, Any]:
        return given_by([first, second], context, head, evaluation)

    return Strategy(
        _union(first.needs, second.needs),
        score,
        prepare,
        select,
        _of_first(first),
        given=gives_nothing if _give_nothing(first, second) else given,
        auxiliary=first.auxiliary or second.auxiliary,
        last_network=first.last_network or second.last_network,
        of_evidence=first.of_evidence or second.of_evidence,
        first=first.first or second.first,
    )


def _read_scores_of(*strategies: Strategy) -> None:
    """Refuses strategies without scores where a rule reads them.

    Raises:
      ValueError: there is one.
    """
    if any(strategy.score is no_score for strategy in strategies):
        raise ValueError("reads scores of single cases, and that strategy has none: it chooses a set.")


def _give_nothing(*strategies: Strategy) -> bool:
    return all(strategy.given is gives_nothing for strategy in strategies)


def _of_first(strategy: Strategy) -> Callable:
    """Its explanation, where the prepared value is a pair."""
    return lambda statistics, context: strategy.explain(statistics, _for(context, 0))


def _for(context: Context, place: int) -> Context:
    """The context with what one of two strategies prepared."""
    return context._replace(value=context.value[place])


def _union(first: Needs, second: Needs) -> Needs:
    return Needs(*(tuple(dict.fromkeys((*one, *other))) for one, other in zip(first, second, strict=True)))


def _choose(strategy: Strategy, key: Array, statistics: Collected, context: Context, budget: int, kept: Sequence[bool]) -> Query:
    """What a strategy asks for of some of the pool's cases, as if there were no others."""
    places = np.flatnonzero(kept)
    if budget < 1 or len(places) == 0:
        return Query((), (), None)
    few = context._replace(pool=[unit for unit, is_kept in zip(context.pool, kept, strict=True) if is_kept])
    of_few = jax.tree.map(lambda part: part[places], statistics)
    return strategy.select(key, np.asarray(strategy.score(of_few, few), np.float64), of_few, few, budget)


def _not_below_zero(name: str, value: float) -> None:
    if value < 0:
        raise ValueError(f"{name} is {value:g}; below zero the lowest scores would come first.")
