import itertools

import numpy as np
import pytest

from jaxal.assessment import ranks


def test_ranks_begin_with_the_best_and_equal_ones_share():
    assert ranks.mean_ranks(np.array([[0.9, 0.8, 0.8], [0.2, 0.5, 0.1]])).tolist() == [1.5, 1.75, 2.75]


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_the_published_one(methods, quantile):
    """The quantiles are of table 5 in Demšar 2006."""
    expected = quantile * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert ranks.critical_difference(methods, 14) == pytest.approx(expected, abs=2e-3)


def test_equal_methods_have_no_small_chance_and_ordered_ones_have(rng):
    assert ranks.friedman(rng.random((12, 4))) > 0.05
    assert ranks.friedman(np.arange(4) + 0.1 * rng.random((12, 4))) < 1e-6


def test_groups_are_the_largest_runs_within_the_difference(rng):
    rising = np.sort(rng.uniform(1, 8, 8))
    groups = ranks.not_told_apart(rising, 2.0)
    alike = [pair for pair in itertools.combinations(range(8), 2) if rising[pair[1]] - rising[pair[0]] <= 2.0]
    largest = [(a, b) for a, b in alike if not any((c, d) != (a, b) and c <= a and d >= b for c, d in alike)]
    assert groups == largest
    assert ranks.not_told_apart([1.0, 5.0], 2.0) == []
