"""Uncertainty measures: pure functions of `Moments`. High always means uncertain.

Layout: members first where they still exist, then classes, then elements last (`[..., classes, elements]`), because classes
are few and elements many. Sums and maxima over classes are written class by class, which XLA turns into one loop over the
elements; its own reduction over so short an axis takes several times as long on a CPU. Leading axes are free. Logarithms are
natural.
"""

import functools
import operator
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxal.arrays import by_class, exponentials_of
from jaxal.task_kind import Moments

Array = jax.Array


class ClassMoments(NamedTuple):
    """What survives of the members' class probabilities: sums of what they deviate by from a prediction that all of them share.

    Members that hardly differ deviate by little, and little numbers are summed without loss; a difference of two sums of the whole
    probabilities would be rounding alone. Any prediction will do, the closer to the members the better.

    Attributes:
      members: how many were seen, scalar.
      around: the shared prediction b, `[..., classes, elements]`.
      log_around: log max(b, 1e-7), so that no member computes it anew.
      deviation: sum of p - b over members, `[..., classes, elements]`.
      square: sum of (p - b)² over members, `[..., classes, elements]`.
      divergence: sum of Σ_c p log(p / b) - p + b over members, `[..., elements]`.
      logarithm: sum of log p - log b over members, `[..., classes, elements]`; log p is -80 at least.
      votes: number of members whose most probable class this is, `[..., classes, elements]`; the lowest class wins a tie.
    """

    members: Array
    around: Array
    log_around: Array
    deviation: Array
    square: Array
    divergence: Array
    logarithm: Array
    votes: Array


# The least probability that divergences are taken to. A member that is sure of what the shared prediction rules out diverges by the
# logarithm of this, which cancels again; the larger it is, the less is lost by that.
_LEAST = 1e-7
_LEAST_LOGARITHM = -80.0  # of a member's probability, so that a class that it rules out does not count without end


def no_moments(around: Array) -> ClassMoments:
    """Moments of no member yet, around a prediction `[..., classes, elements]`."""
    zeros = jnp.zeros_like(around)
    return ClassMoments(
        jnp.zeros((), around.dtype),
        around,
        _log(jnp.maximum(around, _LEAST)),
        zeros,
        zeros,
        jnp.zeros_like(around[..., 0, :]),
        zeros,
        zeros,
    )


def add_member(moments: ClassMoments, logits: Array) -> ClassMoments:
    """Adds one member's logits, `[..., classes, elements]`, to the moments."""
    chex.assert_equal_shape([moments.around, logits])
    return join(moments, moments_of(logits[None], moments.around, moments.log_around))


def join(moments: ClassMoments, others: ClassMoments) -> ClassMoments:
    """Moments of the members of both, which must be kept around the same prediction."""
    summed = jax.tree.map(jnp.add, moments, others)
    return summed._replace(around=moments.around, log_around=moments.log_around)


def moments_of(logits: Array, around: Array | None = None, log_around: Array | None = None) -> ClassMoments:
    """Moments of members that exist all at once.

    Args:
      logits: `[members, ..., classes, elements]`.
      around: the prediction that moments are kept around, `[..., classes, elements]`; the first member's when left out.
      log_around: its logarithm, if it is there already.
    """
    of_classes = by_class(logits)
    exponentials, shifted, total = exponentials_of(of_classes)
    log_total = jnp.log(total)
    probabilities, logarithms = [e / total for e in exponentials], [part - log_total for part in shifted]
    return _moments(probabilities, logarithms, _votes(of_classes), around, log_around)


def moments_of_probabilities(probabilities: Array) -> ClassMoments:
    """Moments of members whose probabilities are known instead of their logits, `[members, ..., classes, elements]`."""
    of_classes = by_class(probabilities)
    return _moments(of_classes, list(map(_log, of_classes)), _votes(of_classes), None, None)


def _moments(
    probabilities: list[Array], logarithms: list[Array], votes: list[Array], around: Array | None, log_around: Array | None
) -> ClassMoments:
    """Everything class by class, `[members, ..., elements]` each."""

    def stacked(parts: list[Array]) -> Array:
        return jnp.stack(parts, axis=-2)

    base = stacked([part[0] for part in probabilities]) if around is None else around
    log_base = _log(jnp.maximum(base, _LEAST)) if log_around is None else log_around
    bases, log_bases = ([part[None] for part in by_class(values)] for values in (base, log_base))
    deviations = [p - jnp.broadcast_to(b, p.shape) for p, b in zip(probabilities, bases, strict=True)]
    divergence = functools.reduce(operator.add, map(_divergence, probabilities, logarithms, deviations, bases, log_bases))
    return ClassMoments(
        jnp.asarray(len(probabilities[0]), base.dtype),
        base,
        log_base,
        stacked([part.sum(0) for part in deviations]),
        stacked([jnp.square(part).sum(0) for part in deviations]),
        divergence.sum(0),
        stacked(
            [(jnp.maximum(log_p, _LEAST_LOGARITHM) - log_b).sum(0) for log_p, log_b in zip(logarithms, log_bases, strict=True)]
        ),
        stacked([won.astype(base.dtype).sum(0) for won in votes]),
    )


