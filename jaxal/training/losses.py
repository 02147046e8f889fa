"""Losses over dense predictions, classes first, with masks for what is not labelled."""

import functools
import math
import operator
from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from jaxal.acquisition.evidence import LARGEST, excess_of_digamma
from jaxal.arrays import by_class, count, exponentials_of, one_hot

Array = jax.Array

_CLASSES_WRITTEN_OUT = 8  # of more, as images may have, each would be operations to compile
_AUXILIARY_WEIGHTS = (1.0, 0.1, 0.01, 0.001, 0.0)  # 300 epochs of 1300 each, but the last


def cross_entropy(logits: Array, labels: Array, labelled: Array, class_weights: Array | None = None) -> Array:
    """Mean cross-entropy over the labelled elements.

    Args:
      logits: `[..., classes, elements]`.
      labels: integer class of each element, `[..., elements]`.
      labelled: which elements are labelled, `[..., elements]`, boolean.
      class_weights: `[classes]`, a factor on the elements of each class; the sum is still divided by the number of elements.

    Returns:
      `[...]`, in nats; zero where nothing is labelled.
    """
    chex.assert_equal_shape([labels, labelled])
    log_probabilities = _log_softmax(logits)
    truth = one_hot(labels, logits.shape[-2])
    if class_weights is not None:
        truth = truth * jnp.broadcast_to(class_weights[:, None], truth.shape)
    values = jnp.where(labelled, -_class_sum(truth * log_probabilities), 0.0)
    return values.sum(-1) / count(labelled)


def _log_softmax(logits: Array) -> Array:
    """Over the classes, `[..., classes, elements]`; few are written out (`arrays.by_class`)."""
    if logits.shape[-2] > _CLASSES_WRITTEN_OUT:
        return jax.nn.log_softmax(logits, axis=-2)
    _, shifted, total = exponentials_of(by_class(logits))
    return jnp.stack([part - jnp.log(total) for part in shifted], -2)


def _class_sum(values: Array) -> Array:
    """`[..., classes, elements]` to `[..., elements]`."""
    return values.sum(-2) if values.shape[-2] > _CLASSES_WRITTEN_OUT else functools.reduce(operator.add, by_class(values))


def class_weights(classes: int, foreground: float) -> Array:
    """Factors on the elements of each class, `[classes]`: one for class 0, another number for all others."""
    return jnp.full((classes,), foreground).at[0].set(1.0)


def soft_dice(logits: Array, labels: Array, labelled: Array, class_mask: Array, smooth: float = 1.0) -> Array:
    """One minus the soft Dice overlap, averaged over the classes that count (Milletari et al. 2016, arXiv 1606.04797).

    Args:
      logits: `[..., classes, elements]`.
      labels: `[..., elements]`.
      labelled: which elements are labelled, `[..., elements]`, boolean.
      class_mask: `[..., classes]`, boolean; a class that was not annotated, or that an item does not hold, is left out here
        (the cross-entropy still sees it): its overlap would be zero whatever the network says.
      smooth: elements added above and below the fraction; keeps it finite.

    Returns:
      `[...]` in [0, 1]; zero where no class counts.
    """
    labelled_elements = labelled[..., None, :]
    # Not `softmax`: XLA turns its quotient into a product where there is one device and leaves it where there are several.
    probabilities = jnp.where(labelled_elements, jnp.exp(_log_softmax(logits)), 0.0)
    truth = jnp.where(labelled_elements, one_hot(labels, logits.shape[-2]), 0.0)
    overlap = (probabilities * truth).sum(-1)
    size = probabilities.sum(-1) + truth.sum(-1)
    dice = (2 * overlap + smooth) / (size + smooth)
    return jnp.where(class_mask, 1 - dice, 0.0).sum(-1) / count(class_mask)


def present_foreground(labels: Array, labelled: Array, classes: int) -> Array:
    """The classes above zero that each item's labelled elements hold: `[..., classes]`, boolean."""
    present = ((one_hot(labels, classes) > 0) & labelled[..., None, :]).any(-1)
    return present.at[..., 0].set(False)


def binary_cross_entropy(logits: Array, targets: Array, labelled: Array) -> Array:
    """Mean cross-entropy over the labelled elements of what is there or is not, such as a contour.

    Args:
      logits: `[..., elements]`.
      targets: 1 where it is there, else 0, `[..., elements]`, integers or booleans.
      labelled: which elements are labelled, `[..., elements]`, boolean.

    Returns:
      `[...]`, in nats; zero where nothing is labelled.
    """
    chex.assert_equal_shape([logits, targets, labelled])
    values = jax.nn.softplus(jnp.where(targets != 0, -logits, logits))
    return jnp.where(labelled, values, 0.0).sum(-1) / count(labelled)


