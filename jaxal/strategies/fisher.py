"""Strategies that ask for images whose labels would tell most of the last layer's weights."""

from typing import Literal

import jax
import numpy as np

from jaxal.acquisition import fisher
from jaxal.acquisition.information import Items
from jaxal.acquisition.selection import Query
from jaxal.errors import UserError
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen
from jaxal.types import Collected, Seen

Array = jax.Array

_WEIGHTS_AT_MOST = 4000  # of the last layer, whose information is a matrix of 128 MB


def bait(
    *, form: Literal["full", "binary"] = "full", ridge: float = 1.0, weights: Literal["average", "published"] = "average"
) -> Strategy:
    """Images that leave least of the pool's Fisher information unexplained: twice as many are added, half are dropped again (Ash et al. 2021, arXiv 2106.09675).

    Args:
      form: `full` looks at all classes, in memory that grows with (features x classes)²; `binary` at the most probable against all others (Huseljic et al. 2024,
        arXiv 2404.08981).
      ridge: on the diagonal of the information.
      weights: what labelled and chosen images count: `average` is the mean over both; `published` counts a chosen one for as many as are asked for, as the
        authors' code does.
    """
    if ridge <= 0:
        raise ValueError(f"ridge is {ridge:g}; it must be above zero.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> fisher.Seen:
        return _seen(labelled.statistics, np.arange(len(labelled.cases)))

    def score(statistics: Collected, context: Context) -> np.ndarray:
        seen = _seen(statistics, np.arange(len(context.pool)))
        best = seen.probability.max(-1)
        return best * (1.0 - best) * np.square(seen.features).sum(-1)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        pool, labelled, budget = _seen(statistics, order), context.value, min(budget, len(order))
        if form == "full":
            _check_size(pool)
        everybody = len(labelled.features) + budget
        counted = (1.0 / everybody, (budget if weights == "published" else 1.0) / everybody)
        rule = fisher.bait if form == "full" else fisher.bait_of_best_class
        return chosen(context, order, *rule(pool, labelled, np.ones(len(order), bool), budget, counted, ridge))

    return Strategy(Needs(pool=("regions",), labelled=("regions",)), score, prepare, select)


def isal(*, ridge: float = 1e-2) -> Strategy:
    """Images whose predicted label, learnt in the last layer, would lower the evaluation set's loss most (influence, Liu et al. 2021, ICCV).

    Args:
      ridge: on the diagonal of the loss's second derivative, of which few labels leave most at zero.
    """
    if ridge <= 0:
        raise ValueError(f"ridge is {ridge:g}; it must be above zero.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[fisher.Seen, fisher.Seen, np.ndarray]:
        known = np.asarray(evaluation.statistics["class_counts"]).sum(-1) > 0
        places = np.flatnonzero(known)
        labels = np.asarray(evaluation.statistics["class_counts"])[places].argmax(-1)
        of_labelled = _seen(labelled.statistics, np.arange(len(labelled.cases)))
        _check_size(of_labelled)
        return of_labelled, _seen(evaluation.statistics, places), labels

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order, (labelled, evaluation, labels) = by_id(context), context.value
        return fisher.influence(_seen(statistics, order), labelled, evaluation, labels, ridge)[np.argsort(order)]

    both = ("regions", "class_counts")
    return Strategy(Needs(pool=("regions",), labelled=("regions",), evaluation=both), score, prepare)


def _seen(statistics: Collected, places: np.ndarray) -> fisher.Seen:
    """Images as the last layer sees them, with a one behind the features."""
    items: Items = statistics["regions"].candidates
    features = np.asarray(items.features, np.float64)[places, 0]
    return fisher.Seen(
        np.pad(features, ((0, 0), (0, 1)), constant_values=1.0), np.asarray(items.probability, np.float64)[places, 0]
    )


def _check_size(seen: fisher.Seen) -> None:
    weights = seen.features.shape[1] * seen.probability.shape[1]
    if weights > _WEIGHTS_AT_MOST:
        raise UserError(
            f"The last layer has {weights} weights, and the information of all of them is a matrix of {weights} x {weights}; up to {_WEIGHTS_AT_MOST} are "
            "taken. bait,form=binary needs features x features."
        )
