import numpy as np
import pytest
from scipy import special, stats

from jaxal.assessment.intervals import Spread, bounded_interval, bounded_mean, student_mean


def test_student_is_scipys():
    values = np.array([0.3, 0.9, 0.4, 0.8, 0.7])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    result = student_mean(np.append(values, np.nan))
    assert result == pytest.approx((values.mean(), expected.low, expected.high, 5))


@pytest.mark.parametrize("mean", [student_mean, bounded_mean])
def test_few_values_have_no_interval(mean):
    assert np.isnan(mean(np.array([])).value) and np.isnan(mean(np.full(4, np.nan)).value)
    for values in ([0.5], [0.5, 0.9], [0.5, np.nan, 0.9, np.nan]):
        result = mean(np.array(values))
        assert result.value == pytest.approx(np.nanmean(values)) and np.isnan([result.low, result.high]).all()
    assert not np.isnan(mean(np.array([0.5, 0.9, 0.8])).low)


def test_bounded_interval_by_hand():
    """Four values of mean 0.8 and sum of squares 0.02. The case that nobody saw lies 0.24 below the mean, or 0.06 above it."""
    low, high = bounded_interval(0.8, 4, Spread(0.02, 3, 1 / 4))
    for end, side, distance in ((low, -1, 0.24), (high, 1, 0.06)):
        centre = 0.8 + side * distance / 5
        variance = (0.02 + 4 / 5 * distance**2) / 4 / 5
        reach = stats.t.ppf(0.975, 4) * np.sqrt(variance) / (centre * (1 - centre))
        assert end == pytest.approx(special.expit(special.logit(centre) + side * reach))


def test_the_imagined_case_is_as_good_as_drawn():
    """On the scale of the mean itself the lower end's centre and variance are those of the values and that case."""
    values = np.array([0.8, 0.9, 0.7, 0.95, 0.85])
    more = np.append(values, 0.7 * values.mean())
    error = more.std(ddof=1) / np.sqrt(6) / (more.mean() * (1 - more.mean()))
    expected = special.expit(special.logit(more.mean()) - stats.t.ppf(0.975, 5) * error)
    assert bounded_mean(values).low == pytest.approx(expected)


@pytest.mark.parametrize("values", [[0.0] * 5, [1.0] * 5, [0.5] * 3, [0.0, 1.0, 1.0], [1e-9, 0.0, 0.0], [0, 0, 0, 0.9]])
def test_bounded_intervals_stay_inside_and_never_claim_certainty(values):
    result = bounded_mean(np.array(values))
    assert 0 <= result.low <= result.value <= result.high <= 1
    assert result.high - result.low > 0.05


def test_what_is_good_and_what_is_bad_are_treated_alike():
    values = np.array([0.1, 0.3, 0.7, 0.2])
    result, mirrored = bounded_mean(values), bounded_mean(1 - values)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - result.high, 1 - result.low))


def test_what_was_seen_bounds_the_rest():
    """Nine of ten seen, all of them 0: the tenth can lift the mean to 0.1 at most."""
    assert bounded_interval(0.0, 9, Spread(9.0, 8, 0.1 / 9, seen=0.9)) == pytest.approx((0.0, 0.1))
    assert bounded_interval(0.4, 9, Spread(0.2, 8, 0.0, seen=1.0)) == pytest.approx((0.4, 0.4))


def test_more_cases_narrow_the_interval():
    rng = np.random.default_rng(0)
    widths = [np.diff(bounded_mean(rng.permutation(np.resize([0.7, 0.8, 0.9], count)))[1:3])[0] for count in (3, 6, 12, 24, 96)]
    assert widths == sorted(widths, reverse=True)


def test_what_was_seen_and_what_else_varies_by_hand():
    """As above with a fifth of all cases seen and a variance of 0.001 besides: the unseen rest alone is moved by the imagined case."""
    low, high = bounded_interval(0.8, 4, Spread(0.02, 3, 1 / 5, 0.001, 0.2))
    for end, side, distance in ((low, -1, 0.24), (high, 1, 0.06)):
        centre = 0.8 + side * 0.8 * distance / 5
        variance = (0.02 + 4 / 5 * distance**2) / 4 / 5 * 4 / 5 + 0.001
        reach = stats.t.ppf(0.975, 4) * np.sqrt(variance) / (centre * (1 - centre))
        assert end == pytest.approx(special.expit(special.logit(centre) + side * reach))


def test_what_was_seen_cannot_be_undone():
    """Nine tenths of a mean of 0.9 are seen, so that it is 0.81 at least, however wide the interval would be."""
    assert bounded_interval(0.9, 9, Spread(9.0, 8, 1.0, seen=0.9))[0] == pytest.approx(0.81)


def test_equal_values_have_no_interval_of_student():
    result = student_mean(np.full(4, 2.0))
    assert (result.value, result.cases) == (2.0, 4) and np.isnan([result.low, result.high]).all()
