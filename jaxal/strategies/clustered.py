"""Strategies that ask for cases from many clusters of the pool's features."""

import jax
import numpy as np

from jaxal.acquisition.clusters import agglomerated, k_means, most_typical, nearest_to_centres, reachability, round_robin
from jaxal.acquisition.coverage import unit_rows
from jaxal.acquisition.information import Items
from jaxal.acquisition.mixing import share_that_flips
from jaxal.acquisition.selection import Query
from jaxal.arrays import uniforms
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen, few, no_score
from jaxal.strategies.tempered import Temperature, at_temperature
from jaxal.types import Collected, Seen

Array = jax.Array

_CLUSTERS_AT_MOST = 500  # of TypiClust
_AGGLOMERATED_AT_MOST = 5000  # cases, whose pairs are 200 MB
_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of ALFA-Mix


def kmeans() -> Strategy:
    """The case nearest to each of as many k-means centres as are asked for (Pourahmadi et al. 2021, arXiv 2110.12033)."""

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points = unit_rows(statistics["embedding"][order])
        return _queried(context, order, scores, _centres(key, points, np.ones(len(order)), np.ones(len(order), bool), budget))

    return Strategy(Needs(pool=("embedding",)), no_score, select=select)


def clue(*, temperature: Temperature = 1.0) -> Strategy:
    """The case nearest to each k-means centre of features that weigh by their entropy (Prabhu et al. 2021, arXiv 2010.08666).

    Args:
      temperature: that logits are divided by before entropy is taken; the paper has 1, and 0.1 for many classes. `evaluation` is the one that makes the
        evaluation set's labels most likely.
    """

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        places = _centres(key, statistics["embedding"][order], scores[order], np.ones(len(order), bool), budget)
        return _queried(context, order, scores, places)

    needs = Needs(pool=("embedding", "tempered_entropy"))
    clustered = Strategy(needs, lambda statistics, context: statistics["tempered_entropy"], select=select)
    return at_temperature(clustered, "tempered_entropy", temperature)


def typiclust(*, neighbours: int = 20) -> Strategy:
    """The most typical case of each cluster that has fewest labels, the largest clusters first (Hacohen et al. 2022, arXiv 2202.02794).

    Args:
      neighbours: over whose distances typicality is taken, at most.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}; it must be at least 1.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return unit_rows(labelled.statistics["embedding"])

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order, known = by_id(context), context.value
        points = np.concatenate([known, unit_rows(statistics["embedding"][order])])
        budget = min(budget, len(order))
        clusters = k_means(key, points, np.ones(len(points)), min(len(known) + budget, _CLUSTERS_AT_MOST))
        places, values = most_typical(points, clusters.of, np.arange(len(points)) < len(known), budget, neighbours)
        return chosen(context, order, places - len(known), values)

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), no_score, prepare, select)


def reachable_density(*, neighbours: int = 10) -> Strategy:
    """The case of each k-means cluster that reaches its neighbours soonest (Jin et al. 2023, Engineering Applications of Artificial Intelligence 119).

    Args:
      neighbours: over which the mean is taken, at most; of more than 5000 cases so many are drawn.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}; it must be at least 1.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = few(key, by_id(context))
        points, budget = unit_rows(statistics["embedding"][order]), min(budget, len(order))
        of = k_means(key, points, np.ones(len(order)), budget).of
        density = -reachability(points, neighbours)
        places = round_robin(of, density, budget)
        return chosen(context, order, places, density[places])

    return Strategy(Needs(pool=("embedding",)), no_score, select=select)


