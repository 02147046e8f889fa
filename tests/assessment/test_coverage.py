"""Coverage against SciPy's normal distribution and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxal.assessment import coverage
from jaxal.assessment.coverage import LEVELS


def sums_of(mean, variance, target, labelled=None):
    labelled = np.ones(len(mean), bool) if labelled is None else labelled
    return coverage.coverage_sums(*(jnp.asarray(part, jnp.float32) for part in (mean, variance, target)), jnp.asarray(labelled))


@pytest.fixture
def predicted(rng):
    mean, deviation = rng.normal(size=4000), rng.uniform(0.5, 2.0, 4000)
    return mean, deviation, mean + deviation * rng.normal(size=4000)


@pytest.mark.parametrize("claimed", [0.5, 1.0, 2.0])
def test_shares_and_likelihood_are_those_of_scipy(predicted, claimed):
    """`claimed` times the true standard deviation."""
    mean, deviation, target = predicted
    said = stats.norm(mean, claimed * deviation)
    sums = sums_of(mean, (claimed * deviation) ** 2, target)
    inside = [np.mean((said.interval(level)[0] <= target) & (target <= said.interval(level)[1])) for level in LEVELS]
    np.testing.assert_allclose(coverage.coverage(sums), inside, atol=3e-4)
    assert coverage.coverage_error(sums) == pytest.approx(np.abs(np.array(inside) - LEVELS).mean(), abs=3e-4)
    assert coverage.negative_log_likelihood(sums) == pytest.approx(-said.logpdf(target).mean(), rel=1e-5)


def test_true_deviations_cover_as_often_as_they_say(predicted):
    mean, deviation, target = predicted
    assert coverage.coverage_error(sums_of(mean, deviation**2, target)) < 0.015
    too_sure, unsure = (coverage.coverage(sums_of(mean, (share * deviation) ** 2, target)) for share in (0.5, 2.0))
    assert (too_sure < np.array(LEVELS) - 0.04).all() and (unsure > np.array(LEVELS) + 0.04)[:-1].all()


def test_intervals_by_hand():
    """The central half of a standard normal distribution ends at 0.6745."""
    covered = coverage.coverage(sums_of([0.0, 0.0], [1.0, 1.0], [0.67, -0.68]))
    assert covered[LEVELS.index(0.5)] == 0.5
    assert (covered[0], covered[-1]) == (0.0, 1.0)


def test_cases_add_up_and_what_is_not_labelled_counts_nothing(predicted):
    mean, deviation, target = predicted
    first = np.arange(4000) < 1500
    parts = [sums_of(mean, deviation**2, np.where(known, target, mean), known) for known in (first, ~first)]
    stacked, whole = jax.tree.map(lambda *of_cases: np.stack(of_cases), *parts), sums_of(mean, deviation**2, target)
    np.testing.assert_array_equal(coverage.coverage(stacked), coverage.coverage(whole))
    assert coverage.negative_log_likelihood(stacked) == pytest.approx(coverage.negative_log_likelihood(whole), rel=1e-6)


def test_no_variance_divides_nothing_by_zero():
    sums = sums_of([1.0, 1.0], [0.0, 0.0], [1.0, 2.0])
    assert coverage.coverage(sums).tolist() == [0.5] * len(LEVELS)
    assert np.isfinite(coverage.negative_log_likelihood(sums))
    gradient = jax.grad(lambda variance: coverage.normal_negative_log_likelihood(jnp.zeros(()), variance, jnp.ones(())))
    assert np.isfinite(gradient(jnp.zeros(())))
