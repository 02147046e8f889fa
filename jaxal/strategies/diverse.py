"""Strategies that ask for cases unlike each other and unlike what is labelled."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import clusters, gradients, information, sequential
from jaxal.acquisition.coverage import unit_rows
from jaxal.acquisition.determinants import greedy_determinant
from jaxal.acquisition.discriminator import most_unlike_labelled
from jaxal.acquisition.first_sets import medoid
from jaxal.acquisition.herding import least_discrepancy
from jaxal.acquisition.selection import (
    Query,
    draws_by_distance,
    k_center,
    k_means_plus_plus,
    k_means_plus_plus_of_gradients,
    squared_distance_to_nearest,
)
from jaxal.arrays import chances_of
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen, filled, no_score, repeated
from jaxal.types import Collected, Seen

Array = jax.Array
_compiled_nearest = jax.jit(squared_distance_to_nearest)


def coreset() -> Strategy:
    """The pooled features farthest from all that is labelled or chosen before (Sener & Savarese 2018, arXiv 1708.00489)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return labelled.statistics["embedding"]

    def score(statistics: Collected, context: Context) -> np.ndarray:
        if not len(context.value):
            return np.zeros(len(context.pool))
        points, _ = filled(statistics["embedding"])
        return np.sqrt(np.asarray(_compiled_nearest(points, repeated(context.value))))[: len(context.pool)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, available = filled(statistics["embedding"][order])
        budget, known = min(budget, len(order)), context.value
        if len(known):
            return chosen(context, order, *k_center(points, repeated(known), available, budget))
        middle = medoid(statistics["embedding"][order])  # all that is known of a pool without labels
        places, distances = (
            np.asarray(part) for part in k_center(points, points[middle][None], available.at[middle].set(False), budget - 1)
        )
        return chosen(context, order, np.append(middle, places), np.append(distances[:1].sum(), distances))

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), score, prepare, select)


def kmeans_plusplus() -> Strategy:
    """Draws cases with chances in proportion to the squared distance of their features from what is labelled or drawn before (k-means++, Arthur & Vassilvitskii 2007)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return labelled.statistics["embedding"]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, available = filled(statistics["embedding"][order])
        budget, known, keys = min(budget, len(order)), context.value, jax.random.split(key)
        if len(known):
            return chosen(context, order, *draws_by_distance(keys[0], points, repeated(known), available, budget))
        first = int(chances_of(keys[1], context.ids)[order].argmax())
        places, squares = draws_by_distance(keys[0], points, points[first][None], available.at[first].set(False), budget - 1)
        return chosen(context, order, np.append(first, places), np.append(0.0, squares))

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), no_score, prepare, select)


def herding(*, width: float = 1.0) -> Strategy:
    """Cases with which the labelled ones are distributed most like all, by maximum mean discrepancy (as Hwang et al. 2022, arXiv 2208.06604, choose candidates).

    Args:
      width: of the Gaussian kernel; features are divided by their lengths, so distances are at most 2.
    """
    if width <= 0:
        raise ValueError(f"width is {width:g}; it must be above zero.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return unit_rows(labelled.statistics["embedding"]).astype(np.float64)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points = unit_rows(statistics["embedding"][order]).astype(np.float64)
        return chosen(context, order, *least_discrepancy(points, context.value, min(budget, len(order)), width))

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), no_score, prepare, select)


def discriminative() -> Strategy:
    """Cases that a small network is surest of to have no label, in ten parts, each counting as labelled for the next (Gissin & Shalev-Shwartz 2019, arXiv 1907.06347)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return unit_rows(labelled.statistics["embedding"])

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points = unit_rows(statistics["embedding"][order])
        return chosen(context, order, *most_unlike_labelled(key, points, context.value, min(budget, len(order))))

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), no_score, prepare, select, compares=True)