def evidence_divergence(logits: Array, labels: Array, labelled: Array) -> Array:
    """What evidence for wrong classes costs (Sensoy et al. 2018, arXiv 1806.01768): mean divergence from knowing nothing, over the number of classes.

    Exponentials of logits are the parameters of a Dirichlet distribution, as in DUC (arXiv 2302.13824); the true class's is set to one, as all are in the
    distribution of knowing nothing.

    Args:
      logits: `[..., classes, elements]`.
      labels: integer class of each element, `[..., elements]`.
      labelled: which elements are labelled, `[..., elements]`, boolean.

    Returns:
      `[...]`, in nats; zero where nothing is labelled.
    """
    classes, wrong = logits.shape[-2], one_hot(labels, logits.shape[-2]) < 0.5
    logits = jnp.where(wrong, jnp.clip(logits, -LARGEST, LARGEST), 0.0)
    if classes == 2:  # where a single wrong class is left, digammas differ by fractions
        values = _class_sum(logits + jnp.exp(-logits) - 1.0)
    else:
        evidence = jnp.exp(logits)
        total = _class_sum(evidence)
        of_total = jnp.log(total) + excess_of_digamma(total) - 1.0 / total
        of_each = logits + excess_of_digamma(evidence) - 1.0 / evidence
        values = _class_sum((evidence - 1.0) * (of_each - of_total[..., None, :]) - jax.lax.lgamma(evidence))
        values = values + jax.lax.lgamma(total) - math.lgamma(classes)
    return jnp.where(labelled, values, 0.0).sum(-1) / count(labelled) / classes


def pair_ranking(predicted: Array, losses: Array, margin: float = 1.0) -> Array:
    """How far predicted losses miss the order of two examples, the first with the last, the second with the one before it (Yoo & Kweon 2019, arXiv 1905.03677).

    Args:
      predicted, losses: `[batch]`; of the losses the order alone counts. One in the middle is compared with itself, which teaches nothing.
      margin: by how much the prediction for the larger loss must be above the other's.

    Returns:
      `[batch]`: to each example the loss of its pair.
    """
    larger = jnp.sign(losses - losses[::-1])
    return jnp.maximum(0.0, margin - larger * (predicted - predicted[::-1]))


def predicted_overlap(score: Array, logits: Array, labels: Array, labelled: Array) -> Array:
    """Cross-entropy of a predicted Dice with the soft Dice that a training's own prediction reaches (Shi et al. 2024, arXiv 2405.00452, who regress it).

    Args:
      score: `[batch]`, whose sigmoid is the predicted Dice.
      logits: `[batch, classes, elements]`.
      labels, labelled: `[batch, elements]`.

    Returns:
      `[batch]`; zero where no structure is there.
    """
    present = present_foreground(labels, labelled, logits.shape[-2])
    reached = jax.lax.stop_gradient(1.0 - soft_dice(logits, labels, labelled, present))
    return jnp.where(present.any(-1), jax.nn.softplus(score) - reached * score, 0.0)


def contour_aware(outputs: Mapping[str, Array], labels: Array, contours: Array, labelled: Array, side_weight: Array) -> Array:
    """What a contour-aware network is trained on besides the classes (Chen et al. 2016, arXiv 1604.02677).

    It is the cross-entropy of the fused contours, and, by a weight that falls during training, those of all side outputs. As in the code of
    Li & Alstrøm 2020 the weight is not that of the fused contours, which are needed to the end. No class
    weighs more: dilated contours are three tenths of simulated tissue, and where they weighed three times as much, fewer objects were found.

    Args:
      outputs: of the network (`networks.dcan.dcan`): `side_objects` `[batch, sides, classes, *shape]`, `contour` `[batch, *shape]`,
        `side_contours` `[batch, sides, *shape]`.
      labels: `[batch, *shape]`, integers.
      contours: 1 on contours, else 0, `[batch, *shape]`, integers.
      labelled: which elements are labelled, `[batch, *shape]`, boolean.
      side_weight: see `auxiliary_weight`.

    Returns:
      `[batch]`, in nats, each cross-entropy a mean over an item's labelled elements.
    """
    batch, sides, classes = outputs["side_objects"].shape[:3]
    labels, contours, labelled = (part.reshape(batch, -1) for part in (labels.astype(jnp.int32), contours, labelled))
    at_sides = [jnp.repeat(part[:, None], sides, 1) for part in (labels, contours, labelled)]
    objects = cross_entropy(outputs["side_objects"].reshape(batch, sides, classes, -1), at_sides[0], at_sides[2])
    side_contours = binary_cross_entropy(outputs["side_contours"].reshape(batch, sides, -1), at_sides[1], at_sides[2])
    fused = binary_cross_entropy(outputs["contour"].reshape(batch, -1), contours, labelled)
    return fused + side_weight * (objects + side_contours).sum(-1)


def auxiliary_weight(step: Array, steps: Array) -> Array:
    """Weight of side outputs: one, a tenth after every 3/13 of the training, and none in the last thirteenth, as Li & Alstrøm 2020 have it.

    Args:
      step: steps done, integer.
      steps: steps in all, integer.
    """
    tenths = (13 * step) // (3 * steps)
    return jnp.asarray(_AUXILIARY_WEIGHTS, jnp.float32)[jnp.minimum(tenths, len(_AUXILIARY_WEIGHTS) - 1)]
