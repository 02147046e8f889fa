"""Strategies that look after the worst-served group of patients."""

import collections
from typing import Any, Literal

import jax
import numpy as np

from jaxal.acquisition.selection import Query
from jaxal.assessment import fairness, metrics
from jaxal.strategies.at_random import random
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.uncertain import SCALED
from jaxal.types import Collected, Seen

Array = jax.Array
WeightSource = Literal["labelled", "evaluation"]


def weighted_entropy(*, gamma: float = 1.0, weight_source: WeightSource = "labelled") -> Strategy:
    """Masked entropy, weighted by how badly the case's group fares (Danaee et al. 2026, arXiv 2605.01706).

    Args:
      gamma: exponent of the group weights.
      weight_source: whose Dice weighs the groups: the labelled cases', as the paper says, or the evaluation cases'.
    """
    return _weighted("masked_entropy", gamma, weight_source)


def weighted_entropy_unmasked(*, gamma: float = 1.0, weight_source: WeightSource = "labelled") -> Strategy:
    """Entropy of the whole image, weighted by how badly the case's group fares: `weighted_entropy` without its mask.

    Args:
      gamma: exponent of the group weights.
      weight_source: whose Dice weighs the groups: the labelled cases', as the paper says, or the evaluation cases'.
    """
    return _weighted("entropy", gamma, weight_source)


def weighted_scaled_entropy(
    *, gamma: float = 1.0, weight_source: WeightSource = "labelled", over: Literal["image", "region"] = "image"
) -> Strategy:
    """Entropy over the predicted structure's volume, weighted by how badly the case's group fares (after Danaee et al. 2026, arXiv 2605.01706).

    Args:
      gamma: exponent of the group weights.
      weight_source: whose Dice weighs the groups: the labelled cases', as the paper says, or the evaluation cases'.
      over: entropy of the whole image, or of the region of interest alone.
    """
    return _weighted(SCALED[over], gamma, weight_source)


def _weighted(name: str, gamma: float, weight_source: WeightSource) -> Strategy:
    if gamma < 0:
        raise ValueError(f"gamma is {gamma:g}; below zero the worst-served group would count least.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> dict[str, float]:
        source = labelled if weight_source == "labelled" else evaluation
        dice = metrics.mean_foreground_dice(source.statistics["overlap"])
        performance = fairness.group_performance(dice, [case.group for case in source.cases])
        groups = sorted({unit.group for unit in context.pool} | set(performance.by_group))
        return fairness.group_weights(performance.by_group, groups, gamma)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.array([context.value[unit.group] for unit in context.pool]) * statistics[name]

    def explain(statistics: Collected, context: Context) -> dict[str, Any]:
        return {"group_weights": context.value}

    splits = {weight_source: ("overlap",)}
    return Strategy(Needs((name,), splits.get("labelled", ()), splits.get("evaluation", ())), score, prepare, explain=explain)


def stratified_random() -> Strategy:
    """At random, each time from the group that has fewest labels: what fairness costs without any model."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> list[str]:
        return [case.group for case in labelled.cases]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        counts = collections.Counter(context.value)
        left = sorted(range(len(context.pool)), key=lambda place: (-scores[place], context.pool[place].id))
        taken: list[int] = []
        while left and len(taken) < budget:
            neediest = min(left, key=lambda place: counts[context.pool[place].group])  # of equal groups the one of highest score
            left.remove(neediest)
            counts[context.pool[neediest].group] += 1
            taken.append(neediest)
        return Query(tuple(context.pool[place].id for place in taken), tuple(float(scores[place]) for place in taken), None)

    return random()._replace(prepare=prepare, select=select)
