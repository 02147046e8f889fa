"""What a curve comes to: numbers worked by hand, and a second library's fit."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from jaxal.assessment.learning_curves import (
    area_under,
    at_round,
    first_reaching,
    foreground_efficiency,
    labels_needed,
    spread,
    to_reach,
)


def test_between_two_rounds_a_curve_is_a_straight_line():
    assert first_reaching(np.array([0.5, 0.7, 0.9]), 0.75) == pytest.approx(1.25)
    assert first_reaching(np.array([0.5, 0.9, 0.6, 0.95]), 0.8) == pytest.approx(0.75)  # the first time counts
    assert first_reaching(np.array([0.5, 0.7]), 0.5) == 0 == first_reaching(np.array([0.6, 0.7]), 0.5)
    assert first_reaching(np.array([0.5, 0.7]), 0.71) == np.inf
    assert at_round(1.25, np.array([10.0, 20.0, 40.0])) == 25.0 and at_round(np.inf, np.array([1.0, 2.0])) == np.inf


def test_labels_needed_are_those_of_a_walk_along_the_curve(rng):
    labelled = np.array([8, 12, 18, 40])
    values, goals = rng.uniform(size=(50, 4)), rng.uniform(size=50)
    fine = np.linspace(8, 40, 32001)
    for curve, goal, needed in zip(values, goals, labels_needed(labelled, values, goals), strict=True):
        above = np.interp(fine, labelled, curve) >= goal
        assert needed == pytest.approx(fine[above.argmax()] if above.any() else np.inf, abs=0.0011)


def test_what_is_not_reached_is_counted_and_not_averaged_away():
    labelled = np.array([[10.0, 20.0, 30.0], [10.0, 22.0, 34.0], [10.0, 20.0, 30.0], [10.0, 20.0, 30.0]])
    values = np.array([[0.6, 0.8, 0.9], [0.7, 0.7, 0.8], [0.6, 0.6, 0.7], [0.8, 0.8, 0.9]])
    nll = np.array([[0.4, 0.2, 0.1], [0.3, 0.3, 0.1], [0.5, 0.5, 0.5], [0.05, 0.05, 0.05]])
    found = to_reach(labelled, values, np.full(4, 0.75), {"nll": nll})
    assert (found.reached, found.of, found.from_start) == (3, 4, 1)
    assert found.needed == pytest.approx(spread(np.array([17.5, 28.0, 10.0])))  # the third never gets there
    assert found.at_goal["nll"] == pytest.approx(spread(np.array([0.25, 0.2])))  # the fourth began above the level
    of_own_goals = to_reach(labelled, values, np.array([0.6, 0.75, 0.65, 0.9]), {"nll": nll})
    assert (of_own_goals.reached, of_own_goals.from_start) == (4, 1)
    assert of_own_goals.needed.mean == pytest.approx((10 + 28 + 25 + 30) / 4)
    assert of_own_goals.at_goal["nll"].mean == pytest.approx((0.4 + 0.2 + 0.5 + 0.05) / 4)  # the first began exactly at it


def test_spread_is_that_of_known_numbers():
    assert spread(np.array([1.0, np.nan, 3.0])) == pytest.approx((2.0, 2.0**0.5))
    assert np.isnan(spread(np.array([np.nan]))).all()
    assert spread(np.array([4.0])).mean == 4.0 and np.isnan(spread(np.array([4.0])).deviation)


def test_the_area_of_a_curve_that_labels_nothing_more_is_its_first_height():
    assert area_under(np.array([5.0, 5.0]), np.array([0.4, 0.6])) == 0.4


def test_foreground_efficiency_is_the_rate_of_the_curve(rng):
    """Of curves that follow the formula it is their rate, and of others that of a second library's fit."""
    shares = np.array([[0.1, 0.2, 0.3, 0.5], [0.05, 0.1, 0.4, 0.6]])
    full, start = np.array([0.9, 0.8]), np.array([0.5, 0.4])
    exact = full[:, None] - (full - start)[:, None] * np.exp(-7.0 * (shares - shares[:, :1]))
    assert foreground_efficiency(shares, exact, full) == pytest.approx(7.0, rel=1e-5)
    noisy = exact[:1] + 0.03 * rng.standard_normal((1, 4))
    first, best = noisy[0, 0], full[0]
    (rate,), _ = curve_fit(lambda x, b: best - (best - first) * np.exp(-b * (x - 0.1)), shares[0], noisy[0])
    assert foreground_efficiency(shares[:1], noisy, full[:1]) == pytest.approx(rate, rel=1e-4)
    assert foreground_efficiency(shares, exact[:, ::-1], full[::-1]) < 0  # curves that fall


def test_nothing_is_said_of_efficiency_without_a_second_round_or_anything_left_to_gain():
    assert np.isnan(foreground_efficiency(np.array([[0.1]]), np.array([[0.5]]), np.array([0.9])))
    assert np.isnan(foreground_efficiency(np.array([[0.1, 0.2]]), np.array([[0.9, 0.8]]), np.array([0.9])))
