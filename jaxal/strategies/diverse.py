"""Strategies that ask for cases unlike each other and unlike what is labelled."""

import jax
import numpy as np

from jaxal.acquisition import gradients, information
from jaxal.acquisition.selection import (
    Query,
    k_center,
    k_means_plus_plus,
    k_means_plus_plus_of_gradients,
    squared_distance_to_nearest,
)
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen, filled, repeated
from jaxal.types import Collected, Seen

Array = jax.Array
_compiled_nearest = jax.jit(squared_distance_to_nearest)


def coreset() -> Strategy:
    """The pooled features farthest from all that is labelled or chosen before (Sener & Savarese 2018, arXiv 1708.00489)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return labelled.statistics["embedding"]

    def score(statistics: Collected, context: Context) -> np.ndarray:
        points, _ = filled(statistics["embedding"])
        return np.sqrt(np.asarray(_compiled_nearest(points, repeated(context.value))))[: len(context.pool)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, available = filled(statistics["embedding"][order])
        budget = min(budget, len(order))
        return chosen(context, order, *k_center(points, repeated(context.value), available, budget))

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), score, prepare, select)


def badge() -> Strategy:
    """Long and diverse gradients under the predicted labels, drawn as k-means++ draws (Ash et al. 2020, arXiv 1906.03671)."""

    def gradients_of(statistics: Collected) -> np.ndarray:
        gradient = statistics["head_gradient"]
        return gradient.reshape(len(gradient), -1)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.linalg.norm(gradients_of(statistics), axis=-1)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, available = filled(gradients_of(statistics)[order])
        return chosen(context, order, *k_means_plus_plus(key, points, available, min(budget, len(order))))

    return Strategy(Needs(pool=("head_gradient",)), score, select=select)


def badge_of_images() -> Strategy:
    """Long and diverse gradients under the predicted labels, drawn as k-means++ draws (Ash et al. 2020, arXiv 1906.03671).

    Where an image is one item, its gradient is features times error and is never written down.
    """

    def sides(statistics: Collected, places: np.ndarray) -> tuple[Array, Array, Array]:
        items: information.Items = jax.tree.map(lambda part: part[places, 0], statistics["regions"].candidates)
        features, available = filled(np.asarray(items.features))
        probability, _ = filled(np.asarray(items.probability))
        return features, gradients.hallucinated_error(probability.T).T, available

    def score(statistics: Collected, context: Context) -> np.ndarray:
        features, error, _ = sides(statistics, np.arange(len(context.pool)))
        return np.sqrt(np.asarray(gradients.squared_norms(features, error)))[: len(context.pool)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        return chosen(context, order, *k_means_plus_plus_of_gradients(key, *sides(statistics, order), min(budget, len(order))))

    return Strategy(Needs(pool=("regions",)), score, select=select)
