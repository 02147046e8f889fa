"""Temperatures against a minimiser that sees the plain logits in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from jaxal.assessment import temperature
from jaxal.assessment.temperature import TEMPERATURES, best_temperature

COMPILED = jax.jit(temperature.temperature_sums)


def drawn(rng, sureness, classes=3, spread=4.0):
    """Logits `sureness` times as large as they should be, `[elements, classes]`, and labels."""
    logits = rng.normal(size=(3000, classes)) * spread
    logits[:, 0] += 4.0
    labels = (special.softmax(logits, 1).cumsum(1) > rng.random((3000, 1))).argmax(1)
    return (sureness * logits).astype(np.float32), labels


def sums_of(logits, labels, labelled=None):
    labelled = np.ones(len(labels), bool) if labelled is None else labelled
    return COMPILED(jnp.asarray(logits.T), jnp.asarray(labels, jnp.int32), jnp.asarray(labelled))


def plain_nll(logits, labels, temperature_):
    scaled = logits.astype(np.float64) / temperature_
    return (special.logsumexp(scaled, 1) - scaled[np.arange(len(labels)), labels]).sum()


def plain_best(logits, labels):
    within = optimize.minimize_scalar(
        lambda log: plain_nll(logits, labels, np.exp(log)), bounds=(-2.2, 2.2), method="bounded", options={"xatol": 1e-9}
    )
    return np.exp(within.x)


@pytest.mark.parametrize("sureness", [0.3, 0.8, 1.0, 1.2, 1.7, 3.3, 6.0])
@pytest.mark.parametrize("spread", [1.0, 8.0])
def test_the_temperature_is_that_of_a_minimiser(rng, sureness, spread):
    logits, labels = drawn(rng, sureness, spread=spread)
    found = best_temperature(sums_of(logits, labels))
    assert found == pytest.approx(plain_best(logits, labels), rel=3e-4)
    assert found == pytest.approx(sureness, rel=0.15)  # what made the logits


def test_sums_are_the_likelihood_and_its_derivatives(rng):
    logits, labels = drawn(rng, 1.5)
    sums = sums_of(logits, labels)
    assert sums.elements == len(labels)
    step = 1e-4
    for place in (0, 5, 6, 12):
        factor = 1.0 / TEMPERATURES[place]
        low, middle, high = (plain_nll(logits, labels, 1.0 / (factor + move)) for move in (-step, 0.0, step))
        assert sums.negative_log_likelihood[place] == pytest.approx(middle, rel=1e-5)
        assert sums.slope[place] == pytest.approx((high - low) / (2 * step), rel=1e-4, abs=0.05)
        assert sums.curvature[place] == pytest.approx((high - 2 * middle + low) / step**2, rel=1e-2)


def test_cases_add_up_and_what_is_not_labelled_counts_nothing(rng):
    logits, labels = drawn(rng, 1.7)
    first = np.arange(len(labels)) < 1000
    parts = [sums_of(logits, np.where(known, labels, 0), known) for known in (first, ~first)]
    stacked = jax.tree.map(lambda *of_cases: np.stack(of_cases), *parts)
    assert best_temperature(stacked) == pytest.approx(best_temperature(sums_of(logits, labels)), rel=1e-5)
    assert best_temperature(parts[0]) == pytest.approx(plain_best(logits[first], labels[first]), rel=3e-4)


def test_beyond_the_grid_it_is_the_grids_end(rng):
    logits, _ = drawn(rng, 1.0)
    right = logits.argmax(1)
    assert best_temperature(sums_of(logits, right)) == TEMPERATURES[0]  # all right: the surer, the better
    assert best_temperature(sums_of(logits, (right + 1) % 3)) == TEMPERATURES[-1]


def test_without_a_label_there_is_no_temperature(rng):
    logits, labels = drawn(rng, 1.0)
    with pytest.raises(ValueError, match="No labelled element"):
        best_temperature(sums_of(logits, labels, np.zeros(len(labels), bool)))


def test_huge_logits_stay_finite():
    logits = np.array([[900.0, -900.0, 0.0], [-900.0, 900.0, 0.0]] * 1500, np.float32)
    sums = sums_of(logits, np.arange(3000) % 3)
    assert all(np.isfinite(part).all() for part in sums)
