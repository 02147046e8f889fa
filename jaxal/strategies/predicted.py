"""Strategies that ask where a further output of the network says that the network does badly."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from jaxal.acquisition.clusters import k_means, round_robin
from jaxal.acquisition.coverage import unit_rows
from jaxal.acquisition.selection import Query, top_k
from jaxal.networks.auxiliary import pooled_head
from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen
from jaxal.training import losses
from jaxal.types import Collected, Example

Array = jax.Array


def learning_loss() -> Strategy:
    """The loss that a head beside the network predicts, which has learned to put two labelled cases in order by it (Yoo & Kweon 2019, arXiv 1905.03677).

    The head reads the pooled features of the middle and of the last layer, not of every stage, and leaves them alone: no gradient of its loss reaches the network.
    """
    head = pooled_head("predicted_loss", comparison=losses.pair_ranking)
    return Strategy(
        Needs(pool=("auxiliary",)), lambda statistics, context: statistics["auxiliary"]["predicted_loss"], auxiliary=head
    )


def predicted_dice(*, clusters: bool = True) -> Strategy:
    """Low Dice by the prediction of a head beside the network, from many clusters of features (PAAL, Shi et al. 2024, arXiv 2405.00452).

    PAAL has a network of its own for it, which sees the image. Here a head reads pooled features, and is trained on the Dice that the network reaches while it learns, which is higher than it would
    reach on other cases; its order is what counts.

    Args:
      clusters: whether the worst of each of log2(4 b) + 1 clusters are asked for in turn, b being the query's size, and not the worst of all.
    """

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return expit(-statistics["auxiliary"]["predicted_dice"])

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        if not clusters:
            return top_k(context.ids, scores, budget)
        order = by_id(context)
        count = min(len(order), math.floor(math.log2(4 * budget)) + 1)
        points = unit_rows(statistics["embedding"][order])
        of = k_means(key, points, np.ones(len(order)), count).of
        places = round_robin(of, scores[order], min(budget, len(order)))
        return chosen(context, order, places, scores[order][places])

    needs = Needs(pool=("auxiliary", "embedding") if clusters else ("auxiliary",))
    return Strategy(needs, score, select=select, auxiliary=pooled_head("predicted_dice", _overlap))


def _overlap(values: Array, logits: Array, lost: Array, batch: Example) -> Array:
    items = len(values)
    return losses.predicted_overlap(
        values, logits, batch.label.reshape(items, -1).astype(jnp.int32), batch.labelled.reshape(items, -1)
    )
