"""Queries under budgets and quotas against enumeration and an integer programme."""

import itertools

import numpy as np
import pytest
from scipy import optimize

from jaxal.acquisition.budget import best_batch, class_quota, knapsack


@pytest.mark.parametrize("whole", [True, False])
def test_the_knapsack_is_the_best_of_all_sets(rng, whole):
    for _ in range(10):
        scores, costs = rng.uniform(size=10), rng.integers(1, 9, 10).astype(float)
        costs = costs if whole else costs + rng.uniform(size=10)
        chosen = knapsack(scores, costs, 15.0)
        sets = [list(one) for size in range(11) for one in itertools.combinations(range(10), size)]
        best = max(scores[one].sum() for one in sets if costs[one].sum() <= 15)
        assert costs[chosen].sum() <= 15
        assert scores[chosen].sum() == pytest.approx(best, rel=1e-12 if whole else 0.02)
        assert scores[chosen].tolist() == sorted(scores[chosen], reverse=True)


def test_a_knapsack_that_holds_nothing_or_all(rng):
    assert knapsack(np.ones(3), np.array([5.0, 6.0, 7.0]), 4.0).tolist() == []
    assert knapsack(np.ones(3), np.array([5.0, 6.0, 7.0]), 18.0).tolist() == [0, 1, 2]
    assert knapsack(np.ones(3), np.array([2.0, 2.0, 2.0]), 4.0).tolist() == [0, 1]


def objective(scores, shares, lacking, weight, chosen):
    return scores[chosen].sum() - weight * np.abs(shares[chosen].sum(0) - lacking).sum()


def test_a_quota_by_steps_is_what_trying_all_gives_in_each(rng):
    scores, shares, lacking = rng.uniform(size=12), rng.dirichlet(np.ones(3), 12), np.array([0.0, 1.0, 3.0])
    places, gains = class_quota(scores, shares, lacking, 4, 0.6)
    chosen = []
    for place, gain in zip(places, gains, strict=True):
        before = objective(scores, shares, lacking, 0.6, chosen)
        values = [
            -np.inf if other in chosen else objective(scores, shares, lacking, 0.6, [*chosen, other]) for other in range(12)
        ]
        assert place == int(np.argmax(values)) and gain == pytest.approx(max(values) - before)
        chosen.append(int(place))


def test_the_quota_comes_close_to_the_integer_programme(rng):
    """The paper's programme, with the absolute values as further variables, solved by scipy."""
    worst = 1.0
    for _ in range(5):
        scores, shares, lacking = rng.uniform(size=30), rng.dirichlet(np.ones(3), 30), rng.uniform(0, 4, 3)
        cost = np.concatenate([-scores, 0.6 * np.ones(3)])
        above = optimize.LinearConstraint(np.hstack([shares.T, -np.eye(3)]), ub=lacking)
        below = optimize.LinearConstraint(np.hstack([shares.T, np.eye(3)]), lb=lacking)
        total = optimize.LinearConstraint(np.concatenate([np.ones(30), np.zeros(3)])[None], 6, 6)
        bounds = optimize.Bounds(0, np.concatenate([np.ones(30), np.full(3, np.inf)]))
        best = optimize.milp(cost, constraints=[above, below, total], integrality=np.repeat([1, 0], [30, 3]), bounds=bounds)
        places, _ = class_quota(scores, shares, lacking, 6, 0.6)
        ours, nothing = objective(scores, shares, lacking, 0.6, places), objective(scores, shares, lacking, 0.6, [])
        assert ours <= -best.fun + 1e-9
        worst = min(worst, (ours - nothing) / (-best.fun - nothing))
    assert worst > 0.95


def test_batches_are_a_partition_and_the_best_is_taken(rng):
    scores, draws = rng.uniform(size=11), rng.uniform(size=11)
    order = np.argsort(draws)
    batches = [order[:3], order[3:6], order[6:9]]
    best = max(batches, key=lambda batch: scores[batch].mean())
    chosen = best_batch(scores, draws, 3)
    assert set(chosen) == set(best) and scores[chosen].tolist() == sorted(scores[chosen], reverse=True)
    assert sorted(best_batch(scores, draws, 11).tolist()) == list(range(11))
