"""Who is put first, from a few scores whose answers are counted by hand."""

import numpy as np
import pytest

from jaxal.assessment.ranking import outranking, rank_correlation, volume_ratios

GROUPS = ["A", "B", "A", "B", "C"]
SCORES = np.array([0.1, 0.4, 0.3, 0.3, 0.2])


def test_the_chance_that_a_case_of_a_group_comes_before_one_of_another():
    """A against B and C: 0.1 wins none of three, 0.3 wins one and ties one. B: all six but the tie, which counts half. C wins one of four."""
    assert outranking(SCORES, GROUPS) == pytest.approx({"A": 1.5 / 6, "B": 5.5 / 6, "C": 1 / 4})


def test_of_two_groups_the_chances_add_up_to_one():
    found = outranking(SCORES[:4], GROUPS[:4])
    assert found == pytest.approx({"A": 0.5 / 4, "B": 3.5 / 4})


@pytest.mark.parametrize("groups", [["A", "A"], []])
def test_one_group_or_none_has_nobody_to_outrank(groups):
    assert outranking(np.arange(float(len(groups))), groups) == {}


def test_the_correlation_is_that_of_ranks_and_leaves_out_what_is_undefined():
    success = np.array([0.9, 0.1, np.nan, 0.8, 0.5])
    # Ranks of the scores 1 4 3 2, of the successes 4 1 3 2: 1 - 6 (9 + 9 + 0 + 0) / (4 * 15).
    assert rank_correlation(SCORES, success) == pytest.approx(-0.8)
    assert rank_correlation(1e6 * SCORES**3, success) == pytest.approx(-0.8)


@pytest.mark.parametrize(
    ("scores", "success"),
    [([0.1, 0.2], [0.5, 0.6]), ([0.1, 0.2, 0.3], [0.5, np.nan, 0.6]), ([0.2] * 4, [0.1, 0.2, 0.3, 0.4]), ([1, 2, 3], [0.0] * 3)],
)
def test_too_few_cases_or_all_alike_have_no_correlation(scores, success):
    assert rank_correlation(np.array(scores), np.array(success)) is None


def test_the_volume_is_that_of_all_cases_of_a_group_together():
    predicted, true = np.array([10, 0, 20, 5, 7]), np.array([20, 0, 20, 2, 0])
    assert volume_ratios(predicted, true, GROUPS) == {"A": 30 / 40, "B": 5 / 2, "C": None}
    assert volume_ratios(np.zeros(1, int), np.array([9]), ["A"]) == {"A": 0.0}
