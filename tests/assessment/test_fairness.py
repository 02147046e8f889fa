import math

import numpy as np
import pytest

from jaxal.assessment import fairness


def test_performance_averages_cases_not_groups():
    performance = fairness.group_performance([0.9, 0.7, 0.8, 0.2], ["A", "A", "A", "B"])
    assert performance.overall == pytest.approx(0.65)
    assert performance.by_group == pytest.approx({"A": 0.8, "B": 0.2})
    assert performance.undefined == 0


def test_undefined_cases_are_left_out_and_counted():
    performance = fairness.group_performance([0.9, math.nan, 0.5], ["A", "A", "B"])
    assert performance.overall == pytest.approx(0.7)
    assert performance.undefined == 1
    nothing = fairness.group_performance([math.nan], ["A"])
    assert math.isnan(nothing.overall)
    assert (nothing.by_group, nothing.undefined) == ({}, 1)
    assert fairness.group_weights(nothing.by_group, ["A", "B"]) == {"A": 1.0, "B": 1.0}


@pytest.mark.parametrize("counts", [(1, 1), (5, 2), (1, 9)])
def test_two_groups_disparity_is_their_gap_whatever_the_counts(counts):
    values = [0.9] * counts[0] + [0.6] * counts[1]
    performance = fairness.group_performance(values, ["A"] * counts[0] + ["B"] * counts[1])
    assert fairness.disparity(performance) == pytest.approx(0.3)
    assert fairness.gap(performance) == pytest.approx(0.3)


def test_three_groups_by_hand():
    performance = fairness.group_performance([0.9, 0.6, 0.6], ["A", "B", "C"])
    assert performance.overall == pytest.approx(0.7)
    assert fairness.disparity(performance) == pytest.approx(0.4)
    assert fairness.gap(performance) == pytest.approx(0.3)
    assert fairness.equity_scaled(performance) == pytest.approx(0.7 / 1.4)
    assert fairness.equity_scaled(performance, alpha=2.0) == pytest.approx(0.7 / 1.8)
    assert fairness.equity_scaled_by_deviation(performance) == pytest.approx(0.7 / (1 + np.std([0.9, 0.6, 0.6], ddof=1)))


def test_equal_groups_are_not_scaled_down():
    performance = fairness.group_performance([0.8, 0.8], ["A", "B"])
    assert fairness.equity_scaled(performance) == pytest.approx(0.8)
    assert fairness.equity_scaled_by_deviation(performance) == pytest.approx(0.8)


def test_weights_by_hand():
    weights = fairness.group_weights({"A": 0.91, "B": 0.71}, ["A", "B"])
    assert weights == pytest.approx({"A": 0.1 / 0.2, "B": 0.3 / 0.2})
    squared = fairness.group_weights({"A": 0.91, "B": 0.71}, ["A", "B"], gamma=2.0)
    assert squared == pytest.approx({"A": 0.25, "B": 2.25})


def test_weights_at_the_edges():
    assert fairness.group_weights({"A": 0.9, "B": 0.5}, ["A", "B"], gamma=0.0) == {"A": 1.0, "B": 1.0}
    assert fairness.group_weights({"A": 1.0, "B": 1.0}, ["A", "B"]) == pytest.approx({"A": 1.0, "B": 1.0})
    unseen = fairness.group_weights({"A": 0.9, "B": 0.5}, ["A", "B", "C"])
    assert unseen["C"] == unseen["B"] == max(unseen.values())
    assert fairness.group_weights({}, ["A", "B"]) == {"A": 1.0, "B": 1.0}


def test_without_a_group_that_can_be_measured_there_is_no_gap():
    """As where groups share no class of which both have cases with and without it."""
    assert fairness.entries(fairness.GroupPerformance(0.8, {}, 3)) == {}
    below_zero = fairness.GroupPerformance(-0.3, {"A": -0.1, "B": -0.5}, 0)  # scaled, the larger gap would look better
    assert fairness.entries(below_zero) == pytest.approx({"disparity": 0.4, "gap": 0.4})
    assert fairness.entries(fairness.GroupPerformance(0.7, {"A": 0.8, "B": 0.6}, 0)) == pytest.approx(
        {"disparity": 0.2, "gap": 0.2, "essp": 0.7 / 1.2, "essp_by_deviation": 0.7 / (1 + np.std([0.8, 0.6], ddof=1))}
    )
