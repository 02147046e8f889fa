"""Whether a predicted normal distribution of a number holds what it says: how often its intervals cover the truth."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

Array = jax.Array
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # probabilities of central intervals
LEAST_VARIANCE = 1e-12  # smaller ones are taken for it, so that nothing is divided by zero


class CoverageSums(NamedTuple):
    """Sums over labelled elements; those of several cases add up, over leading axes.

    Attributes:
      elements: how many there are, `[...]`.
      negative_log_likelihood: `[...]`, in nats.
      covered: how many lie within the central interval of each of `LEVELS`, `[..., levels]`.
    """

    elements: Array
    negative_log_likelihood: Array
    covered: Array


def coverage_sums(mean: Array, variance: Array, target: Array, labelled: Array) -> CoverageSums:
    """Collects the sums of one case whose elements are predicted as normal distributions.

    Args:
      mean, variance: predicted, `[elements]`; the variance is in the square of the mean's unit, at least 0.
      target: what is true, `[elements]`.
      labelled: which elements are labelled, `[elements]`, boolean.
    """
    nll = jnp.where(labelled, normal_negative_log_likelihood(mean, variance, target), 0.0).sum()
    half_widths = special.ndtri(0.5 + np.array(LEVELS) / 2)
    distance = jnp.abs(target - mean) / jnp.sqrt(jnp.maximum(variance, LEAST_VARIANCE))
    covered = [((distance <= half_width) & labelled).sum() for half_width in half_widths.tolist()]
    return CoverageSums(labelled.sum(), nll, jnp.stack(covered))


def normal_negative_log_likelihood(mean: Array, variance: Array, target: Array) -> Array:
    """-log of the density of the target, ½ log(2 π σ²) + (y - μ)² / (2 σ²), by element: `[...]` each, in nats."""
    safe = jnp.maximum(variance, LEAST_VARIANCE)
    return 0.5 * (jnp.log(2.0 * np.pi * safe) + (target - mean) ** 2 / safe)


def negative_log_likelihood(sums: CoverageSums) -> float:
    """Mean over all elements, in nats; it depends on the target's unit."""
    return float(np.asarray(sums.negative_log_likelihood, np.float64).sum() / _count(sums))


def coverage(sums: CoverageSums) -> np.ndarray:
    """Share of the elements that lie within the interval of each of `LEVELS`, `[levels]`; equal to the level where predictions can be believed."""
    covered = np.asarray(sums.covered, np.float64).reshape(-1, len(LEVELS)).sum(0)
    return covered / _count(sums)


def coverage_error(sums: CoverageSums) -> float:
    """Mean distance of coverage from level (after Kuleshov, Fenner & Ermon 2018, arXiv 1807.00263, who square it and take intervals from -∞)."""
    return float(np.abs(coverage(sums) - np.array(LEVELS)).mean())


def _count(sums: CoverageSums) -> float:
    return float(np.asarray(sums.elements, np.float64).sum())
