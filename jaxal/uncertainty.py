"""Uncertainty measures: pure functions of `Moments`. High always means uncertain.

Layout: members first where they still exist, then classes, then elements last (`[..., classes, elements]`), because classes
are few and elements many. Leading axes are free. Logarithms are natural.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

Array = jax.Array


class ClassMoments(NamedTuple):
    """What survives of the members' class probabilities; sums, so that members and windows simply add up.

    Attributes:
      count: number of members seen, scalar.
      probability: sum of p over members, `[..., classes, elements]`.
      square: sum of p² over members, `[..., classes, elements]`.
      entropy: sum of H(p) over members, `[..., elements]`.
      votes: number of members whose most probable class this is, `[..., classes, elements]`; the lowest class wins a tie.
    """

    count: Array
    probability: Array
    square: Array
    entropy: Array
    votes: Array


def no_moments(shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> ClassMoments:
    """Moments of no member yet, for logits of a shape `[..., classes, elements]`."""
    zeros = jnp.zeros(shape, dtype)
    return ClassMoments(jnp.zeros((), dtype), zeros, zeros, jnp.zeros((*shape[:-2], shape[-1]), dtype), zeros)


def add_member(moments: ClassMoments, logits: Array) -> ClassMoments:
    """Adds one member's logits, `[..., classes, elements]`, to the moments."""
    chex.assert_equal_shape([moments.probability, logits])
    probability, entropy = softmax_and_entropy(logits)
    return ClassMoments(
        moments.count + 1,
        moments.probability + probability,
        moments.square + jnp.square(probability),
        moments.entropy + entropy,
        moments.votes + _vote(logits),
    )


def softmax_and_entropy(logits: Array) -> tuple[Array, Array]:
    """Softmax over the classes and its entropy, with one exponential a class and one logarithm an element.

    With m the largest logit, e = exp(z - m) and s = Σe, the entropy is log s - Σ e (z - m) / s. Saturated logits give exactly
    zero, never NaN, and the gradient is finite everywhere.
    """
    shifted = logits - jax.lax.stop_gradient(logits.max(-2, keepdims=True))
    exponential = jnp.exp(shifted)
    total = exponential.sum(-2, keepdims=True)
    entropy = jnp.log(total[..., 0, :]) - (exponential * shifted).sum(-2) / total[..., 0, :]
    return exponential / total, entropy


def _vote(logits: Array) -> Array:
    return jax.nn.one_hot(logits.argmax(-2), logits.shape[-2], axis=-2, dtype=logits.dtype)


def mean_probability(moments: ClassMoments) -> Array:
    """The members' mean prediction, `[..., classes, elements]`."""
    return moments.probability / moments.count


def entropy(moments: ClassMoments) -> Array:
    """Entropy of the mean prediction, -Σ p log p (Shannon 1948): with one member "entropy", with several "MC entropy"."""
    return probability_entropy(mean_probability(moments))


def probability_entropy(probability: Array) -> Array:
    """-Σ p log p over the classes axis, `[..., classes, elements] -> [..., elements]`; 0 log 0 is 0, gradient included."""
    positive = probability > 0
    safe = jnp.where(positive, probability, 1.0)
    return -(jnp.where(positive, probability, 0.0) * jnp.log(safe)).sum(-2)


def expected_entropy(moments: ClassMoments) -> Array:
    """Mean over members of each member's own entropy: the part of the uncertainty that more data does not remove."""
    return moments.entropy / moments.count


def bald(moments: ClassMoments) -> Array:
    """Mutual information of label and member, H(mean p) - mean H(p) (Houlsby et al. 2011, arXiv 1112.5745).

    Never negative; rounding can make the difference of two near-equal entropies slightly so, and zero is then returned.
    """
    return jnp.maximum(entropy(moments) - expected_entropy(moments), 0.0)


def least_confidence(moments: ClassMoments) -> Array:
    """One minus the largest mean probability (Lewis & Gale 1994)."""
    return 1.0 - mean_probability(moments).max(-2)


def margin(moments: ClassMoments) -> Array:
    """One minus the lead of the most over the second most probable class (Scheffer et al. 2001); 1 where two classes tie."""
    probability = mean_probability(moments)
    first = probability.max(-2)
    # Removing one winner by position, not by value: with a tie the second is as large as the first.
    second = jnp.where(_vote(probability) > 0, -jnp.inf, probability).max(-2)
    return 1.0 - (first - second)


def variation_ratio(moments: ClassMoments) -> Array:
    """Share of members that do not vote for the class with most votes (Freeman 1965; Gal et al. 2017, arXiv 1703.02910)."""
    return 1.0 - moments.votes.max(-2) / moments.count


def variance(moments: ClassMoments) -> Array:
    """Population variance of the members' probabilities, averaged over classes."""
    mean = mean_probability(moments)
    return jnp.maximum(moments.square / moments.count - jnp.square(mean), 0.0).mean(-2)
