"""What a network says of its own evidence: exponentials of its logits as the parameters of a Dirichlet distribution over class probabilities.

It means something where training has kept the evidence for wrong classes low (`training.losses.evidence_divergence`).
"""

import jax
import jax.numpy as jnp

from jaxal.arrays import by_class

Array = jax.Array

LARGEST = 10.0  # of logits and of minus logits, so that evidence stays finite
_SHIFT = 6


def excess_of_digamma(x: Array) -> Array:
    """Digamma of x + 1 minus the logarithm of x, for positive x: about 1 / (2 x) where x is large.

    The recurrence of digamma leads to x + 6, where four terms of its series are exact to single precision.
    """
    far = x + _SHIFT
    inverse = 1.0 / far
    square = inverse * inverse
    series = inverse * (0.5 - inverse * (1 / 12 - square * (1 / 120 - square / 252)))
    steps = sum((1.0 / (x + step) for step in range(1, _SHIFT + 1)), jnp.zeros_like(x))
    return series + jnp.log1p(_SHIFT / x) - steps


def uncertainties(logits: Array) -> tuple[Array, Array]:
    """How unsure a network is of the distribution over classes, and how unsure it would be of the class if it knew that (DUC, Xie et al. 2023, arXiv 2302.13824).

    Both are at least zero and sum to the entropy of the mean prediction: the mutual information of class and distribution, and the expected entropy.

    Args:
      logits: `[..., classes, elements]`.

    Returns:
      Of the distribution, of the data: `[..., elements]` each, in nats.
    """
    parts = [jnp.clip(part, -LARGEST, LARGEST) for part in by_class(logits)]
    evidence = [jnp.exp(part) for part in parts]
    total = sum(evidence[1:], evidence[0])
    log_total, excess = jnp.log(total), excess_of_digamma(total)
    of_distribution, of_data = jnp.zeros_like(total), jnp.zeros_like(total)
    for log_alpha, alpha in zip(parts, evidence, strict=True):
        own, share = excess_of_digamma(alpha), alpha / total
        of_distribution += share * (own - excess)
        of_data += share * ((log_total - log_alpha) + (excess - own))
    return jnp.maximum(of_distribution, 0.0), jnp.maximum(of_data, 0.0)
