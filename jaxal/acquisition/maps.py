"""Scores of a label map as a whole: how far members agree on where a structure is, how sure one prediction of it is, and how it differs from what lies around.

Layout: classes first, elements last; class 0 is background.
"""

import functools
import math

import jax
import jax.numpy as jnp

from jaxal.acquisition.aggregate import masked_mean
from jaxal.acquisition.regions import window_sums
from jaxal.acquisition.uncertainty import probability_entropy
from jaxal.arrays import by_class

Array = jax.Array
_LEAST_SHARE = 5e-4  # of an image, that a structure counts as


def disagreement_on_intersection(votes: Array, members: Array, inside: Array) -> Array:
    """One minus what all members have in common over what any of them has, mean over the structures (MC IoU, Shen et al. 2020, MICCAI).

    A structure that no member sees is left out, because members agree on it; where none sees any, the disagreement is zero.

    Args:
      votes: members whose most probable class this is, `[classes, elements]`.
      members: how many there are, `[]`.
      inside: elements that count, `[elements]`, boolean.

    Returns:
      `[]`, from 0 to 1.
    """
    of_structures = jnp.where(inside, votes[1:], 0.0)
    common, any_ = (hit.sum(-1).astype(votes.dtype) for hit in (of_structures == members, of_structures > 0))
    return masked_mean(1.0 - common / jnp.maximum(any_, 1.0), any_ > 0)


def disagreement_of_pairs(votes: Array, members: Array, inside: Array) -> Array:
    """One minus the Dice of two members, pooled over all pairs and averaged over the structures: 1 - Σ v (v - 1) / ((T - 1) Σ v).

    The sums over pairs of twice the intersection and of both sizes are those of v (v - 1) and (T - 1) v over the elements, so no pair is looked at. Structures that
    no member sees are left out, as in `disagreement_on_intersection`.

    Args:
      votes, members, inside: likewise; two members at least.
    """
    of_structures = jnp.where(inside, votes[1:], 0.0)
    both, either = (part.sum(-1) for part in (of_structures * (of_structures - 1.0), of_structures))
    return masked_mean(1.0 - both / jnp.maximum((members - 1.0) * either, 1.0), either > 0)


def disagreement_with_sides(sides: Array, last: Array, inside: Array) -> Array:
    """One minus the Dice of each side output with the last one, mean over sides and structures (DSAL, Zhao et al. 2021, arXiv 2101.09057).

    Args:
      sides: logits of the outputs at several depths, `[sides, classes, elements]`.
      last: of the network, `[classes, elements]`.
      inside: `[elements]`, boolean.

    Returns:
      In [0, 1]; a structure that neither sees counts as agreed on.
    """
    classes = jnp.arange(1, len(last))[:, None]

    def structures(logits: Array) -> Array:
        best = logits.argmax(-2)[..., None, :]
        return (best == classes.reshape((1,) * (best.ndim - 2) + classes.shape)) & inside.reshape((1,) * (best.ndim - 1) + (-1,))

    own, others = structures(last), structures(sides)
    both = (others & own[None]).sum(-1)
    sizes = others.sum(-1) + own.sum(-1)[None]
    overlap = 2.0 * both.astype(jnp.float32) / jnp.maximum(sizes, 1).astype(jnp.float32)
    return jnp.where(sizes > 0, 1.0 - overlap, 0.0).mean()


def expected_error_of_dice(probability: Array, inside: Array) -> Array:
    """One minus the Dice to expect, Σ p² / Σ p, mean over the structures: the ratio of what draws from the prediction have in common and of their sizes.

    A structure that is expected to have less than a two-thousandth of the image counts as though it had so much, so that images which surely have none do not come first.

    Args:
      probability: `[classes, elements]`.
      inside: elements that count, `[elements]`, boolean.

    Returns:
      `[]`, from 0 to 1.
    """
    of_structures = jnp.where(inside, probability[1:], 0.0)
    unsure, sizes = (of_structures - jnp.square(of_structures)).sum(-1), of_structures.sum(-1)
    least = jnp.maximum(_LEAST_SHARE * inside.astype(jnp.float32).sum(), 1e-6)
    return (unsure / jnp.maximum(sizes, least)).mean()


