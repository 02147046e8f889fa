"""Gradients of the loss with respect to a linear softmax head, in closed form.

For features φ (with a constant 1 appended for the bias, "extended"), probabilities p and label c the gradient of the
cross-entropy is the outer product (p - e_c) ⊗ φ. Its norms and inner products factorise into those of its two sides, so the
gradient itself, as long as all of the head, is never written down.

Layout: `features [elements, features]` as networks leave them, `probability [classes, elements]`.
"""

import dataclasses
import functools
import operator

import chex
import jax
import jax.numpy as jnp

from jaxal.acquisition.uncertainty import probability_entropy
from jaxal.arrays import Features
from jaxal.cells import Cells

Array = jax.Array


def expected_gradient_length(features: Features, probability: Array) -> Array:
    """Σ_c p_c ‖(p - e_c) ⊗ φ‖ = ‖φ‖ Σ_c p_c ‖p - e_c‖ (Settles et al. 2008), `[elements]`."""
    chex.assert_rank(probability, 2)
    square = sum(jnp.square(p) for p in probability)
    return _extended_length(features) * sum(p * _root(square - 2 * p + 1) for p in probability)


def entropy_gradient_norm(features: Features, probability: Array) -> Array:
    """‖∂H(p)/∂head‖ = ‖φ‖ ‖p (log p + H)‖ (Wang et al. 2022, arXiv 2112.05683), `[elements]`; zero for a prediction that is sure."""
    chex.assert_rank(probability, 2)
    entropy = probability_entropy(probability)
    logarithms = [jnp.log(jnp.where(p > 0, p, 1.0)) for p in probability]
    squares = (jnp.square(p * (logarithm + entropy)) for p, logarithm in zip(probability, logarithms, strict=True))
    square = functools.reduce(operator.add, squares)
    return _extended_length(features) * _root(square)


def hallucinated_error(probability: Array) -> Array:
    """p - e_ŷ, the error if the most probable class were the label (Ash et al. 2020, arXiv 1906.03671), `[classes, elements]`."""
    return probability - jax.nn.one_hot(probability.argmax(0), probability.shape[0], axis=0, dtype=probability.dtype)


def mean_gradient(features: Features, error: Array, mask: Array) -> Array:
    """Mean of error ⊗ φ over the elements of a mask, `[classes, features + 1]`; zero where it is empty.

    Args:
      features: `[elements, features]`.
      error: `[classes, elements]`.
      mask: `[elements]`, boolean.
    """
    share = mask.astype(error.dtype)
    share = share / jnp.maximum(share.sum(), 1.0)
    weighted = error * share[None, :]
    by_feature = features.sums(weighted) if isinstance(features, Cells) else jnp.matmul(weighted, features, precision="highest")
    return jnp.concatenate([by_feature, weighted.sum(-1, keepdims=True)], axis=-1)


def squared_distances(features: Array, error: Array, index: Array) -> Array:
    """‖g_i - g_j‖² of gradients g = error ⊗ φ from one item j to all, `[items]`, from inner products of the two sides.

    Args:
      features: `[items, features]`.
      error: `[items, classes]`.
      index: the item j.
    """
    norms = squared_norms(features, error)
    products = (1 + _rows_times(features, features[index])) * _rows_times(error, error[index])
    return jnp.maximum(norms + norms[index] - 2 * products, 0.0)


def squared_norms(features: Array, error: Array) -> Array:
    """‖error ⊗ φ‖² of each item, `[items]`: arguments as in `squared_distances`."""
    return (1 + jnp.square(features).sum(-1)) * jnp.square(error).sum(-1)


def _rows_times(rows: Array, vector: Array) -> Array:
    return jnp.matmul(rows, vector, precision="highest")


def _extended_length(features: Features) -> Array:
    if isinstance(features, Cells):
        squares = dataclasses.replace(features, values=jnp.square(features.values.astype(jnp.float32)))
        width = features.values.shape[-1] // features.places
        return jnp.sqrt(1 + features.by_element(squares.times(jnp.ones((width, 1))))[0])
    ones = jnp.ones(features.shape[-1], features.dtype)  # a product: sums over so short an axis are slow on a CPU
    return jnp.sqrt(1 + jnp.matmul(jnp.square(features), ones, precision="highest"))


def _root(values: Array) -> Array:
    """Square root whose gradient at zero is zero."""
    positive = ~(values <= 0)  # so that NaN stays NaN
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), 0.0)
