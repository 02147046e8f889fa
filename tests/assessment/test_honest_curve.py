import itertools

import coverage_of_honest_curves as simulation
import numpy as np
import pytest

from jaxal.assessment.honest_curve import honest_mean, honest_round
from jaxal.assessment.intervals import Spread, bounded_interval, bounded_mean


def test_the_mean_is_weighted_by_the_pool_by_hand():
    """0.9 of 30 cases and 0.5 of 10: 0.8, though three of each were looked at."""
    values, strata = np.array([0.85, 0.9, 0.95, 0.4, 0.5, 0.6]), ["A"] * 3 + ["B"] * 3
    result = honest_mean(values, strata, {"A": 30, "B": 10})
    scale = 0.75**2 * (1 - 3 / 30) / 3 + 0.25**2 * (1 - 3 / 10) / 3
    squares = 2 * 0.05**2 + 2 * 0.1**2
    assert result.value == pytest.approx(0.75 * 0.9 + 0.25 * 0.5)
    assert result[1:3] == pytest.approx(bounded_interval(result.value, 6, Spread(squares, 4, scale, seen=6 / 40)))
    assert result.cases == 6


def test_one_stratum_of_a_large_pool_is_a_plain_mean():
    values = np.array([0.8, 0.9, 0.7, 0.95])
    assert honest_mean(values, ["A"] * 4, {"A": 10**9}) == pytest.approx(bounded_mean(values))


def test_over_all_draws_the_mean_is_that_of_the_pool():
    """Every stratified draw of two of A and two of B, enumerated."""
    pool = {"A": np.array([0.9, 0.8, 0.85, 0.6]), "B": np.array([0.5, 0.3, 0.45])}
    sizes = {"A": 4, "B": 3}
    estimates = [
        honest_mean(np.array([*of_a, *of_b]), ["A", "A", "B", "B"], sizes).value
        for of_a in itertools.combinations(pool["A"], 2)
        for of_b in itertools.combinations(pool["B"], 2)
    ]
    assert np.mean(estimates) == pytest.approx(np.concatenate(list(pool.values())).mean())
    scale = (4 / 7) ** 2 * (1 - 2 / 4) / 2, (3 / 7) ** 2 * (1 - 2 / 3) / 2
    expected = sum(part * of_group.var(ddof=1) for part, of_group in zip(scale, pool.values(), strict=True))
    assert np.var(estimates) == pytest.approx(expected), "Cochran's variance, which the interval's scale has"


def test_a_pool_that_was_seen_whole_is_known():
    values = np.array([0.9, 0.5, np.nan])
    assert honest_mean(values, ["A"] * 3, {"A": 3}) == pytest.approx((0.7, 0.7, 0.7, 2))


def test_a_large_share_narrows_the_interval():
    values = np.array([0.8, 0.9, 0.7, 0.95, 0.85, 0.6])
    widths = [np.diff(honest_mean(values, ["A"] * 6, {"A": size})[1:3])[0] for size in (6, 7, 12, 60, 600)]
    assert widths == sorted(widths) and widths[0] == 0


def test_too_little_is_not_told():
    nothing = honest_mean(np.array([]), [], {"A": 5})
    assert np.isnan(nothing.value) and nothing.cases == 0
    assert np.isnan(honest_mean(np.full(4, np.nan), ["A"] * 4, {"A": 9}).value)
    two = honest_mean(np.array([0.8, np.nan, 0.6]), ["A"] * 3, {"A": 9})
    assert (two.value, two.cases) == (pytest.approx(0.7), 2) and np.isnan(two.low)


def test_a_group_that_was_not_looked_at_is_spoken_for_by_the_others():
    values = np.array([0.9, 0.8, 0.7, 0.4])
    result = honest_mean(values, ["A", "A", "A", "B"], {"A": 30, "B": 10, "C": 20})
    assert result.value == pytest.approx(0.75 * 0.8 + 0.25 * 0.4)
    squares = float(((values - result.value) ** 2).sum())  # around the common mean
    scale = 0.75**2 * (1 - 3 / 30) / 3 + 0.25**2 * (1 - 1 / 10)
    assert result[1:3] == pytest.approx(bounded_interval(result.value, 4, Spread(squares, 3, scale, seen=4 / 60)))
    alone = honest_mean(values, ["A", "A", "A", "B"], {"A": 30, "B": 10})
    assert result.low < alone.low and result.high > alone.high


