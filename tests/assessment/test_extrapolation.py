import coverage_of_extrapolation as simulation
import numpy as np
import pytest

from jaxal.assessment.extrapolation import extrapolate, pooled_errors
from jaxal.assessment.intervals import Estimate, student_mean

LABELLED = [10, 20, 40, 80, 160]


def curve(values, half=0.002, cases=20):
    return [Estimate(float(value), float(value) - half, float(value) + half, cases) for value in values]


def law(limit, fall, exponent, labels=LABELLED):
    return limit - fall * np.array(labels, float) ** -exponent


@pytest.mark.parametrize("common", [0.0, 0.5])
def test_an_exact_law_is_found(common):
    """0.9 - 0.8 n^-0.5 is 0.86 at (0.8 / 0.04)² = 400 labels, 240 beyond the 160 there are."""
    result = extrapolate(LABELLED, curve(law(0.9, 0.8, 0.5), half=1e-3), 0.86, common)
    assert result.outcome == "estimate"
    assert result.more.value == pytest.approx(240, rel=0.05)
    assert result.more.low < 240 < result.more.high
    assert result.limit.value == pytest.approx(0.9, abs=0.004)  # exponents are on a grid
    assert "240" in result.sentence or f"{result.more.value:.0f} more" in result.sentence


def test_less_is_known_from_wider_intervals():
    values, widths = law(0.9, 0.8, 0.5), []
    for half in (5e-4, 1e-3, 2e-3):
        more = extrapolate(LABELLED, curve(values, half), 0.86).more
        widths.append(more.high - more.low)
    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_a_goal_above_the_limit_cannot_be_told():
    result = extrapolate(LABELLED, curve(law(0.9, 2.0, 1.0)), 0.95)
    assert result.outcome == "cannot be told" and np.isnan(result.more.value)
    assert result.limit.high < 0.95
    assert "levels off" in result.sentence


def test_a_goal_near_the_limit_has_no_end():
    result = extrapolate(LABELLED, curve(law(0.9, 2.0, 1.0), half=0.01), 0.905)
    assert result.outcome == "at least"
    assert result.more.low > 0 and np.isinf([result.more.value, result.more.high]).all()


def test_a_goal_that_the_curve_may_miss_has_no_end():
    """The best fit levels off at the goal or below it, and one that fits as well reaches it soon."""
    values = law(0.9, 2.0, 1.0)
    result = extrapolate(LABELLED, curve(values, half=0.005), 0.895)
    assert result.limit.low < 0.895 < result.limit.high
    assert result.outcome == "at least" and np.isinf(result.more.high)


def test_no_law_goes_beyond_a_dice_of_one():
    """A law that would level off at 1.3 reaches 0.98 after 947 labels more, but only because it goes on beyond 1."""
    values = law(1.3, 1.3, 0.2)
    result = extrapolate(LABELLED, curve(values, half=1e-3), 0.98)
    assert values.max() < 0.83 and result.limit.high <= 1.0
    assert result.more.low > 10 * ((0.32 / 1.3) ** -5 - 160)


def test_a_goal_that_is_behind_is_reached():
    for goal in (0.7, 0.6, 0.01):  # within these rounds, before the first and before the first label
        result = extrapolate(LABELLED, curve(law(0.9, 0.8, 0.5)), goal)
        assert (result.outcome, result.more[:3]) == ("reached", (0.0, 0.0, 0.0))


def test_a_goal_out_of_sight_has_no_end():
    result = extrapolate(LABELLED, curve(law(1.0, 1.0, 0.05), half=1e-3), 0.9)
    assert result.outcome == "at least" and np.isinf(result.more.high) and result.more.low > 1000


def test_few_rounds_tell_nothing():
    values = curve(law(0.9, 0.8, 0.5))
    for rounds in (values[:3], [*values[:3], Estimate(0.8), Estimate(np.nan)], []):
        result = extrapolate(LABELLED[: len(rounds)], rounds, 0.85)
        assert result.outcome == "cannot be told" and np.isnan([result.more.value, result.limit.value]).all()
        assert f"{min(len(rounds), 3)} round" in result.sentence


@pytest.mark.parametrize("values", [[0.7] * 5, [0.8, 0.75, 0.7, 0.65, 0.6], [0.0] * 5, [1.0] * 5, [0.6, 0.9, 0.5, 0.8, 0.7]])
def test_curves_that_are_no_law_have_finite_answers(values):
    result = extrapolate(LABELLED, curve(values, half=0.03), 0.9)
    assert result.outcome in simulation.OUTCOMES
    assert not np.isnan(result.limit.value)
    assert np.isnan(result.more.value) == (result.outcome == "cannot be told")


def test_a_flat_curve_below_the_goal_does_not_promise_it():
    result = extrapolate(LABELLED, curve([0.7] * 5, half=0.01), 0.9)
    assert result.outcome in ("cannot be told", "at least") and not np.isfinite(result.more.value)


def test_goals_are_shares():
    for goal in (0.0, 1.0, 85.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            extrapolate(LABELLED, curve(law(0.9, 0.8, 0.5)), goal)


def test_errors_are_pooled_by_hand():
    """Students' intervals of the same variance in each round give back what it is, by the number of cases."""
    values = np.array([0.7, 0.8, 0.9, 0.8])
    estimates = [student_mean(values), student_mean(np.tile(values, 4))]
    of_case = (3 * values.var(ddof=1) + 15 * np.tile(values, 4).var(ddof=1)) / 18
    assert pooled_errors(estimates) == pytest.approx(np.sqrt(of_case / [4, 16]))


def test_little_is_told_that_is_wrong():
    """5 % are expected, of 20 curves; `tests/coverage_of_extrapolation.py` has more of it."""
    wrong, outcomes = simulation.coverage(simulation.SLOW, 0.85, 8, 0.005, 0.5, 20, np.random.default_rng(0))
    assert wrong <= 0.15
    assert outcomes["estimate"] > 0.5
