"""Strategies that divide a query among the classes, each by how unsure the network is of that class."""

from collections.abc import Callable

import jax
import numpy as np

from jaxal.acquisition.selection import Query, power_scores
from jaxal.arrays import gumbels_of
from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen
from jaxal.types import Collected

Array = jax.Array
_POWERS = (1.0, 100.0)  # of ClaSP PE's noise in the first and in the last round


def class_balanced(*, share: float = 1.0) -> Strategy:
    """The same number of cases for each class above zero, each class by its part p H of the entropy, mean over the image.

    Args:
      share: of the query that is so divided; the rest goes by the plain entropy.
    """
    return _by_class(share, None, above_zero=True)


def class_balanced_of_images(*, share: float = 1.0) -> Strategy:
    """The same number of images for each class, each class by its part p H of the entropy.

    Args:
      share: of the query that is so divided; the rest goes by the plain entropy.
    """
    return _by_class(share, None, above_zero=False)


def clasp_pe(*, share: float = 0.66) -> Strategy:
    """Two thirds of the query divided among the classes above zero, the rest by entropy, with noise that wanes over the rounds (ClaSP PE, arXiv 2601.13677, over cases).

    Args:
      share: of the query that is divided among the classes.
    """
    return _by_class(share, power_of_round, above_zero=True)


def clasp_pe_of_images(*, share: float = 0.66) -> Strategy:
    """Two thirds of the query divided among the classes, the rest by entropy, with noise that wanes over the rounds (ClaSP PE, arXiv 2601.13677, over images of one class).

    Args:
      share: of the query that is divided among the classes.
    """
    return _by_class(share, power_of_round, above_zero=False)


def power_of_round(context: Context) -> float:
    """The power of ClaSP PE's noise, from 1 in the first round to 100 in the last."""
    first, last = _POWERS
    return first * (last / first) ** (context.round / max(context.rounds - 1, 1))


def quotas(count: int, classes: int) -> list[int]:
    """A number divided as evenly as it can be."""
    return [count // classes + (place < count % classes) for place in range(classes)]


def check_share(share: float) -> None:
    """Makes sure that a share is one.

    Raises:
      ValueError: it is not.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share:g}; it must be from 0 to 1.")


def _by_class(share: float, power: Callable[[Context], float] | None, above_zero: bool) -> Strategy:
    """Cases of each class in turn, classes in an order that is drawn, then of all; without a power nothing else is drawn."""
    check_share(share)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.asarray(statistics["entropy_by_class"])[:, 0]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        parts = np.asarray(statistics["entropy_by_class"], np.float64)[order]
        plain, of_classes, budget = parts[:, 0], parts[:, 1 + above_zero :], min(budget, len(order))

        taken: list[int] = []

        def take(number: int, values: np.ndarray, count: int) -> None:
            values = np.maximum(values, 0.0)
            if power is not None:
                noise = gumbels_of(jax.random.fold_in(key, number), context.ids)[order]
                values = power_scores(noise, values, power(context))
            best = np.argsort(-values, kind="stable")
            taken.extend(best[~np.isin(best, taken)][:count].tolist())

        drawn = np.asarray(jax.random.permutation(key, of_classes.shape[1])).tolist()
        for class_, count in zip(drawn, quotas(int(share * budget), len(drawn)), strict=True):
            take(1 + class_, of_classes[:, class_], count)
        take(0, plain, budget - len(taken))
        return chosen(context, order, np.array(taken, np.int64), plain[taken])

    return Strategy(Needs(pool=("entropy_by_class",)), score, select=select)
