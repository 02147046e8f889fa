"""Strategies that ask for cases which stand for many others, by greedy coverage of the pool's features."""

from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from jaxal.acquisition.clusters import k_means
from jaxal.acquisition.competence import competence, dense_and_unsure, inside_any, mixed, neighbours, pure_balls
from jaxal.acquisition.coverage import (
    Cover,
    Kernel,
    gains_of_first,
    greedy_coverage,
    least_distance,
    pure_radius,
    uncovered_by,
    unit_rows,
)
from jaxal.acquisition.selection import Query
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen
from jaxal.strategies.tempered import Temperature, at_temperature
from jaxal.types import Collected, Seen

Array = jax.Array
Width = Callable[[np.ndarray, np.ndarray, Collected, Context], float]  # by the unit vectors of the pool and of the labelled cases
Weight = Callable[[Collected, Context], np.ndarray]


def maxherding(*, sigma: float = 1.0) -> Strategy:
    """Cases that together are like as much of the pool as they can be, by a Gaussian kernel of their features (Bae et al. 2024, arXiv 2407.12212).

    Args:
      sigma: the kernel's width; features are divided by their lengths, so distances are at most 2.
    """
    return _covering("gaussian", _fixed("sigma", sigma))


def uherding(*, sigma: float | Literal["auto"] = "auto", temperature: Temperature = "evaluation") -> Strategy:
    """Cases that together are like as much as they can be of what the network is unsure of (Bae et al. 2025, arXiv 2412.20644).

    Args:
      sigma: width of the Gaussian kernel of features of length one; `auto` is the smallest distance between two labelled cases, so that it narrows as labels
        come in and uncertainty decides.
      temperature: that logits are divided by before the margin is taken: the one that makes the evaluation set's labels most likely, or a number.
    """

    def closest(points: np.ndarray, labelled: np.ndarray, statistics: Collected, context: Context) -> float:
        return least_distance(labelled) or 1.0

    width = closest if sigma == "auto" else _fixed("sigma", sigma)
    strategy = _covering("gaussian", width, lambda statistics, context: statistics["tempered_margin"])
    needs = strategy.needs._replace(pool=("embedding", "tempered_margin"))
    return at_temperature(strategy._replace(needs=needs), "tempered_margin", temperature)


def probcover(*, delta: float | Literal["auto"] = "auto", purity: float = 0.95) -> Strategy:
    """Cases whose neighbourhoods together hold most of the pool (Yehuda et al. 2022, arXiv 2205.11320).

    Args:
      delta: distance between features of length one below which two cases are neighbours; `auto` is the largest of which so many neighbourhoods are of one
        cluster.
      purity: share of the neighbourhoods that are; clusters are those of k-means, as many as there are classes.
    """
    if not 0 < purity <= 1:
        raise ValueError(f"purity is {purity:g}; it is a share above 0 and at most 1.")
    if delta != "auto":
        return _covering("ball", _fixed("delta", delta))

    def radius(points: np.ndarray, labelled: np.ndarray, statistics: Collected, context: Context) -> float:
        classes = statistics["class_shares"].shape[-1]
        found = k_means(context.key, points, np.ones(len(points)), min(classes, len(points)))
        return pure_radius(points, found.of, purity)

    strategy = _covering("ball", radius)
    return strategy._replace(needs=strategy.needs._replace(pool=("embedding", "class_shares")))


def facility_location() -> Strategy:
    """Cases so that each of the pool has one like it, by the angle of their features, among them or the labelled ones (Wei et al. 2015, PMLR 37)."""
    return _covering("cosine", _fixed("width", 1.0))


