"""Strategies that look for cases like some that are known."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition.selection import Query, cosines, most_mutual_information
from jaxal.assessment import metrics
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen, filled
from jaxal.types import Collected, Seen

Array = jax.Array


def flqmi(*, eta: float = 1.0, weights: Literal["error", "none"] = "error") -> Strategy:
    """Cases that together are most like the evaluation cases that fare worst, by facility-location mutual information (Kothawade et al. 2021, arXiv 2107.00717).

    It needs no groups: cases of a group that fares badly are like each other or they are not. Alike are two cases as far as the cosine of their
    pooled features is above zero, taken from the evaluation set's mean, because plain ones all point the same way.

    Args:
      eta: how much being like any one evaluation case counts beside covering all of them.
      weights: whether an evaluation case counts by its error, 1 - Dice, or as all others.
    """
    if eta < 0:
        raise ValueError(f"eta is {eta:g}; below zero cases unlike all that are sought would come first.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[np.ndarray, np.ndarray]:
        embedding = np.asarray(evaluation.statistics["embedding"], np.float32)
        dice = metrics.mean_foreground_dice(evaluation.statistics["overlap"])
        errors = np.where(np.isnan(dice), 0.0, 1.0 - dice) if weights == "error" else np.ones(len(embedding))
        return embedding, (errors / (errors.mean() or 1.0)).astype(np.float32)

    def similarity(embedding: np.ndarray, context: Context) -> np.ndarray:
        sought, errors = context.value
        centre = sought.mean(0)
        return np.maximum(np.asarray(cosines(jnp.asarray(embedding - centre), jnp.asarray(sought - centre))), 0.0) * errors

    def score(statistics: Collected, context: Context) -> np.ndarray:
        alike = similarity(statistics["embedding"], context)
        return alike.sum(-1) + eta * alike.max(-1)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        points, available = filled(similarity(statistics["embedding"][order], context))
        return chosen(context, order, *most_mutual_information(points, available, min(budget, len(order)), jnp.float32(eta)))

    return Strategy(Needs(pool=("embedding",), evaluation=("embedding", "overlap")), score, prepare, select)
