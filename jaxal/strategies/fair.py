"""Strategies that look after the worst-served group of patients."""

import collections
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxal.acquisition.selection import Query
from jaxal.assessment import fairness, metrics
from jaxal.strategies import values
from jaxal.strategies.at_random import random
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.uncertain import SCALED, by_statistic
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
        performance = _performance(labelled if weight_source == "labelled" else evaluation)
        groups = sorted({unit.group for unit in context.pool} | set(performance))
        return fairness.group_weights(performance, groups, gamma)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.array([context.value[unit.group] for unit in context.pool]) * statistics[name]

    def explain(statistics: Collected, context: Context) -> dict[str, Any]:
        return {"group_weights": context.value}

    return Strategy(Needs((name,), *_splits(weight_source)), score, prepare, explain=explain)


def stratified_random() -> Strategy:
    """At random, each time from the group that has fewest labels: what fairness costs without any model."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> collections.Counter[str]:
        return _counts(labelled)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        return _group_by_group(scores, context, budget, context.value, lambda group, labels: -labels)

    return random()._replace(prepare=prepare, select=select)


def worst_group(
    *,
    by: Literal["entropy", "scaled_entropy", "random"] = "entropy",
    bonus: float = 0.0,
    weight_source: WeightSource = "evaluation",
) -> Strategy:
    """Each time from the group that fares worst (Abernethy et al. 2022, arXiv 2006.06879; Shekhar et al. 2021, arXiv 2103.00755).

    Args:
      by: what orders the cases of that group.
      bonus: Dice that a group's is lowered by over the square root of its labels, counting those of this query: few labels tell little. Without
        it a whole query goes to one group, as far as there are cases of it.
      weight_source: whose Dice says which group fares worst. One without any such case counts as the worst that has.
    """
    inner = random() if by == "random" else by_statistic(by)
    return _of_worst(inner, bonus, _splits(weight_source), _performance, "group_dice")


def worst_group_of_images(
    *, by: Literal["entropy", "random"] = "entropy", bonus: float = 0.0, weight_source: WeightSource = "evaluation"
) -> Strategy:
    """Each time from the group that fares worst (Abernethy et al. 2022, arXiv 2006.06879; Shekhar et al. 2021, arXiv 2103.00755).

    Args:
      by: what orders the images of that group.
      bonus: by how much a group counts as worse over the square root of its labels, counting those of this query: few labels tell little.
        Without it a whole query goes to one group, as far as there are images of it.
      weight_source: whose probability of the true class says which group fares worst. One without any such image counts as the worst that has.
    """
    inner = random() if by == "random" else by_statistic(by)
    return _of_worst(inner, bonus, _splits(weight_source, "prediction"), _probability_of_truth, "group_probability")


def worst_group_of_numbers(
    *,
    by: Literal["total_variance", "epistemic_variance", "random"] = "total_variance",
    bonus: float = 0.0,
    weight_source: WeightSource = "evaluation",
) -> Strategy:
    """Each time from the group that fares worst (Abernethy et al. 2022, arXiv 2006.06879; Shekhar et al. 2021, arXiv 2103.00755).

    Args:
      by: what orders the cases of that group.
      bonus: by how much a group's R² is lowered over the square root of its labels, counting those of this query: few labels tell little.
        Without it a whole query goes to one group, as far as there are cases of it.
      weight_source: whose R² says which group fares worst. One without any such case counts as the worst that has.
    """
    inner = {"total_variance": values.total_variance, "epistemic_variance": values.epistemic_variance, "random": random}[by]()
    return _of_worst(inner, bonus, _splits(weight_source, "prediction"), _explained, "group_r2")


def _of_worst(
    inner: Strategy,
    bonus: float,
    needed: tuple[tuple[str, ...], tuple[str, ...]],
    performance: Callable[[Seen], Mapping[str, float]],
    told: str,
) -> Strategy:
    """The inner strategy, within the group that fares worst.

    Args:
      inner: whose scores order the cases of a group.
      bonus: as of `worst_group`.
      needed: statistics of the labelled and of the evaluation cases, of which one is empty.
      performance: of each group, 1 at best.
      told: its name in the ledger.
    """
    if bonus < 0:
        raise ValueError(f"bonus is {bonus:g}; below zero the group with most labels would come first.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> _Standing:
        known = performance(labelled if needed[0] else evaluation)
        worst = min(known.values(), default=0.0)
        groups = sorted({unit.group for unit in context.pool} | set(known))
        value = inner.prepare(context, head, labelled, evaluation)
        return _Standing({group: known.get(group, worst) for group in groups}, _counts(labelled), value)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return inner.score(statistics, context._replace(value=context.value.of_inner))

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        standing: _Standing = context.value

        def need(group: str, labels: int) -> float:
            uncertain = bonus / np.sqrt(labels) if labels else np.inf if bonus else 0.0
            return float(1.0 - standing.performance[group] + uncertain)

        return _group_by_group(scores, context, budget, standing.labels, need)

    def explain(statistics: Collected, context: Context) -> dict[str, Any]:
        return {told: dict(context.value.performance)}

    labelled, evaluation = needed
    needs = inner.needs._replace(labelled=tuple(dict.fromkeys((*inner.needs.labelled, *labelled))), evaluation=evaluation)
    return inner._replace(needs=needs, prepare=prepare, score=score, select=select, explain=explain)


class _Standing(NamedTuple):
    """How groups fare, how many labels each has, and what the strategy that orders a group's cases was prepared with."""

    performance: Mapping[str, float]
    labels: Mapping[str, int]
    of_inner: Any


