import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.assessment import calibration


def sums_of(probabilities, labels, labelled=None):
    """`probabilities [elements, classes]`."""
    labels = np.asarray(labels)
    labelled = np.ones(labels.shape, bool) if labelled is None else np.asarray(labelled)
    logits = jnp.log(jnp.asarray(np.asarray(probabilities, np.float32).T))
    return calibration.calibration_sums(logits, jnp.asarray(labels, jnp.int32), jnp.asarray(labelled))


def test_values_worked_by_hand():
    sums = sums_of([[0.85, 0.15], [0.85, 0.15], [0.35, 0.65], [0.45, 0.55]], [0, 1, 1, 1])
    expected_nll = -(np.log(0.85) + np.log(0.15) + np.log(0.65) + np.log(0.55)) / 4
    assert calibration.negative_log_likelihood(sums) == pytest.approx(expected_nll, rel=1e-6)
    # Bins: {0.85, 0.85} half right, {0.65} right, {0.55} right.
    assert calibration.expected_calibration_error(sums) == pytest.approx((2 * 0.35 + 0.35 + 0.45) / 4, rel=1e-5)


def test_likelihood_is_of_the_true_class_not_the_predicted():
    confident_and_wrong = calibration.negative_log_likelihood(sums_of([[0.99, 0.01]], [1]))
    assert confident_and_wrong == pytest.approx(-np.log(0.01), rel=1e-5)


def test_against_plain_numpy_with_padding(rng):
    logits = rng.normal(size=(500, 4)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels, labelled = rng.integers(0, 4, 500), rng.random(500) < 0.8
    sums = sums_of(probabilities, labels, labelled)
    p, y = probabilities[labelled], labels[labelled]
    confidence, correct = p.max(1), p.argmax(1) == y
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration.expected_calibration_error(sums) == pytest.approx(expected, abs=1e-6)
    assert calibration.negative_log_likelihood(sums) == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean(), rel=1e-5)


def test_bins_are_closed_on_the_right():
    sums = sums_of([[0.5, 0.5], [0.55, 0.45], [0.98, 0.02], [1.0, 1e-30]], [0, 0, 0, 0])
    assert sums.elements.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 2]


def test_sums_of_cases_add_up(rng):
    p = rng.dirichlet(np.ones(3), 40)
    labels = rng.integers(0, 3, 40)
    whole = sums_of(p, labels)
    halves = [sums_of(p[part], labels[part]) for part in (slice(0, 15), slice(15, 40))]
    stacked = calibration.CalibrationSums(*(np.stack(parts) for parts in zip(*halves, strict=True)))
    assert calibration.expected_calibration_error(stacked) == pytest.approx(
        calibration.expected_calibration_error(whole), abs=1e-6
    )
    assert calibration.negative_log_likelihood(stacked) == pytest.approx(calibration.negative_log_likelihood(whole), rel=1e-6)


def test_certain_and_right_is_perfect():
    sums = calibration.calibration_sums(jnp.array([[200.0, -200.0], [-200.0, 200.0]]), jnp.array([0, 1]), jnp.ones(2, bool))
    assert calibration.expected_calibration_error(sums) == 0.0
    assert calibration.negative_log_likelihood(sums) == 0.0
