import numpy as np
import pytest
from scipy import stats

from jaxal.assessment import stopping
from jaxal.assessment.intervals import Estimate, bounded_mean

GOOD, BAD = np.array([0.99, 0.985, 0.98, 0.995]), np.array([0.97, 0.96, 0.99, 0.98])


def test_predictions_stabilise_after_three_rounds_in_succession():
    states = [stopping.predictions_stabilise(rounds).state for rounds in ([], [GOOD], [GOOD] * 2, [GOOD] * 3, [BAD] + [GOOD] * 3)]
    assert states == ["not yet known"] * 3 + ["reached"] * 2
    for rounds in ([BAD], [GOOD, BAD], [GOOD] * 3 + [BAD], [GOOD, GOOD, BAD, GOOD, GOOD]):
        assert stopping.predictions_stabilise(rounds).state == "not reached"
    verdict = stopping.predictions_stabilise([BAD, GOOD, GOOD])
    assert verdict.value == bounded_mean(GOOD) and verdict.threshold == 0.98
    assert "2 of 3" in verdict.sentence and "0.988" in verdict.sentence


def test_a_mean_at_the_threshold_is_stable():
    equal = np.full(5, 0.5)
    assert stopping.predictions_stabilise([equal] * 3, threshold=0.5).state == "reached"
    assert stopping.predictions_stabilise([equal] * 3, threshold=0.5001).state == "not reached"


def test_predictions_of_nothing_are_not_known():
    verdict = stopping.predictions_stabilise([np.full(4, np.nan)] * 3)
    assert verdict.state == "not yet known" and np.isnan(verdict.value.value)


def test_each_class_changes_by_hand():
    agreements = [np.array([[0.9, 0.99], [0.8, np.nan], [0.7, 0.97]])] * 3
    liver, tumour = stopping.score_changes(agreements, ["liver", "tumour"])
    assert (liver.name, liver.value.value, liver.state) == ("expected change of liver", pytest.approx(0.2), "not reached")
    assert (tumour.value.value, tumour.value.cases, tumour.state) == (pytest.approx(0.02), 2, "reached")
    mean = bounded_mean(agreements[0][:, 0])
    assert liver.value[1:3] == pytest.approx((1 - mean.high, 1 - mean.low))
    assert [verdict.state for verdict in stopping.score_changes([], ["liver"])] == ["not yet known"]
    assert stopping.score_changes([np.full((3, 1), np.nan)], ["liver"])[0].state == "not yet known"


def test_welch_is_scipys():
    first, second = np.array([0.9, 0.8, 0.95, 0.85]), np.array([0.7, 0.9, 0.6])
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    result = stopping.welch(np.append(first, np.nan), second)
    assert result == pytest.approx((first.mean() - second.mean(), expected.low, expected.high, 3))
    assert np.isnan(stopping.welch(first[:2], second).low) and np.isnan(stopping.welch(first[:0], second).value)
    assert np.isnan(stopping.welch(np.ones(3), np.ones(4)).low)


def test_reader_gain():
    better, worse = np.array([0.93, 0.94, 0.92, 0.95]), np.array([0.81, 0.82, 0.80, 0.83])
    won, lost = stopping.reader_gain(better, worse), stopping.reader_gain(worse, better)
    assert (won.state, lost.state) == ("reached", "not reached")
    assert "is closer" in won.sentence and "is less close" in lost.sentence
    assert won.value.value == pytest.approx(0.12)
    same = stopping.reader_gain(better, better + np.array([0.01, -0.01, 0.02, -0.01]))
    assert "cannot be told apart" in same.sentence and same.state == "not reached"
    other = stopping.reader_gain(better + np.array([0.01, -0.01, 0.02, -0.01]), better)
    assert "cannot be told apart" in other.sentence and other.state == "reached"
    assert stopping.reader_gain(better[:2], worse).state == "not yet known"
    assert stopping.reader_gain(np.array([]), worse).state == "not yet known"


def test_money_by_hand():
    """0.10 for 200 minutes are 0.05 for 100; 0.01 for 100 are 0.01; 0.01 for 200 are 0.005."""
    curve = [Estimate(value, value - 0.03, value + 0.04, 9) for value in (0.7, 0.8, 0.81, 0.82)]
    minutes = [999.0, 200.0, 100.0, 200.0]
    states = [stopping.money(curve[:count], minutes[:count], 0.02).state for count in (1, 2, 3, 4)]
    assert states == ["not yet known", "not reached", "not reached", "reached"]
    verdict = stopping.money(curve, minutes, 0.02)
    half = np.sqrt(2) * 0.035 * np.sqrt(0.5)
    assert verdict.value[:3] == pytest.approx((0.005, 0.005 - half / 2, 0.005 + half / 2))
    assert "2 of 2" in verdict.sentence
    assert stopping.money(curve, minutes, 0.004).state == "not reached"


def test_money_of_nothing():
    curve = [Estimate(0.7, 0.6, 0.8, 5), Estimate(0.8)]
    assert stopping.money([], [], 0.1).state == stopping.money(curve, [1.0, 0.0], 0.1).state == "not yet known"
    assert stopping.money([Estimate(np.nan)] * 3, [1.0] * 3, 0.1).state == "not yet known"
    unset = stopping.money(curve, [50.0, 100.0], None)
    assert unset.state == "not yet known" and "no bound is set" in unset.sentence
    assert unset.value.value == pytest.approx(0.1) and np.isnan(unset.value.low)
