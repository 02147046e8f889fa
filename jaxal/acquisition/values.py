"""Uncertainty of predicted numbers: pure functions of `ValueMoments`. High always means uncertain.

A network that predicts K numbers has 2 K outputs an element: K means, then the logarithms of K variances, as channels in the place of classes
(`[..., 2 K, elements]`), so that members are streamed as those of classes are.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxal.task_kind import Moments

Array = jax.Array

# Bounds on the logarithm of a variance, so that a network that is sure of a wrong number has a finite loss in single precision. They are in
# the targets' own units, so they are wide: deviations from 1e-11 to 1e11.
LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE = -50.0, 50.0


class ValueMoments(NamedTuple):
    """What survives of the members' predictions: sums of what their means deviate by from a prediction that all of them share.

    Attributes:
      members: how many were seen, scalar.
      around: the shared prediction, means and logarithms of variances, `[..., 2 K, elements]`.
      deviation: sum over members of the mean less the shared one, `[..., K, elements]`.
      square: sum of its square, `[..., K, elements]`.
      predicted_variance: sum of the variances that the members predict, `[..., K, elements]`.
    """

    members: Array
    around: Array
    deviation: Array
    square: Array
    predicted_variance: Array


def split(outputs: Array) -> tuple[Array, Array]:
    """Means and the logarithms of variances, kept within bounds: `[..., 2 K, elements]` to twice `[..., K, elements]`."""
    mean, log_variance = jnp.split(outputs, 2, axis=-2)
    return mean, jnp.clip(log_variance, LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)


def no_moments(around: Array) -> ValueMoments:
    """Moments of no member yet, around a prediction `[..., 2 K, elements]`."""
    zeros = jnp.zeros_like(split(around)[0])
    return ValueMoments(jnp.zeros((), around.dtype), around, zeros, zeros, zeros)


def add_member(moments: ValueMoments, outputs: Array) -> ValueMoments:
    """Adds one member's outputs, `[..., 2 K, elements]`, to the moments."""
    chex.assert_equal_shape([moments.around, outputs])
    return join(moments, moments_of(outputs[None], moments.around))


def join(moments: ValueMoments, others: ValueMoments) -> ValueMoments:
    """Moments of the members of both, which must be kept around the same prediction."""
    return jax.tree.map(jnp.add, moments, others)._replace(around=moments.around)


def moments_of(outputs: Array, around: Array | None = None) -> ValueMoments:
    """Moments of members that exist all at once.

    Args:
      outputs: `[members, ..., 2 K, elements]`.
      around: the prediction that moments are kept around; the first member's when left out.
    """
    base = outputs[0] if around is None else around
    mean, log_variance = split(outputs)
    deviation = mean - split(base)[0][None]
    sums = (part.sum(0) for part in (deviation, jnp.square(deviation), jnp.exp(log_variance)))
    return ValueMoments(jnp.asarray(len(outputs), base.dtype), base, *sums)


def prediction(moments: ValueMoments) -> Array:
    """The members' mean prediction, and the logarithm of their mean predicted variance: `[..., 2 K, elements]`."""
    mean = split(moments.around)[0] + moments.deviation / moments.members
    return jnp.concatenate([mean, jnp.log(aleatoric_variance(moments))], axis=-2)


def mean_value(moments: ValueMoments) -> Array:
    """The members' mean prediction, `[..., K, elements]`."""
    return split(prediction(moments))[0]


def epistemic_variance(moments: ValueMoments) -> Array:
    """Population variance of the members' means, `[..., K, elements]`: what more data would remove (Kendall & Gal 2017, arXiv 1703.04977)."""
    return jnp.maximum(moments.square / moments.members - jnp.square(moments.deviation / moments.members), 0.0)


def aleatoric_variance(moments: ValueMoments) -> Array:
    """Mean over members of the variance that each predicts, `[..., K, elements]`: the noise that no data removes."""
    return moments.predicted_variance / moments.members


def total_variance(moments: ValueMoments) -> Array:
    """Both together, `[..., K, elements]`: the uncertainty of Mehta, Shui & Arbel 2023 (appendix D)."""
    return epistemic_variance(moments) + aleatoric_variance(moments)


def bald(moments: ValueMoments) -> Array:
    """Information of a label on which member is right, ½ log(1 + epistemic / aleatoric), `[..., K, elements]`, in nats.

    It is that of Houlsby et al. 2011 (arXiv 1112.5745) if the members' mixture is taken for a Gaussian of its mean and variance, which has more entropy:
    an upper bound, exact where they agree.
    """
    return 0.5 * jnp.log1p(epistemic_variance(moments) / aleatoric_variance(moments))


class Mixture(NamedTuple):
    """Mixtures of normal distributions, `[..., components]` each.

    Attributes:
      log_weight: logarithms of shares that sum to one.
      mean, log_variance: of each component.
    """

    log_weight: Array
    mean: Array
    log_variance: Array


def log_density(mixture: Mixture, value: Array) -> Array:
    """Logarithm of the mixtures' density at values, `[...]`, less that of 1 / sqrt(2 pi) (Bishop 1994)."""
    error = jnp.square(value[..., None] - mixture.mean) * jnp.exp(-mixture.log_variance)
    return jax.nn.logsumexp(mixture.log_weight - 0.5 * (mixture.log_variance + error), axis=-1)


def variance_between(mixture: Mixture) -> Array:
    """Variance of the components' means by their weights, `[...]`: epistemic (Choi et al. 2021, arXiv 2103.16130)."""
    weight = jnp.exp(mixture.log_weight)
    mean = (weight * mixture.mean).sum(-1, keepdims=True)
    return (weight * jnp.square(mixture.mean - mean)).sum(-1)


def variance_within(mixture: Mixture) -> Array:
    """Mean of the components' variances by their weights, `[...]`: aleatoric (Choi et al. 2021, arXiv 2103.16130)."""
    return (jnp.exp(mixture.log_weight) * jnp.exp(mixture.log_variance)).sum(-1)


def information_of_pairs(pool: Array, pool_noise: Array, evaluation: Array, evaluation_noise: Array) -> Array:
    """Information of a case's numbers on those of evaluation cases, in the mean over them and summed over targets, `[pool]`, in nats.

    Expected predictive information gain (Bickford Smith et al. 2023, arXiv 2304.08151) where members' predictions of two cases are taken for jointly
    normal: -½ log(1 - ρ²), with ρ² = Cov(y, y')² / (Var y Var y') over the members, the variances with the noise.

    Args:
      pool, evaluation: each member's mean, `[cases, members, targets]`.
      pool_noise, evaluation_noise: mean predicted variance, `[cases, targets]`, above zero.
    """

    def centred(means: Array) -> Array:
        return means - means.mean(1, keepdims=True)

    mine, others = centred(pool), centred(evaluation)
    covariance = jnp.einsum("pmk,emk->pek", mine, others, precision="highest") / pool.shape[1]
    variance = jnp.square(mine).mean(1) + pool_noise
    of_others = jnp.square(others).mean(1) + evaluation_noise
    correlation = jnp.square(covariance) / (variance[:, None] * of_others[None])
    return -0.5 * jnp.log1p(-correlation).mean(1).sum(-1)


VALUE_MOMENTS = Moments(no_moments, add_member, join, moments_of, prediction, ValueMoments(None, 0, 0, 0, 0))  # type: ignore[arg-type]