def _splits(weight_source: WeightSource, statistic: str = "overlap") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Statistics that are needed of the labelled and of the evaluation cases."""
    return ((statistic,), ()) if weight_source == "labelled" else ((), (statistic,))


def _performance(seen: Seen) -> Mapping[str, float]:
    """Mean Dice of each group that has any case in which it is defined."""
    dice = metrics.mean_foreground_dice(seen.statistics["overlap"])
    return fairness.group_performance(dice, [case.group for case in seen.cases]).by_group


def _probability_of_truth(seen: Seen) -> Mapping[str, float]:
    """Mean predicted probability of the true class, of each group that has any image whose class is known."""
    truth = metrics.probability_of_truth(*seen.statistics["prediction"])
    return fairness.group_performance(truth, [case.group for case in seen.cases]).by_group


def _explained(seen: Seen) -> Mapping[str, float]:
    """R² of each group over the variance of all these cases."""
    found = seen.statistics["prediction"]
    explained = metrics.share_explained(found.label, found.mean, found.labelled)
    return fairness.group_performance(explained, [case.group for case in seen.cases]).by_group


def _counts(labelled: Seen) -> collections.Counter[str]:
    return collections.Counter(case.group for case in labelled.cases)


def _group_by_group(
    scores: np.ndarray, context: Context, budget: int, labels: Mapping[str, int], need: Callable[[str, int], float]
) -> Query:
    """The case of highest score of the group in most need, again and again; of groups in equal need the one with the highest score.

    Args:
      scores: `[pool]`.
      context: with the pool.
      budget: of cases.
      labels: how many each group has.
      need: of a group with so many labels, those of this query included.
    """
    counts = collections.Counter(labels)
    left = sorted(range(len(context.pool)), key=lambda place: (-scores[place], context.pool[place].id))
    taken: list[int] = []
    while left and len(taken) < budget:
        neediest = max(left, key=lambda place: need(context.pool[place].group, counts[context.pool[place].group]))
        left.remove(neediest)
        counts[context.pool[neediest].group] += 1
        taken.append(neediest)
    return Query(tuple(context.pool[place].id for place in taken), tuple(float(scores[place]) for place in taken), None)