def dropquery(*, candidates: float = 25.0) -> Strategy:
    """Of the cases on which most members vote against the prediction, the one nearest to each k-means centre (Gupte et al. 2024, arXiv 2401.14555).

    Args:
      candidates: how many there should be at least, times the size of the query; where fewer than half of the members' votes are too rare for that, those with
        most come in, as long as there is any.
    """
    if candidates < 1:
        raise ValueError(f"candidates is {candidates:g}; there must be as many as are asked for.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        share, wanted = scores[order], min(len(order), round(candidates * budget))
        least = np.sort(share)[len(share) - wanted]
        available = (share > 0.5) | ((share >= least) & (share > 0))
        if available.sum() < min(budget, len(order)):
            available = np.ones(len(order), bool)
        points = unit_rows(statistics["embedding"][order])
        return _queried(context, order, scores, _centres(key, points, np.ones(len(order)), available, budget))

    return Strategy(Needs(pool=("dissent", "embedding")), lambda statistics, context: statistics["dissent"], select=select)


def cluster_margin(*, candidates: float = 10.0) -> Strategy:
    """Of the cases of smallest margin, some from each cluster, small clusters first (Citovsky et al. 2021, arXiv 2107.14263).

    Clusters are joined by mean distance until a tenth as many are left as there are cases; of more than 5000 cases they are those of k-means.

    Args:
      candidates: cases that are looked at, times the size of the query.
    """
    if candidates < 1:
        raise ValueError(f"candidates is {candidates:g}; there must be as many as are asked for.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, count = statistics["embedding"][order], max(1, len(order) // 10)
        agglomerate = len(order) <= _AGGLOMERATED_AT_MOST
        of = agglomerated(points, count) if agglomerate else k_means(key, points, np.ones(len(order)), count).of
        unsure = np.argsort(-scores[order], kind="stable")[: round(candidates * budget)]
        draws = uniforms(jax.random.fold_in(key, 1), len(order))
        return _queried(context, order, scores, unsure[round_robin(of[unsure], draws[unsure], budget)])

    return Strategy(Needs(pool=("margin", "embedding")), lambda statistics, context: statistics["margin"], select=select)


def alfa_mix() -> Strategy:
    """Images whose class changes once their features are mixed a little with labelled ones, from many clusters (Parvaneh et al. 2022, arXiv 2203.07034)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[np.ndarray, np.ndarray]:
        features, _ = _sides(labelled.statistics)
        counts = np.asarray(labelled.statistics["class_counts"], np.float64)
        # A class that no labelled image has is taken to lie where all of them do.
        of_class = np.where(counts.sum(0) > 0, counts, 1.0)
        return np.matmul(of_class.T, features) / of_class.sum(0)[:, None], np.asarray(head[0])

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order, (means, kernel) = by_id(context), context.value
        features, probability = (part[order] for part in _sides(statistics))
        return -np.minimum(share_that_flips(features, probability, kernel, means), 1e3)[np.argsort(order)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        shares, budget = -scores[order], min(budget, len(order))
        enough = [share for share in _SHARES if (shares < share).sum() > budget]
        candidates = shares < (enough or _SHARES[-1:])[0]
        points = unit_rows(_sides(statistics)[0][order])
        places = _centres(key, points, np.ones(len(order)), candidates, budget)
        draws = uniforms(jax.random.fold_in(key, 1), len(order))
        rest = np.argsort(np.where(candidates, -1.0, draws))[::-1][: budget - len(places)]
        return _queried(context, order, scores, np.concatenate([places, rest]))

    return Strategy(Needs(pool=("regions",), labelled=("regions", "class_counts")), score, prepare, select)


def _sides(statistics: Collected) -> tuple[np.ndarray, np.ndarray]:
    """Features and probabilities of images, `[images, features]` and `[images, classes]`."""
    items: Items = statistics["regions"].candidates
    return np.asarray(items.features)[:, 0], np.asarray(items.probability)[:, 0]


def _centres(key: Array, points: np.ndarray, weight: np.ndarray, available: np.ndarray, budget: int) -> np.ndarray:
    """Places of the available points that are nearest to each centre of theirs, as many as are asked for."""
    budget = min(budget, int(available.sum()))
    if budget == 0:
        return np.zeros(0, np.int64)
    clusters = k_means(key, points[available], weight[available], budget)
    return nearest_to_centres(points, available, clusters, budget)


def _queried(context: Context, order: np.ndarray, scores: np.ndarray, places: np.ndarray) -> Query:
    """A query of places in the order of ids, with the cases' own scores; these do not fall, because clusters decide."""
    return chosen(context, order, places, scores[order][places])
