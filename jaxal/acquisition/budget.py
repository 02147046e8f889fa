"""Queries under a budget of cost, under quotas of classes, and of batches that were drawn."""

import numpy as np


def knapsack(scores: np.ndarray, costs: np.ndarray, at_most: float) -> np.ndarray:
    """The set of largest total score that costs no more than allowed (Kuo et al. 2018, MICCAI).

    Exact for whole costs and budgets up to 1000, by dynamic programming over the budget; other costs are rounded up to thousandths of it, so that what is chosen can be paid in any case.

    Args:
      scores: of the units, `[units]`, not negative.
      costs: of the units, `[units]`, above zero.
      at_most: of all that are chosen.

    Returns:
      Places, the highest score first. Of sets of one score, one that leaves out later units.
    """
    scores, costs = np.asarray(scores, np.float64), np.asarray(costs, np.float64)
    whole = bool(np.all(costs == np.round(costs))) and at_most <= 1000
    step = 1.0 if whole else at_most / 1000
    prices, limit = np.ceil(costs / step - 1e-9).astype(np.int64), int(np.floor(at_most / step + 1e-9))
    best, taken = np.zeros(limit + 1), np.zeros((len(scores), limit + 1), bool)
    for unit, (score, price) in enumerate(zip(scores, prices, strict=True)):
        if price <= limit:
            with_it = np.concatenate([np.full(price, -np.inf), best[: limit + 1 - price] + score])
            taken[unit] = with_it > best
            best = np.maximum(best, with_it)
    left, chosen = limit, []
    for unit in range(len(scores) - 1, -1, -1):
        if taken[unit, left]:
            chosen.append(unit)
            left -= int(prices[unit])
    places = np.sort(np.array(chosen, np.int64))
    return places[np.argsort(-scores[places], kind="stable")]


def class_quota(
    scores: np.ndarray, shares: np.ndarray, lacking: np.ndarray, budget: int, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Units of high score whose expected classes are those that labels are lacking of: greedily Σ u - λ ‖Σ p - r‖₁ as large as can be (Bengar et al. 2022,
    arXiv 2110.04543, an integer programme there).

    Args:
      scores: of the units, `[units]`.
      shares: how much of each class a unit is expected to have, `[units, classes]`.
      lacking: how much of each is lacking, r, `[classes]`, not negative.
      budget: units to choose, at most all.
      weight: λ.

    Returns:
      Places in order, `[budget]`, and what each added, `[budget]`. Ties go to the earlier unit.
    """
    left, had = np.ones(len(scores), bool), np.zeros(shares.shape[1])
    places, gains = np.zeros(budget, np.int64), np.zeros(budget)
    for step in range(budget):
        off = np.abs(had - lacking).sum()
        gain = scores - weight * (np.abs(had + shares - lacking).sum(-1) - off)
        places[step] = np.where(left, gain, -np.inf).argmax()
        gains[step], left[places[step]] = gain[places[step]], False
        had = had + shares[places[step]]
    return places, gains


def best_batch(scores: np.ndarray, draws: np.ndarray, budget: int) -> np.ndarray:
    """Of the batches into which a draw divides the units, the one of largest mean score (stochastic batches, Gaillochet et al. 2023, arXiv 2301.07670).

    Args:
      scores: `[units]`.
      draws: random numbers, `[units]`, whose order divides the units; what is left over after whole batches is in none.
      budget: units of a batch, at most all.

    Returns:
      Places of the batch, the highest score first, `[budget]`.
    """
    batches = np.argsort(draws, kind="stable")[: len(scores) // budget * budget].reshape(-1, budget)
    chosen = np.sort(batches[scores[batches].mean(1).argmax()])
    return chosen[np.argsort(-scores[chosen], kind="stable")]
