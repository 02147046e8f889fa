"""Uncertainty measures: pure functions of `Moments`. High always means uncertain.

Layout: members first where they still exist, then classes, then elements last (`[..., classes, elements]`), because classes
are few and elements many. Sums and maxima over classes are written class by class, which XLA turns into one loop over the
elements; its own reduction over so short an axis takes several times as long on a CPU. Leading axes are free. Logarithms are
natural.
"""

import functools
import operator
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxal.types import Moments

Array = jax.Array


class ClassMoments(NamedTuple):
    """What survives of the members' class probabilities; sums, so that members and windows simply add up.

    Attributes:
      members: how many were seen, scalar.
      probability: sum of p over members, `[..., classes, elements]`.
      square: sum of p² over members, `[..., classes, elements]`.
      entropy: sum of H(p) over members, `[..., elements]`.
      votes: number of members whose most probable class this is, `[..., classes, elements]`; the lowest class wins a tie.
    """

    members: Array
    probability: Array
    square: Array
    entropy: Array
    votes: Array


def no_moments(shape: tuple[int, ...], dtype: Any = jnp.float32) -> ClassMoments:
    """Moments of no member yet, for logits of a shape `[..., classes, elements]`."""
    zeros = jnp.zeros(shape, dtype)
    return ClassMoments(jnp.zeros((), dtype), zeros, zeros, jnp.zeros((*shape[:-2], shape[-1]), dtype), zeros)


def add_member(moments: ClassMoments, logits: Array) -> ClassMoments:
    """Adds one member's logits, `[..., classes, elements]`, to the moments."""
    chex.assert_equal_shape([moments.probability, logits])
    return jax.tree.map(jnp.add, moments, moments_of(logits[None]))


def moments_of(logits: Array) -> ClassMoments:
    """Moments of members that exist all at once: logits `[members, ..., classes, elements]`."""
    probabilities, entropy = _softmax_and_entropy(_by_class(logits))
    votes = [won.astype(logits.dtype) for won in _votes(_by_class(logits))]

    def stacked(parts: list[Array]) -> Array:
        return jnp.stack([part.sum(0) for part in parts], axis=-2)

    return ClassMoments(
        jnp.asarray(logits.shape[0], logits.dtype),
        stacked(probabilities),
        stacked([jnp.square(part) for part in probabilities]),
        entropy.sum(0),
        stacked(votes),
    )


def moments_of_probabilities(probabilities: Array) -> ClassMoments:
    """Moments of members whose probabilities are known instead of their logits, `[members, ..., classes, elements]`."""
    votes = jnp.stack([won.astype(probabilities.dtype) for won in _votes(_by_class(probabilities))], axis=-2)
    return ClassMoments(
        jnp.asarray(probabilities.shape[0], probabilities.dtype),
        probabilities.sum(0),
        jnp.square(probabilities).sum(0),
        probability_entropy(probabilities).sum(0),
        votes.sum(0),
    )


def softmax_and_entropy(logits: Array) -> tuple[Array, Array]:
    """Softmax over the classes and its entropy, with one exponential a class and one logarithm an element.

    With m the largest logit, e = exp(z - m) and s = Σe, the entropy is log s - Σ e (z - m) / s. Saturated logits give exactly
    zero, never NaN, and the gradient is finite everywhere.
    """
    probabilities, entropy = _softmax_and_entropy(_by_class(logits))
    return jnp.stack(probabilities, axis=-2), entropy


def _softmax_and_entropy(logits: list[Array]) -> tuple[list[Array], Array]:
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, logits))
    shifted = [part - largest for part in logits]
    exponentials = [jnp.exp(part) for part in shifted]
    total = sum(exponentials)
    entropy = jnp.log(total) - sum(e * part for e, part in zip(exponentials, shifted, strict=True)) / total
    return [e / total for e in exponentials], entropy


def _by_class(values: Array) -> list[Array]:
    return [values[..., label, :] for label in range(values.shape[-2])]


def _votes(values: list[Array]) -> list[Array]:
    """Which elements each class wins; the lowest class wins a tie."""
    largest = functools.reduce(jnp.maximum, values)
    votes, taken = [], jnp.zeros(largest.shape, bool)
    for value in values:
        votes.append((value == largest) & ~taken)
        taken = taken | votes[-1]
    return votes


def mean_probability(moments: ClassMoments) -> Array:
    """The members' mean prediction, `[..., classes, elements]`."""
    return moments.probability / moments.members


def entropy(moments: ClassMoments) -> Array:
    """Entropy of the mean prediction, -Σ p log p (Shannon 1948): with one member "entropy", with several "MC entropy"."""
    return probability_entropy(mean_probability(moments))


def probability_entropy(probability: Array) -> Array:
    """-Σ p log p over the classes axis, `[..., classes, elements] -> [..., elements]`; 0 log 0 is 0, gradient included."""
    return -functools.reduce(operator.add, map(_times_logarithm, _by_class(probability)))


def _times_logarithm(values: Array) -> Array:
    positive = values > 0
    return jnp.where(positive, values, 0.0) * jnp.log(jnp.where(positive, values, 1.0))


def expected_entropy(moments: ClassMoments) -> Array:
    """Mean over members of each member's own entropy: the part of the uncertainty that more data does not remove."""
    return moments.entropy / moments.members


def bald(moments: ClassMoments) -> Array:
    """Mutual information of label and member, H(mean p) - mean H(p) (Houlsby et al. 2011, arXiv 1112.5745).

    Never negative; rounding can make the difference of two near-equal entropies slightly so, and zero is then returned.
    """
    return jnp.maximum(entropy(moments) - expected_entropy(moments), 0.0)


def least_confidence(moments: ClassMoments) -> Array:
    """One minus the largest mean probability (Lewis & Gale 1994)."""
    return 1.0 - functools.reduce(jnp.maximum, _by_class(mean_probability(moments)))


def margin(moments: ClassMoments) -> Array:
    """One minus the lead of the most over the second most probable class (Scheffer et al. 2001); 1 where two classes tie."""
    first, *rest = _by_class(mean_probability(moments))
    second = jnp.zeros_like(first)
    for probability in rest:
        second = jnp.maximum(second, jnp.minimum(first, probability))
        first = jnp.maximum(first, probability)
    return 1.0 - (first - second)


def variation_ratio(moments: ClassMoments) -> Array:
    """Share of members that do not vote for the class with most votes (Freeman 1965; Gal et al. 2017, arXiv 1703.02910)."""
    return 1.0 - functools.reduce(jnp.maximum, _by_class(moments.votes)) / moments.members


def mean_std(moments: ClassMoments) -> Array:
    """Population standard deviation of the members' probabilities, averaged over classes (Kampffmeyer et al. 2016; Gal et al. 2017)."""
    spread = _variance(moments)
    positive = spread > 0
    deviations = _by_class(jnp.where(positive, jnp.sqrt(jnp.where(positive, spread, 1.0)), 0.0))
    return functools.reduce(operator.add, deviations) / spread.shape[-2]


def variance(moments: ClassMoments) -> Array:
    """Population variance of the members' probabilities, averaged over classes."""
    spread = _variance(moments)
    return functools.reduce(operator.add, _by_class(spread)) / spread.shape[-2]


def _variance(moments: ClassMoments) -> Array:
    return jnp.maximum(moments.square / moments.members - jnp.square(mean_probability(moments)), 0.0)


CLASS_MOMENTS = Moments(no_moments, add_member, moments_of, mean_probability, ClassMoments(None, 0, 0, 0, 0))  # type: ignore[arg-type]