def prototypes() -> Strategy:
    """Images farthest in angle from each class's mean of labelled features, which weigh by their entropy (Wu et al. 2022, arXiv 2204.07965)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        features = unit_rows(labelled.statistics["embedding"]).astype(np.float64)
        # Where nothing is unsure, all count alike.
        entropy = np.asarray(labelled.statistics["entropy"], np.float64) + 1e-6
        of_class = np.asarray(labelled.statistics["class_counts"], np.float64) * entropy[:, None]
        seen = of_class.sum(0) > 0
        return unit_rows(np.matmul(of_class.T[seen], features)).astype(np.float64)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return 1.0 - np.matmul(unit_rows(statistics["embedding"]).astype(np.float64), context.value.T).max(1)

    return Strategy(Needs(pool=("embedding",), labelled=("embedding", "entropy", "class_counts")), score, prepare)


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


def dpp(*, gamma: float = 1.0, sigma: float = 1.0) -> Strategy:
    """Unsure cases that are unlike each other: the likeliest set of a determinantal point process, greedily (Bıyık et al. 2019, arXiv 1906.07975).

    Args:
      gamma: power of the entropy by which a case counts; 0 leaves diversity alone.
      sigma: width of the Gaussian kernel of features of length one.
    """
    if sigma <= 0 or gamma < 0:
        raise ValueError(f"sigma is {sigma:g} and gamma {gamma:g}; one must be above zero, the other not below.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points = unit_rows(statistics["embedding"][order]).astype(np.float64)
        worth = np.maximum(scores[order], 1e-12) ** gamma

        def column(place: int) -> np.ndarray:
            square = np.square(points - points[place]).sum(-1)
            return worth[place] * worth * np.exp(-square / sigma**2)

        return chosen(context, order, *greedy_determinant(worth**2, column, np.ones(len(order), bool), min(budget, len(order))))

    return Strategy(Needs(pool=("entropy", "embedding")), lambda statistics, context: statistics["entropy"], select=select)


def ranked_batch() -> Strategy:
    """Cases that are unlike labelled ones while labels are few, and more and more the unsure ones, one after the other (Cardoso et al. 2017).

    Unsure is how probable the best class is not, from 0 to 1, as it is there.
    """

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return labelled.statistics["embedding"]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points = statistics["embedding"][order]
        return chosen(context, order, *sequential.ranked_batch(points, scores[order], context.value, min(budget, len(order))))

    needs = Needs(pool=("least_confidence", "embedding"), labelled=("embedding",))
    return Strategy(needs, lambda statistics, context: statistics["least_confidence"], prepare, select)


def falcun(*, gamma: float = 10.0) -> Strategy:
    """Draws among cases of small margin whose predictions are unlike those drawn before (Gilhuber et al. 2024, ECML PKDD).

    Args:
      gamma: power of the chances; large comes close to always the largest.
    """
    if gamma <= 0:
        raise ValueError(f"gamma is {gamma:g}; it must be above zero.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        shares = statistics["class_shares"][order]
        return chosen(context, order, *sequential.falcun(key, shares, scores[order], min(budget, len(order)), gamma))

    return Strategy(Needs(pool=("margin", "class_shares")), lambda statistics, context: statistics["margin"], select=select)


def cdal() -> Strategy:
    """Cases whose classes are confused in other ways than those of labelled and chosen cases (contextual diversity, Agarwal et al. 2020, arXiv 2008.05723)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return labelled.statistics["contextual_mixtures"]

    def score(statistics: Collected, context: Context) -> np.ndarray:
        mixtures, _ = filled(statistics["contextual_mixtures"])
        known = [sequential.contextual_distances(mixtures, jnp.asarray(other)) for other in context.value]
        return np.min(known, axis=0)[: len(context.pool)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        mixtures, available = filled(statistics["contextual_mixtures"][order])
        padded = np.pad(scores[order].astype(np.float32), (0, len(mixtures) - len(order)))
        nearest = jnp.where(available, padded, -1.0)
        return chosen(context, order, *sequential.farthest_contexts(mixtures, nearest, min(budget, len(order))))

    needs = Needs(pool=("contextual_mixtures",), labelled=("contextual_mixtures",))
    return Strategy(needs, score, prepare, select)


def similarity_discrepancy() -> Strategy:
    """Cases like the pool and unlike what is labelled, by mean cosines of features (Li & Yin 2020, MICCAI)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return unit_rows(labelled.statistics["embedding"]).mean(0)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order = by_id(context)
        points = unit_rows(statistics["embedding"][order]).astype(np.float64)
        return np.matmul(points, points.mean(0) - context.value)[np.argsort(order)]

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), score, prepare, compares=True)


def information_density(*, beta: float = 1.0) -> Strategy:
    """Entropy times how close the pool is, mean of 1 / (1 + distance), to a power (Settles & Craven 2008, EMNLP; within clusters Jin et al. 2022).

    Args:
      beta: the power; 0 leaves entropy alone.
    """
    if beta < 0:
        raise ValueError(f"beta is {beta:g}; below zero outliers would come first.")

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order = by_id(context)
        return statistics["entropy"] * clusters.information_density(statistics["embedding"][order])[np.argsort(order)] ** beta

    return Strategy(Needs(pool=("entropy", "embedding")), score)
