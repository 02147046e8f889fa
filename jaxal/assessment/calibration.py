"""Whether predicted probabilities can be believed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
BINS = 10


class CalibrationSums(NamedTuple):
    """Sums over elements from which the measures follow; those of several cases add up.

    Attributes:
      negative_log_likelihood: `[...]`, sum of -log p of the true class.
      elements: how many there are by bin of confidence, `[..., bins]`.
      confidence: sum of the largest probability, by bin.
      correct: elements whose most probable class is the true one, by bin.
    """

    negative_log_likelihood: Array
    elements: Array
    confidence: Array
    correct: Array


def calibration_sums(logits: Array, labels: Array, labelled: Array, bins: int = BINS) -> CalibrationSums:
    """Collects the sums of one case.

    Args:
      logits: `[classes, elements]`.
      labels: `[elements]`, integers.
      labelled: which elements are labelled, `[elements]`, boolean.
      bins: of equal width on [0, 1], closed on the right.
    """
    log_probability = jax.nn.log_softmax(logits, axis=0)
    truth = (labels[None, :] == jnp.arange(logits.shape[0], dtype=labels.dtype)[:, None]) & labelled[None, :]
    nll = -jnp.where(truth, log_probability, 0.0).sum()
    confidence = jnp.exp(log_probability.max(0))
    correct = (logits.argmax(0) == labels) & labelled
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    in_bin = (index[None, :] == jnp.arange(bins)[:, None]) & labelled[None, :]
    confident = jnp.where(in_bin, confidence[None, :], 0.0).sum(-1)
    return CalibrationSums(nll, in_bin.sum(-1), confident, (in_bin & correct[None, :]).sum(-1))


def negative_log_likelihood(sums: CalibrationSums) -> float:
    """Mean of -log p of the true class over all elements, in nats (of the true, not the predicted class)."""
    total, count = (np.asarray(part, np.float64).sum() for part in (sums.negative_log_likelihood, sums.elements))
    return float(total / count)


def expected_calibration_error(sums: CalibrationSums) -> float:
    """Σ_b n_b/n |accuracy_b - confidence_b| over bins of equal width (Guo et al. 2017, arXiv 1706.04599); empty bins count nothing.

    Args:
      sums: of one or more cases, `[..., bins]`.
    """
    count, confidence, correct = (
        np.asarray(part, np.float64).reshape(-1, np.shape(part)[-1]).sum(0)
        for part in (sums.elements, sums.confidence, sums.correct)
    )
    return float(np.abs(correct - confidence).sum() / count.sum())


def entries(sums: CalibrationSums) -> dict[str, Any]:
    """What the ledger keeps: the measures, and by bin of confidence how many elements, their summed confidence, how many are right."""
    parts = {"count": sums.elements, "confidence": sums.confidence, "correct": sums.correct}
    reliability = {
        name: [round(float(value), 3) for value in np.asarray(part, np.float64).sum(0)] for name, part in parts.items()
    }
    return {"nll": negative_log_likelihood(sums), "ece": expected_calibration_error(sums), "reliability": reliability}