def divergence_of(probability: Array, around: Array, deviation: Array) -> Array:
    """p log(p / b) - p + b of each element, exact where p hardly deviates from b; summed over a distribution it is the divergence from b.

    Args:
      probability, around: p and b, of one shape.
      deviation: p - b, as exact as it is known.
    """
    log_p, log_b = _log(probability), _log(around)
    # Below the floor of the other form p and b are so small that nothing is lost by the plain one.
    plain = probability * (log_p - log_b) - deviation
    return jnp.where(around > _LEAST, _divergence(probability, log_p, deviation, around, log_b), plain)


def _divergence(p: Array, log_p: Array, deviation: Array, around: Array, log_around: Array) -> Array:
    """p log(p / b) - p + b, not negative: with r = p / b - 1 it is b ((1 + r) log(1 + r) - r), and of small r its series."""
    around, log_around = (jnp.broadcast_to(part, p.shape) for part in (around, log_around))
    floor = jnp.maximum(around, _LEAST)
    deviation = deviation + (around - floor)  # zero, but where b is below the floor
    r = deviation / floor
    is_small = jnp.abs(r) < 0.1
    small = jnp.where(is_small, r, 0.0)
    # Σ (-r)^n / (n (n - 1)) from n = 2, as far as a precision sees it where r is 0.1.
    series = jnp.zeros_like(r)
    for n in range(7 if r.dtype == jnp.float32 else 16, 1, -1):
        series = 1 / (n * (n - 1)) - small * series
    return jnp.where(is_small, floor * jnp.square(small) * series, p * (log_p - log_around) - deviation)


def _log(probability: Array) -> Array:
    return jnp.log(jnp.maximum(probability, 1e-37))


def softmax_and_entropy(logits: Array) -> tuple[Array, Array]:
    """Softmax over the classes and its entropy, with one exponential a class and one logarithm an element.

    With m the largest logit, e = exp(z - m) and s = Σe, the entropy is log s - Σ e (z - m) / s. Saturated logits give exactly
    zero, never NaN, and the gradient is finite everywhere.
    """
    probabilities, entropy = _softmax_and_entropy(by_class(logits))
    return jnp.stack(probabilities, axis=-2), entropy


def _softmax_and_entropy(logits: list[Array]) -> tuple[list[Array], Array]:
    exponentials, shifted, total = exponentials_of(logits)
    entropy = jnp.log(total) - sum(e * part for e, part in zip(exponentials, shifted, strict=True)) / total
    return [e / total for e in exponentials], entropy


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
    return moments.around + moments.deviation / moments.members


def entropy(moments: ClassMoments) -> Array:
    """Entropy of the mean prediction, -Σ p log p (Shannon 1948): with one member "entropy", with several "MC entropy"."""
    return probability_entropy(mean_probability(moments))


def probability_entropy(probability: Array) -> Array:
    """-Σ p log p over the classes axis, `[..., classes, elements] -> [..., elements]`; 0 log 0 is 0, gradient included."""
    return -functools.reduce(operator.add, map(_times_logarithm, by_class(probability)))


def _times_logarithm(values: Array) -> Array:
    positive = ~(values <= 0)  # so that NaN stays NaN
    return jnp.where(positive, values, 0.0) * jnp.log(jnp.where(positive, values, 1.0))


def expected_entropy(moments: ClassMoments) -> Array:
    """Mean over members of each member's own entropy: the part of the uncertainty that more data does not remove."""
    return jnp.maximum(entropy(moments) - bald(moments), 0.0)


def bald(moments: ClassMoments) -> Array:
    """Mutual information of label and member, H(mean p) - mean H(p) (Houlsby et al. 2011, arXiv 1112.5745).

    As the members' mean divergence from any prediction less their mean's own, which is the same number without the difference of
    two near-equal entropies. Never negative; where rounding makes it slightly so, zero is returned.
    """
    mean = mean_probability(moments)
    parts = (mean, _log(mean), moments.deviation / moments.members, moments.around, moments.log_around)
    of_mean = functools.reduce(operator.add, map(_divergence, *map(by_class, parts)))
    return jnp.maximum(moments.divergence / moments.members - of_mean, 0.0)


