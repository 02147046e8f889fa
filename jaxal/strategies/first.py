"""Strategies that read features alone, made for the first set, before there is a label; `+cold:` gives them features that need none."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from jaxal.acquisition import first_sets
from jaxal.acquisition.clusters import agglomerated, k_means, round_robin
from jaxal.acquisition.coverage import unit_rows
from jaxal.acquisition.selection import Query
from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen, few, no_score
from jaxal.types import Collected

Array = jax.Array


def activeft() -> Strategy:
    """The cases nearest to free vectors that were moved to where many cases are and away from each other (Xie et al. 2023, arXiv 2303.14382)."""

    def places(key: Array, points: np.ndarray, budget: int) -> np.ndarray:
        vectors = first_sets.free_vectors(key, unit_rows(points), budget)
        return first_sets.nearest_unused(np.asarray(vectors), points)

    return _of_features(places)


def usl(*, weight: float = 0.5) -> Strategy:
    """The case of each k-means cluster that has near neighbours and is far from the other clusters' cases (Wang et al. 2022, arXiv 2110.03006).

    Args:
      weight: of being far from the others.
    """
    if weight < 0:
        raise ValueError(f"weight is {weight:g}; below zero, cases close to each other would be asked for.")

    def places(key: Array, points: np.ndarray, budget: int) -> np.ndarray:
        of = k_means(key, points, np.ones(len(points)), budget).of
        _, of = np.unique(of, return_inverse=True)
        return _filled_up(first_sets.density_apart(points, of, weight=weight), len(points), budget)

    return _of_features(places)


def optimal_transport() -> Strategy:
    """The cases from which all others have least far to go, as medoids have it (Mahmood et al. 2022, arXiv 2106.02968)."""

    def places(key: Array, points: np.ndarray, budget: int) -> np.ndarray:
        return first_sets.medoids(points, budget)

    return _of_features(places, of_pairs=True)


def representative_annotation() -> Strategy:
    """The middle of each cluster of average linkage (Zheng et al. 2019, AAAI, who take several of each)."""

    def places(key: Array, points: np.ndarray, budget: int) -> np.ndarray:
        of = agglomerated(points, budget)
        members = [np.flatnonzero(of == cluster) for cluster in np.argsort(-np.bincount(of), kind="stable")]
        return np.array([own[first_sets.medoid(points[own])] for own in members])

    return _of_features(places, of_pairs=True)


def csval() -> Strategy:
    """The case of each k-means cluster that a network which learned to tell cases apart confuses most with others (Chen et al. 2023, arXiv 2210.02442).

    Paper, code and survey differ in what is hard; here it is the mean contrastive loss over the last tenth of that training.
    """

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, budget = unit_rows(statistics["embedding"][order]), min(budget, len(order))
        of = k_means(key, points, np.ones(len(order)), budget).of
        return chosen(context, order, places := round_robin(of, scores[order], budget), scores[order][places])

    needs = Needs(pool=("embedding", "self_supervised_loss"))
    return Strategy(needs, lambda statistics, context: statistics["self_supervised_loss"], select=select)


def pt4al() -> Strategy:
    """At even distances along the hardest cases of a network that learned how cases are turned over, as many of them as a round's share of the pool (PT4AL, Yi et al. 2022,
    arXiv 2201.07459).

    The paper goes on with the least confident of each further share; `margin` and the like do so of all the pool.
    """

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        budget = min(budget, len(order))
        hardest = np.argsort(-scores[order], kind="stable")[: max(budget, len(order) // (context.rounds + 1))]
        places = hardest[np.arange(budget) * len(hardest) // budget]
        return chosen(context, order, places, scores[order][places])

    return Strategy(
        Needs(pool=("self_supervised_loss",)), lambda statistics, context: statistics["self_supervised_loss"], select=select
    )


OF_FIRST_SETS: Mapping[str, Callable[..., Strategy]] = {"csval": csval, "pt4al": pt4al}  # what rounds with labels cannot give


def _of_features(places_of: Callable[[Array, np.ndarray, int], np.ndarray], of_pairs: bool = False) -> Strategy:
    """A strategy of unit vectors; one of pairs looks at some thousand drawn cases of a larger pool."""

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = few(key, by_id(context)) if of_pairs else by_id(context)
        points = unit_rows(statistics["embedding"][order]).astype(np.float64)
        found = places_of(key, points, min(budget, len(order)))
        return chosen(context, order, found, np.zeros(len(found)))

    return Strategy(Needs(pool=("embedding",)), no_score, select=select)


def _filled_up(places: np.ndarray, count: int, budget: int) -> np.ndarray:
    """As many places as are asked for, where clusters were fewer."""
    rest = np.setdiff1d(np.arange(count), places)
    return np.concatenate([places, rest[: budget - len(places)]])
