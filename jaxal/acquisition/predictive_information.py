"""What a label would tell of other predictions: expected predictive information gain."""

import jax
import jax.numpy as jnp

from jaxal.acquisition.uncertainty import divergence_of

Array = jax.Array

_NUMBERS_AT_ONCE = 2**22  # joint probabilities that are looked at at once


def epig(pool: Array, targets: Array, weights: Array | None = None) -> Array:
    """Mutual information of each item's label with that of a target, mean over the targets, in nats (EPIG, Bickford Smith et al. 2023, arXiv 2304.08151).

    The members' joint prediction of two labels differs from the product of the two means by their covariance over the members; that is what is multiplied out, so
    nothing small is a difference of large numbers.

    Args:
      pool: members' probabilities, `[items, members, classes]`; a member is one function, the same for all.
      targets: of the same members, `[targets, members, classes]`, at least one. Labels of the targets are not needed.
      weights: how much each target counts, `[targets]`, summing to one; all alike when left out.

    Returns:
      `[items]`, never negative, and never more than BALD.
    """
    members, classes = targets.shape[1:]
    mean = targets.mean(1)
    deviation = jnp.moveaxis(targets - mean[:, None], 1, 0).reshape(members, -1)
    shares = jnp.full(len(targets), 1 / len(targets)) if weights is None else weights

    def of_item(item: Array) -> Array:
        own = item.mean(0)
        covariance = jnp.matmul((item - own[None]).T, deviation, precision="highest") / members
        covariance = covariance.reshape(classes, len(targets), classes)
        apart = own[:, None, None] * mean[None]
        return (divergence_of(apart + covariance, apart, covariance).sum((0, 2)) * shares).sum()

    at_once = max(1, _NUMBERS_AT_ONCE // (len(targets) * classes**2))
    return jnp.maximum(jax.lax.map(of_item, pool, batch_size=min(at_once, len(pool))), 0.0)