def least_confidence(moments: ClassMoments) -> Array:
    """One minus the largest mean probability (Lewis & Gale 1994)."""
    return 1.0 - functools.reduce(jnp.maximum, by_class(mean_probability(moments)))


def margin(moments: ClassMoments) -> Array:
    """One minus the lead of the most over the second most probable class (Scheffer et al. 2001); 1 where two classes tie."""
    first, second = _two_largest(mean_probability(moments))
    return 1.0 - (first - second)


def gini(moments: ClassMoments) -> Array:
    """Chance that two draws from the mean prediction differ, 1 - Σ p² (Gini 1912); cases are ranked as by the variance of the probabilities over classes."""
    return 1.0 - functools.reduce(operator.add, [jnp.square(part) for part in by_class(mean_probability(moments))])


def best_versus_second(moments: ClassMoments) -> Array:
    """Second largest over largest mean probability (Cai et al. 2021, CVPR, p. 10988)."""
    first, second = _two_largest(mean_probability(moments))
    return second / first


def _two_largest(probability: Array) -> tuple[Array, Array]:
    first, *rest = by_class(probability)
    second = jnp.zeros_like(first)
    for part in rest:
        second = jnp.maximum(second, jnp.minimum(first, part))
        first = jnp.maximum(first, part)
    return first, second


def vote_entropy(moments: ClassMoments) -> Array:
    """Entropy of the members' votes, -Σ (v / T) log(v / T) (Dagan & Engelson 1995; Mackowiak et al. 2018, arXiv 1810.09726)."""
    entropy = probability_entropy(moments.votes / moments.members)
    # Members that are no numbers have no votes, and would look agreed.
    return jnp.where(jnp.isnan(moments.divergence), jnp.nan, entropy)


def pairwise_divergence(moments: ClassMoments) -> Array:
    """Mean of KL(p_s || p_t) over all pairs of different members (Zhou et al. 2017, CVPR, between views; Siddiqui et al. 2020, arXiv 1911.11789).

    Σ_c p_s log p_s does not see the other member, so the mean over pairs is that of T / (T - 1) (mean Σ_c p log p - Σ_c mean p mean log p), here by what members
    deviate from their shared prediction.
    """
    mean, logarithm = (part / moments.members for part in (moments.deviation, moments.logarithm))
    cross = functools.reduce(operator.add, map(operator.mul, by_class(moments.around + mean), by_class(logarithm)))
    # Divergences are taken from b where that is above the floor; then this is zero but for rounding, as all probabilities sum to one.
    shift = functools.reduce(operator.add, by_class(mean + (moments.around - jnp.maximum(moments.around, _LEAST))))
    own = moments.divergence / moments.members + shift
    return jnp.maximum(own - cross, 0.0) * moments.members / jnp.maximum(moments.members - 1.0, 1.0)


def variation_ratio(moments: ClassMoments) -> Array:
    """Share of members that do not vote for the class with most votes (Freeman 1965; Gal et al. 2017, arXiv 1703.02910)."""
    return (
        moments.members - functools.reduce(jnp.maximum, by_class(moments.votes))
    ) / moments.members  # 0 where all agree, compiled, too


def mean_std(moments: ClassMoments) -> Array:
    """Population standard deviation of the members' probabilities, averaged over classes (Kampffmeyer et al. 2016; Gal et al. 2017)."""
    spread = _variance(moments)
    positive = ~(spread <= 0)  # so that NaN stays NaN
    deviations = by_class(jnp.where(positive, jnp.sqrt(jnp.where(positive, spread, 1.0)), 0.0))
    return functools.reduce(operator.add, deviations) / spread.shape[-2]


def variance(moments: ClassMoments) -> Array:
    """Population variance of the members' probabilities, averaged over classes."""
    spread = _variance(moments)
    return functools.reduce(operator.add, by_class(spread)) / spread.shape[-2]


def _variance(moments: ClassMoments) -> Array:
    return jnp.maximum(moments.square / moments.members - jnp.square(moments.deviation / moments.members), 0.0)


CLASS_MOMENTS = Moments(no_moments, add_member, join, moments_of, mean_probability, ClassMoments(None, 0, 0, 0, 0, 0, 0, 0))  # type: ignore[arg-type]
