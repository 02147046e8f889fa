"""Strategies that draw."""

import jax
import numpy as np

from jaxal.acquisition.selection import Query, power_scores, top_k
from jaxal.arrays import chances_of, gumbels_of
from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.strategies.uncertain import by_statistic
from jaxal.types import Collected

Array = jax.Array


def random() -> Strategy:
    """At random, the baseline of every comparison. What a unit draws depends on its name and not on the rest of the pool."""

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return chances_of(context.key, context.ids)

    return Strategy(Needs(), score)


def foreground_random(*, power_beta: float = 1.0) -> Strategy:
    """At random, with chances in proportion to a power of the predicted share of foreground: a baseline that asks no network how unsure it is.

    Args:
      power_beta: the power; 0 draws all alike.
    """
    return _power("foreground", power_beta)


def power_entropy(*, power_beta: float = 1.0) -> Strategy:
    """At random, with chances in proportion to a power of the entropy (Kirsch et al. 2023, arXiv 2106.12059).

    Args:
      power_beta: the power; large values come close to `entropy`, 0 draws all alike.
    """
    return _power("entropy", power_beta)


def power_bald(*, power_beta: float = 1.0) -> Strategy:
    """At random, with chances in proportion to a power of BALD (Kirsch et al. 2023, arXiv 2106.12059).

    Args:
      power_beta: the power; large values come close to `bald`, 0 draws all alike.
    """
    return _power("bald", power_beta)


def _power(name: str, power_beta: float) -> Strategy:
    if power_beta < 0:
        raise ValueError(f"power_beta is {power_beta:g}; below zero the lowest scores would be likeliest.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        return top_k(context.ids, power_scores(gumbels_of(key, context.ids), scores, power_beta), budget)

    return by_statistic(name)._replace(select=select)
