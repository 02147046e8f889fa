"""Rules that choose one after the other, each with an eye on those before: unlike them, and unsure."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition.selection import farthest_first
from jaxal.arrays import gumbels

Array = jax.Array


def ranked_batch(points: np.ndarray, scores: np.ndarray, labelled: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """The point of largest α (1 - s) + (1 - α) u, with s = 1 / (1 + d) of the distance d to the nearest that is labelled or chosen, and α the share of points
    without a label (Cardoso et al. 2017, Information Sciences 379).

    Args:
      points: `[points, dimensions]`.
      scores: how unsure the network is of each, `[points]`.
      labelled: `[labelled, dimensions]`; without any, the first is the point of smallest mean distance to all.
      budget: points to choose, at most all.

    Returns:
      Places in order, `[budget]`, and what each was chosen for, `[budget]`. Ties go to the earlier point.
    """
    points, labelled = np.asarray(points, np.float64), np.asarray(labelled, np.float64)
    nearest = np.full(len(points), np.inf)
    for other in labelled:
        nearest = np.minimum(nearest, np.linalg.norm(points - other, axis=-1))
    left, places, values = np.ones(len(points), bool), np.zeros(budget, np.int64), np.zeros(budget)
    for step in range(budget):
        known = len(labelled) + step
        if known == 0:
            value = -np.array([np.linalg.norm(points - point, axis=-1).mean() for point in points])
        else:
            share = (len(points) - step) / (len(points) + len(labelled))
            value = share * (1.0 - 1.0 / (1.0 + nearest)) + (1.0 - share) * scores
        places[step] = np.where(left, value, -np.inf).argmax()
        values[step], left[places[step]] = value[places[step]], False
        nearest = np.minimum(nearest, np.linalg.norm(points - points[places[step]], axis=-1))
    return places, values


def falcun(
    key: Array, probability: np.ndarray, margin: np.ndarray, budget: int, gamma: float = 10.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws with chances ∝ (u + r)^γ, with u how small the margin is, and r how far the prediction is from the nearest one chosen, both from 0 to 1
    (Falcun, Gilhuber et al. 2024, ECML PKDD).

    Args:
      key: of the draws.
      probability: `[points, classes]`.
      margin: one minus the lead of the best class, `[points]`.
      budget: points to choose, at most all.
      gamma: large: close to the largest.

    Returns:
      Places in order, `[budget]`, and u + r of each as it was drawn, `[budget]`.
    """
    left, nearest = np.ones(len(margin), bool), np.asarray(margin, np.float64)
    places, values = np.zeros(budget, np.int64), np.zeros(budget)
    for step in range(budget):
        low, high = nearest[left].min(), nearest[left].max()
        relevance = margin + (np.clip(nearest - low, 0.0, None) / (high - low) if high > low else 0.0)
        noise = np.asarray(gumbels(jax.random.fold_in(key, step), len(margin)), np.float64)
        chance = gamma * np.log(np.maximum(relevance, 1e-300)) + noise
        places[step] = np.where(left, chance, -np.inf).argmax()
        values[step], left[places[step]] = relevance[places[step]], False
        distance = np.abs(probability - probability[places[step]]).sum(-1)
        nearest = distance if step == 0 else np.minimum(nearest, distance)
    return places, values


@functools.partial(jax.jit, static_argnames="budget")
def farthest_contexts(mixtures: Array, nearest: Array, budget: int) -> tuple[Array, Array]:
    """Again and again the image whose classes are confused most unlike those of all that are known or chosen (CDAL, Agarwal et al. 2020, arXiv 2008.05723).

    Args:
      mixtures: see `contextual_distances`.
      nearest: distances to what is known already, `[images]`; below zero for an image that may not be chosen.
      budget: images to choose, at most all that may be.

    Returns:
      Places in order, `[budget]`, and the distances that they had, `[budget]`. Ties go to the earlier image.
    """
    return farthest_first(nearest, lambda place: contextual_distances(mixtures, mixtures[place]), budget)


FARTHEST = 28.0  # of two images without a class in common; a divergence of probabilities that are 1e-12 at least stays below


@jax.jit
def contextual_distances(mixtures: Array, other: Array) -> Array:
    """How differently images see the classes that both of them have: half the symmetric divergence of their mixtures, mean over those classes, `[images]` (Agarwal et
    al. 2020, whose code takes the mean and not the sum).

    Args:
      mixtures: of each image and predicted class the mean prediction, weighted by entropy, `[images, classes, classes]`; zeros where the class is not predicted.
      other: of one image, `[classes, classes]`. Two images without a class in common are `FARTHEST` apart.
    """
    other, floor = other[None], 1e-12
    shared = (mixtures.sum(-1) > 0) & (other.sum(-1) > 0)
    logarithm = jnp.log(jnp.maximum(mixtures, floor)) - jnp.log(jnp.maximum(other, floor))
    divergence = jnp.where(shared, 0.5 * ((mixtures - other) * logarithm).sum(-1), 0.0)
    count = shared.sum(-1).astype(mixtures.dtype)
    return jnp.where(count > 0, divergence.sum(-1) / jnp.maximum(count, 1.0), FARTHEST)