def test_strata_of_one_case_each_use_the_common_spread():
    values = np.array([0.9, 0.8, 0.4])
    result = honest_mean(values, ["A", "B", "C"], {"A": 10**6, "B": 10**6, "C": 10**6})
    assert result == pytest.approx(bounded_mean(values), abs=1e-6)


def test_how_many_have_the_class_is_estimated_by_stratum():
    """Half of A and all of B have it, so 15 and 10 of the pool's 30 and 10."""
    values = np.array([0.9, np.nan, 0.7, np.nan, 0.5, 0.4])
    result = honest_mean(values, ["A"] * 4 + ["B"] * 2, {"A": 30, "B": 10})
    assert result.value == pytest.approx((15 * 0.8 + 10 * 0.45) / 25)
    weight, size = np.array([15, 10]) / 25, np.array([30, 10])
    left = 1 - np.array([4, 2]) / size
    besides = (30 * (0.8 - result.value) / 25) ** 2 * left[0] * 0.5 * 0.5 / 3
    spread = Spread(0.02 + 0.005, 2, float((weight**2 * left / 2).sum()), besides, 6 / 40)
    assert result[1:3] == pytest.approx(bounded_interval(result.value, 4, spread))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="than the pool has"):
        honest_mean(np.ones(3), ["A"] * 3, {"A": 2})
    with pytest.raises(ValueError, match="strata"):
        honest_mean(np.ones(3), ["A", "A", "X"], {"A": 9})


def test_a_round_by_class_group_and_over_all():
    dice = np.array([[0.9, 0.5], [0.8, np.nan], [0.7, 0.3], [0.6, 0.2], [0.4, np.nan], [0.5, 0.6]])
    strata = [("A", False)] * 3 + [("B", False)] * 3
    result = honest_round(dice, strata, {("A", False): 60, ("B", False): 40})
    by_case = np.array([0.7, 0.8, 0.5, 0.4, 0.4, 0.55])
    assert result.over_all == pytest.approx(honest_mean(by_case, ["A"] * 3 + ["B"] * 3, {"A": 60, "B": 40}))
    assert result.by_class[0].value == pytest.approx(0.6 * 0.8 + 0.4 * 0.5)
    assert result.by_class[1].cases == 4
    assert result.by_group["B"] == pytest.approx(honest_mean(by_case[3:], ["B"] * 3, {"B": 40}))


def test_what_the_strategy_chose_is_known_in_full_and_speaks_for_nobody_else():
    dice = np.array([[0.3], [0.5], [0.9], [0.8], [0.85]])
    strata = [("A", True), ("A", True), ("A", False), ("A", False), ("A", False)]
    sizes = {("A", True): 2, ("A", False): 8}
    result = honest_round(dice, strata, sizes)
    assert result.over_all.value == pytest.approx(0.2 * 0.4 + 0.8 * 0.85)
    assert result.by_group["A"] == result.over_all
    assert honest_round(dice[:2], strata[:2], sizes) is None and honest_round(dice[2:], strata[2:], sizes) is None
    known = honest_round(dice, strata, {("A", True): 2, ("A", False): 3}).over_all
    assert known.low == known.value == known.high == pytest.approx(dice.mean())


def test_the_order_of_cases_does_not_matter():
    rng = np.random.default_rng(0)
    dice, order = rng.random((9, 2)), rng.permutation(9)
    strata = [(group, place % 2 == 0) for place, group in enumerate("ABCABCABC")]
    sizes = {(group, first): 6 for group in "ABC" for first in (True, False)}
    result = honest_round(dice, strata, sizes)
    shuffled = honest_round(dice[order], [strata[place] for place in order], sizes)
    assert shuffled.over_all == pytest.approx(result.over_all)
    assert [estimate.value for estimate in shuffled.by_class] == pytest.approx([estimate.value for estimate in result.by_class])


@pytest.mark.parametrize("scenario", [simulation.SKEWED, simulation.OUTLIERS], ids=lambda scenario: scenario.name)
def test_intervals_hold_the_pools_mean(scenario):
    """In 92 % and more of 400 pools, less three standard errors; `tests/coverage_of_honest_curves.py` has more of it."""
    held, widths = simulation.coverage(scenario, 100, 10, 400, np.random.default_rng(0))
    assert held[0] > 0.92 - 0.04
    assert widths[0] < 0.13


def test_intervals_hold_what_is_left_once_a_strategy_has_chosen():
    shares = simulation.coverage_of_projects(simulation.PROJECTS[1], 100, np.random.default_rng(0))
    assert shares["choice and rest"][0] >= 0.9 and shares["own share alone"][0] >= 0.9
    assert shares["choice and rest"][1] < 0.05
