"""Strategies that look for cases like some that are known: evaluation cases that fare badly, or those of a rare class (SIMILAR, Kothawade et al. 2021, arXiv 2107.00717).

They need no groups: cases of a group that fares badly are like each other or they are not. Alike are two cases by the cosine of their pooled features, taken from the
evaluation set's mean, because plain ones all point the same way.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition.coverage import Cover, gains_of_first, greedy_coverage, unit_rows
from jaxal.acquisition.determinants import RIDGE, most_mutual_determinant, mutual_determinant_of_each
from jaxal.acquisition.mutual_information import cosines, most_mutual_information
from jaxal.acquisition.selection import Query
from jaxal.strategies.contract import Context, Head, Needs, Prepare, Strategy
from jaxal.strategies.rows import by_id, chosen, filled
from jaxal.types import Collected, Seen

Array = jax.Array
Weights = Literal["error", "rare", "none"]
_NEEDS = Needs(pool=("embedding",), evaluation=("embedding", "error", "class_counts"))


class _Sought(NamedTuple):
    """Evaluation cases: their features around the mean, `[cases, features]`, how much each counts, one on average, `[cases]`, and the mean, `[features]`."""

    features: np.ndarray
    weight: np.ndarray
    mean: np.ndarray


def flqmi(*, eta: float = 1.0, weights: Weights = "error") -> Strategy:
    """Cases that together are most like the evaluation cases that fare worst, by facility-location mutual information of queries (Kothawade et al. 2021, arXiv 2107.00717).

    Alike are two cases by the cosine of their pooled features around the evaluation set's mean, zero where it is negative. Where no evaluation case has an error, none is sought and the first by name come.

    Args:
      eta: how much being like any one evaluation case counts beside covering all of them.
      weights: whether an evaluation case counts by its error (1 - Dice, or 1 - probability of its class), by how much it has of the class that is rarest there, or
        as all others.
    """
    _not_below_zero(eta)

    def similarity(embedding: np.ndarray, context: Context) -> np.ndarray:
        sought, weight, _ = context.value
        return np.maximum(cosines(embedding, sought), 0.0) * weight

    def score(statistics: Collected, context: Context) -> np.ndarray:
        alike = similarity(_moved(statistics, context), context)
        return alike.sum(-1) + eta * alike.max(-1)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, available = filled(similarity(_moved(statistics, context)[order], context))
        return chosen(context, order, *most_mutual_information(points, available, min(budget, len(order)), jnp.float32(eta)))

    return Strategy(_NEEDS, score, _sought(weights), select)


def flvmi(*, eta: float = 1.0, weights: Weights = "error") -> Strategy:
    """Cases so that each of the pool has one like it, as far as it is itself like an evaluation case that fares badly (Kothawade et al. 2021, arXiv 2107.00717).

    Args:
      eta: how much being like an evaluation case counts.
      weights: see `flqmi`.
    """
    _not_below_zero(eta)

    def cover(statistics: Collected, context: Context, order: np.ndarray) -> Cover:
        sought, weight, _ = context.value
        points = _moved(statistics, context)[order]
        alike = (0.5 + 0.5 * cosines(points, sought)) * weight
        nearest = np.minimum(eta * alike.max(-1), 1.0)
        return Cover(unit_rows(points), np.ones(len(order)), np.ones(len(order)), "cosine", floor=1.0 - nearest)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order = by_id(context)
        return gains_of_first(cover(statistics, context, order))[np.argsort(order)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        everything = cover(statistics, context, order)
        return chosen(context, order, *greedy_coverage(everything, np.ones(len(order), bool), min(budget, len(order))))

    return Strategy(_NEEDS, score, _sought(weights), select)


def gcmi(*, weights: Weights = "error") -> Strategy:
    """The cases that are most like all evaluation cases that fare badly, by graph-cut mutual information, which looks at each alone (Kothawade et al. 2021, arXiv
    2107.00717). Alike is as in `flqmi`.

    Args:
      weights: see `flqmi`.
    """

    def score(statistics: Collected, context: Context) -> np.ndarray:
        sought, weight, _ = context.value
        return (np.maximum(cosines(_moved(statistics, context), sought), 0.0) * weight).sum(-1)

    return Strategy(_NEEDS, score, _sought(weights))


def logdetmi(*, eta: float = 1.0, weights: Weights = "error") -> Strategy:
    """Cases that tell most of the evaluation cases that fare worst, and are unlike each other, by log-determinants (Kothawade et al. 2021, arXiv 2107.00717).

    Args:
      eta: how much being like an evaluation case counts, from 0 to 1.
      weights: see `flqmi`; what counts less is seen through noise, whose variance is what its weight lacks of the largest, over its own.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta:g}; it goes from 0 to 1.")

    def parts(statistics: Collected, context: Context, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sought, weight, _ = context.value
        noise = max(float(weight.max()), 1e-30) / np.maximum(weight, 1e-30) - 1.0
        length = np.sqrt(RIDGE / (RIDGE + noise))  # the ridge is a noise of the shorter vector's own
        return unit_rows(_moved(statistics, context)[order]), unit_rows(sought) * length[:, None]

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order = by_id(context)
        return mutual_determinant_of_each(*parts(statistics, context, order), eta)[np.argsort(order)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, queries = parts(statistics, context, order)
        places = most_mutual_determinant(points, queries, np.ones(len(order), bool), min(budget, len(order)), eta)
        return chosen(context, order, *places)

    return Strategy(_NEEDS, score, _sought(weights), select)


def _sought(weights: Weights) -> Prepare:
    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> _Sought:
        embedding = np.asarray(evaluation.statistics["embedding"], np.float32)
        counts = np.asarray(evaluation.statistics["class_counts"], np.float64)
        there = np.flatnonzero(counts.sum(0))
        rarest = there[counts.sum(0)[there].argmin()] if len(there) else 0
        weight = {
            "error": np.asarray(evaluation.statistics["error"], np.float64),
            "rare": counts[:, rarest] / np.maximum(counts.sum(-1), 1.0),
            "none": np.ones(len(embedding)),
        }[weights]
        return _Sought(embedding - embedding.mean(0), (weight / (weight.mean() or 1.0)).astype(np.float32), embedding.mean(0))

    return prepare


def _moved(statistics: Collected, context: Context) -> np.ndarray:
    """The pool's features around the evaluation set's mean."""
    return statistics["embedding"] - context.value.mean


def _not_below_zero(eta: float) -> None:
    if eta < 0:
        raise ValueError(f"eta is {eta:g}; below zero cases unlike all that are sought would come first.")