def neighbourhood_disagreement(probability: Array, inside: Array, shape: tuple[int, ...], reach: int = 1) -> Array:
    """Entropy of the mean prediction around each element less the mean of the entropies there, `[elements]` (Aghdam et al. 2019, ICCV).

    Args:
      probability: `[classes, elements]`.
      inside: elements that belong to the image, `[elements]`, boolean; others are nobody's neighbours.
      shape: of the image, with product `elements`.
      reach: of the neighbourhood along each axis; 1 is a cube of three.
    """

    def around(values: Array) -> Array:
        return box_sum(jnp.where(inside, values, 0.0), shape, reach) / near

    near = jnp.maximum(box_sum(inside.astype(probability.dtype), shape, reach), 1.0)
    mean = jnp.stack([around(part) for part in by_class(probability)])
    return jnp.maximum(probability_entropy(mean) - around(probability_entropy(probability)), 0.0)


def box_sum(values: Array, shape: tuple[int, ...], reach: int) -> Array:
    """Sums over the box that reaches so many elements each way, `[elements]` to `[elements]`; beyond the image all is zero."""
    padded = jnp.pad(values.reshape(shape), reach)
    return window_sums(padded, (2 * reach + 1,) * len(shape))[tuple(map(slice, shape))].reshape(values.shape)


def impurity_times_entropy(probability: Array, inside: Array, shape: tuple[int, ...], reach: int = 1) -> Array:
    """How mixed the predicted classes are around an element, times how unsure the prediction is there, `[elements]` (RIPU, Xie et al. 2022, arXiv 2111.12940).

    Both are entropies as shares of log C: of the shares of the most probable classes in the box, and the mean over it.

    Args:
      probability, inside, shape, reach: as for `neighbourhood_disagreement`.
    """
    classes = len(probability)
    near = jnp.maximum(box_sum(inside.astype(probability.dtype), shape, reach), 1.0)
    best = probability.argmax(0)
    won = [box_sum(jnp.where(inside & (best == class_), 1.0, 0.0), shape, reach) / near for class_ in range(classes)]
    entropy = box_sum(jnp.where(inside, probability_entropy(probability), 0.0), shape, reach) / near
    return probability_entropy(jnp.stack(won)) * entropy / math.log(classes) ** 2


def free_energy(logits: Array) -> Array:
    """-log Σ exp(z) of each element, `[classes, elements]` to `[elements]`: high where nothing that was learnt answers (Xie et al. 2022, arXiv 2112.01406).

    A constant added to all logits moves it, so it is that of the logits as the network gives them.
    """
    return -jax.nn.logsumexp(logits, axis=0)


def nearness_to_boundary(logits: Array, lengths: Array) -> Array:
    """Minus the distance in the last layer's features to the nearest other class, `[classes, elements]` to `[elements]`: DeepFool for a linear layer, where one step
    is exact (Ducoffe & Precioso 2018, arXiv 1802.09841).

    Args:
      logits: of the elements.
      lengths: of the differences between the weights of two classes, `[classes, classes]`.
    """
    parts, best = by_class(logits), logits.argmax(0)
    largest = functools.reduce(jnp.maximum, parts)
    nearest = jnp.full_like(largest, jnp.inf)
    for class_, part in enumerate(parts):
        length = lengths[class_][best]
        # Two classes of the same weights are apart by their biases alone, and no step along the features crosses that.
        apart = jnp.where(length > 0, (largest - part) / jnp.where(length > 0, length, 1.0), jnp.inf)
        nearest = jnp.where(best == class_, nearest, jnp.minimum(nearest, apart))
    return -jnp.where(jnp.isinf(nearest), 1e30, nearest)
