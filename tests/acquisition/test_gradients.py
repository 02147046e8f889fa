"""Closed forms of head gradients against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import gradients

ELEMENTS, FEATURES, CLASSES = 9, 4, 3


@pytest.fixture
def problem(float64, rng):
    """Features `[elements, features]`, the head, and probabilities `[classes, elements]`."""
    features, kernel, bias = (jnp.asarray(rng.normal(size=size)) for size in ((ELEMENTS, FEATURES), (FEATURES, CLASSES), CLASSES))
    return features, (kernel, bias), jax.nn.softmax(features @ kernel + bias[None], -1).T


def label_gradients(features, head):
    """Gradient of the cross-entropy for every element and label by autodiff, `[elements, classes, (features + 1) * classes]`."""

    def loss(head, row, label):
        return -jax.nn.log_softmax(row @ head[0] + head[1])[label]

    by_label = jax.vmap(jax.grad(loss), (None, None, 0))
    kernel, bias = jax.vmap(by_label, (None, 0, None))(head, features, jnp.arange(CLASSES))
    return jnp.concatenate([kernel, bias[:, :, None]], 2).reshape(ELEMENTS, CLASSES, -1)


def test_expected_gradient_length_equals_autodiff(problem):
    features, head, probability = problem
    lengths = jnp.linalg.norm(label_gradients(features, head), axis=-1)
    np.testing.assert_allclose(
        np.asarray(gradients.expected_gradient_length(features, probability)),
        np.asarray((probability.T * lengths).sum(-1)),
        rtol=1e-12,
    )


def test_entropy_gradient_norm_equals_autodiff(problem):
    features, head, probability = problem

    def entropy(head, row):
        p = jax.nn.softmax(row @ head[0] + head[1])
        return -(p * jnp.log(p)).sum()

    kernel, bias = jax.vmap(jax.grad(entropy), (None, 0))(head, features)
    expected = jnp.sqrt(jnp.square(kernel).sum((1, 2)) + jnp.square(bias).sum(-1))
    np.testing.assert_allclose(
        np.asarray(gradients.entropy_gradient_norm(features, probability)), np.asarray(expected), rtol=1e-12
    )


def test_mean_gradient_equals_autodiff_over_the_mask(problem):
    features, head, probability = problem
    mask = jnp.arange(ELEMENTS) % 3 != 0
    error = gradients.hallucinated_error(probability)
    every = label_gradients(features, head)
    predicted = probability.argmax(0)
    of_predicted = every[jnp.arange(ELEMENTS), predicted].reshape(ELEMENTS, FEATURES + 1, CLASSES)
    expected = of_predicted[np.asarray(mask)].mean(0).T
    np.testing.assert_allclose(np.asarray(gradients.mean_gradient(features, error, mask)), np.asarray(expected), atol=1e-14)
    assert not np.asarray(gradients.mean_gradient(features, error, jnp.zeros(ELEMENTS, bool))).any()


def test_distances_equal_those_of_the_outer_products(problem):
    features, head, probability = problem
    error = gradients.hallucinated_error(probability).T
    outer = (error[:, :, None] * jnp.concatenate([features, jnp.ones((ELEMENTS, 1))], -1)[:, None, :]).reshape(ELEMENTS, -1)
    every = label_gradients(features, head)[jnp.arange(ELEMENTS), probability.argmax(0)]
    np.testing.assert_allclose(
        np.asarray(gradients.squared_norms(features, error)), np.asarray(jnp.square(every).sum(-1)), rtol=1e-12
    )
    for index in range(ELEMENTS):
        expected = jnp.square(outer - outer[index][None]).sum(-1)
        np.testing.assert_allclose(
            np.asarray(gradients.squared_distances(features, error, index)), np.asarray(expected), atol=1e-12
        )


@pytest.mark.parametrize("measure", [gradients.expected_gradient_length, gradients.entropy_gradient_norm])
def test_sure_predictions_have_no_gradient_and_a_finite_derivative(measure):
    features, probability = jnp.ones((2, FEATURES)), jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(np.asarray(measure(features, probability)), 0.0)
    assert np.isfinite(jax.grad(lambda p: measure(features, p).sum())(probability)).all()