def dcom(*, centre: float = 0.9, steepness: float = 30.0) -> Strategy:
    """Cases around which many are that no labelled case stands for; as labels come to cover the pool, more and more those whose two likeliest classes are close (Mishal &
    Weinshall 2024, arXiv 2407.01804).

    A labelled case stands for a ball around it that is as pure as the present network's predictions have it, in the authors' code as those of the round that asked
    for it had.

    Args:
      centre: share of cases inside such balls at which doubts come to count half.
      steepness: of that change.
    """
    if not 0 < centre <= 1 or steepness <= 0:
        raise ValueError(f"centre is {centre:g} and steepness {steepness:g}; the one is a share above 0, the other above 0.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[np.ndarray, np.ndarray]:
        known = labelled.statistics
        return unit_rows(known["embedding"]).astype(np.float64), np.asarray(known["class_counts"]).argmax(-1)

    def seen(statistics: Collected, context: Context) -> tuple[np.ndarray, np.ndarray, float, float]:
        order, (centres, of_centres) = by_id(context), context.value
        points = unit_rows(statistics["embedding"][order]).astype(np.float64)
        of = np.concatenate([statistics["class_shares"][order].argmax(-1), of_centres])
        everything, purity = np.concatenate([points, centres]), 0.4
        for _ in range(2):  # what is covered decides how pure balls must be, and the other way round
            radii = pure_balls(everything, of, centres, of_centres, purity)
            covered = inside_any(everything, centres, radii)
            purity = 0.4 + 0.2 * covered.mean()
        share = competence(covered.mean(), centre, steepness)
        return points, covered[: len(points)], float(radii.mean()), share

    def score(statistics: Collected, context: Context) -> np.ndarray:
        points, covered, radius, share = seen(statistics, context)
        density = neighbours(points, points[~covered], radius)
        return mixed(density, statistics["margin"][by_id(context)], share)[np.argsort(by_id(context))]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order, (points, covered, radius, share) = by_id(context), seen(statistics, context)
        unsure = np.asarray(statistics["margin"][order])
        return chosen(context, order, *dense_and_unsure(points, covered, radius, unsure, share, min(budget, len(order))))

    needs = Needs(pool=("embedding", "class_shares", "margin"), labelled=("embedding", "class_counts"))
    return Strategy(needs, score, prepare, select)


def suggestive_annotation(*, candidates: float = 2.0, unlike: bool = False) -> Strategy:
    """Of the cases on which members differ most, those that together are like the whole pool (Yang et al. 2017, arXiv 1706.04737).

    Args:
      candidates: how many are looked at, times the size of the query; the paper takes 16 for 8.
      unlike: whether cases stand for what is unlike them instead (Shen et al. 2020, MICCAI), which spreads them out.
    """
    if candidates < 1:
        raise ValueError(f"candidates is {candidates:g}; of fewer than the query none can be left out.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        unsure = np.argsort(-scores[order], kind="stable")[: round(candidates * min(budget, len(order)))]
        available = np.isin(np.arange(len(order)), unsure)
        points = unit_rows(statistics["embedding"][order])
        cover = Cover(points, np.ones(len(order)), np.ones(len(order)), "opposite" if unlike else "cosine")
        return chosen(context, order, *greedy_coverage(cover, available, min(budget, len(order))))

    return Strategy(Needs(pool=("variance", "embedding")), lambda statistics, context: statistics["variance"], select=select)


def _fixed(name: str, width: float) -> Width:
    if width <= 0:
        raise ValueError(f"{name} is {width:g}; it must be above zero.")
    return lambda points, labelled, statistics, context: width


def _covering(kernel: Kernel, width: Width, weight: Weight | None = None) -> Strategy:
    """Greedy coverage of the pool, of which the labelled cases cover something already; scores are what each case would cover by itself."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return unit_rows(labelled.statistics["embedding"])

    def cover(statistics: Collected, context: Context, order: np.ndarray) -> Cover:
        points, labelled = unit_rows(statistics["embedding"][order]), context.value
        worth = np.ones(len(order)) if weight is None else np.asarray(weight(statistics, context))[order]
        size = width(points, labelled, statistics, context)
        return Cover(points, worth, uncovered_by(points, labelled, kernel, size), kernel, size)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order = by_id(context)
        return gains_of_first(cover(statistics, context, order))[np.argsort(order)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        bounds = scores[order] * (1 + 1e-5)  # in blocks of another size the sums are rounded otherwise
        available = np.ones(len(order), bool)
        return chosen(
            context, order, *greedy_coverage(cover(statistics, context, order), available, min(budget, len(order)), bounds)
        )

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), score, prepare, select)
