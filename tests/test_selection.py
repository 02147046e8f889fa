import numpy as np
import pytest

from jaxal.selection import top_k


def test_takes_the_best_and_reports_the_gap_at_the_cut():
    query = top_k(["a", "b", "c", "d"], np.array([0.1, 0.9, 0.4, 0.7]), 2)
    assert query.units == ("b", "d")
    assert query.scores == (0.9, 0.7)
    assert query.gap == pytest.approx(0.3)


def test_ties_go_to_the_first_name_whatever_the_order(rng):
    units = [f"case_{index}" for index in range(8)]
    for _ in range(5):
        order = rng.permutation(8)
        query = top_k([units[i] for i in order], np.zeros(8), 3)
        assert query.units == ("case_0", "case_1", "case_2")
        assert query.gap == 0.0


def test_a_budget_beyond_the_pool_takes_all():
    query = top_k(["a", "b"], np.array([1.0, 2.0]), 5)
    assert query.units == ("b", "a")
    assert query.gap is None
    assert top_k([], np.array([]), 3).units == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="1 units have a score that is not finite, b first"):
        top_k(["a", "b"], np.array([1.0, bad]), 1)


def test_numbers_of_units_and_scores_must_agree():
    with pytest.raises(ValueError, match=r"2 units but scores of shape \(3,\)"):
        top_k(["a", "b"], np.zeros(3), 1)
