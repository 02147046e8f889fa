"""What labels would tell of the last layer's weights, by its Fisher information: BAIT, and the influence of a label on an evaluation set.

The last layer's information of an image is φφᵀ ⊗ (diag p - ppᵀ), with features φ and predicted probabilities p. Everything is computed in double precision on the
host, because inverses are updated many times.
"""

from typing import NamedTuple

import numpy as np

Weights = tuple[float, float]  # what a labelled and what a chosen image counts


class Seen(NamedTuple):
    """Images as the last layer sees them.

    Attributes:
      features: with a one behind them for the bias, `[images, features]`.
      probability: `[images, classes]`.
    """

    features: np.ndarray
    probability: np.ndarray


def bait(
    pool: Seen, labelled: Seen, available: np.ndarray, budget: int, weights: Weights, ridge: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Images that leave least of the pool's information unexplained: greedily twice as many, of which half are dropped again (BAIT, Ash et al. 2021,
    arXiv 2106.09675).

    The trace tr((λ I + Σ_labelled and chosen F)⁻¹ Σ_all F) is made small. What a choice changes is known for all images at once, because products with the inverse
    are updated instead of the inverse being made anew: a choice costs images x features x classes² operations and memory is that of (features x classes)² numbers.

    Args:
      pool: all images that may be chosen.
      labelled: images that have labels.
      available: which may be chosen, `[images]`, boolean.
      budget: images to choose, at most all that are available.
      weights: what a labelled and a chosen image count in the information.
      ridge: λ.

    Returns:
      Places in the order in which they were chosen, `[budget]`, and how much less each left of the trace, `[budget]`.
    """
    return _both_ways(_Full(pool, labelled, weights, ridge), available, budget)


def bait_of_best_class(
    pool: Seen, labelled: Seen, available: np.ndarray, budget: int, weights: Weights, ridge: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """The same where only the most probable class against all others counts, p(1 - p)φφᵀ: memory is that of features² numbers (Huseljic et al. 2024,
    arXiv 2404.08981).

    Args and results are those of `bait`; a choice costs images x features operations.
    """
    return _both_ways(_Binary(pool, labelled, weights, ridge), available, budget)


def _both_ways(state: "_Full | _Binary", available: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Adds twice as many as are asked for, each the best then; then drops those that matter least."""
    left = np.array(available, bool)
    gains: dict[int, float] = {}
    for _ in range(min(2 * budget, int(left.sum()))):
        values = np.where(left, state.gains(1.0), -np.inf)
        place = int(values.argmax())
        gains[place], left[place] = float(values[place]), False
        state.change(place, 1.0)
    while len(gains) > budget:
        places = np.array(list(gains))
        lost = state.gains(-1.0)[places]
        place = int(places[lost.argmin()])
        del gains[place]
        state.change(place, -1.0)
    return np.array(list(gains), np.int64), np.array(list(gains.values()))


class _Binary:
    """The inverse A of the information, what it makes of every image's features, q = φᵀAφ and t = φᵀAFAφ, and F, the information of all images."""

    def __init__(self, pool: Seen, labelled: Seen, weights: Weights, ridge: float):
        self._features, best = np.asarray(pool.features, np.float64), np.asarray(pool.probability, np.float64).max(-1)
        known, sure = np.asarray(labelled.features, np.float64), np.asarray(labelled.probability, np.float64).max(-1)
        own, of_known = best * (1.0 - best), sure * (1.0 - sure)
        information = np.matmul(known.T * of_known, known)
        self._all = np.matmul(self._features.T * own, self._features) + information
        self._weight = own * weights[1]
        self._inverse = np.linalg.inv(ridge * np.eye(self._features.shape[1]) + weights[0] * information)
        moved = np.matmul(self._features, self._inverse)
        self._q = (moved * self._features).sum(-1)
        self._t = (np.matmul(moved, self._all) * moved).sum(-1)

    def gains(self, sign: float) -> np.ndarray:
        """How much smaller the trace gets with each image, or how much larger without it."""
        return self._weight * self._t / (1.0 + sign * self._weight * self._q)

    def change(self, place: int, sign: float) -> None:
        """Adds an image, or takes one away."""
        a = np.matmul(self._inverse, self._features[place])
        s = sign * self._weight[place] / (1.0 + sign * self._weight[place] * self._q[place])
        information = np.matmul(self._all, a)
        sides = np.matmul(self._features, np.stack([a, np.matmul(self._inverse, information)], -1))
        c, d = sides[:, 0], sides[:, 1]
        self._t += -2.0 * s * c * d + s**2 * np.dot(a, information) * np.square(c)
        self._q -= s * np.square(c)
        self._inverse -= s * np.outer(a, a)


class _Full:
    """The same with V = φ ⊗ R, RRᵀ = diag p - ppᵀ, in place of a vector: Q = VᵀAV and T = VᵀAFAV, `[images, classes, classes]`."""

    def __init__(self, pool: Seen, labelled: Seen, weights: Weights, ridge: float):
        self._features = np.asarray(pool.features, np.float64)
        self._roots = np.sqrt(weights[1]) * _roots(pool.probability)
        known = _information(labelled)
        self._all = _information(pool) + known
        self._inverse = np.linalg.inv(ridge * np.eye(len(known)) + weights[0] * known)
        self._q, self._t = (
            self._of_all(matrix) for matrix in (self._inverse, np.matmul(np.matmul(self._inverse, self._all), self._inverse))
        )

    def _of_all(self, matrix: np.ndarray) -> np.ndarray:
        """VᵀMV of every image."""
        images, features = self._features.shape
        classes = self._roots.shape[1]
        blocks = matrix.reshape(classes, features, classes, features)
        found = np.zeros((images, classes, classes))
        for first in range(classes):
            for second in range(classes):
                moved = np.matmul(self._features, blocks[first, :, second])
                found[:, first, second] = (moved * self._features).sum(-1)
        return np.matmul(np.matmul(np.swapaxes(self._roots, 1, 2), found), self._roots)

    def _sides(self, vectors: np.ndarray) -> np.ndarray:
        """VᵀX of every image, with X `[classes x features, classes]`."""
        classes = self._roots.shape[1]
        moved = np.matmul(self._features, vectors.reshape(classes, -1, classes))  # [classes, images, classes]
        return np.matmul(np.swapaxes(self._roots, 1, 2), np.moveaxis(moved, 0, 1))

    def gains(self, sign: float) -> np.ndarray:
        """See `_Binary`."""
        return np.trace(np.linalg.solve(np.eye(self._q.shape[1]) + sign * self._q, self._t), axis1=1, axis2=2)

    def change(self, place: int, sign: float) -> None:
        """See `_Binary`."""
        v = (self._roots[place][:, None, :] * self._features[place][None, :, None]).reshape(len(self._inverse), -1)
        u = np.matmul(self._inverse, v)
        k = sign * np.linalg.inv(np.eye(self._q.shape[1]) + sign * self._q[place])
        information = np.matmul(self._all, u)
        c, d = self._sides(u), self._sides(np.matmul(self._inverse, information))
        ck = np.matmul(c, k)
        crossed, own = np.matmul(ck, np.swapaxes(d, 1, 2)), np.matmul(ck, np.matmul(u.T, information))
        self._t += np.matmul(own, np.swapaxes(ck, 1, 2)) - crossed - np.swapaxes(crossed, 1, 2)
        self._q -= np.matmul(ck, np.swapaxes(c, 1, 2))
        self._inverse -= np.matmul(np.matmul(u, k), u.T)


def _roots(probability: np.ndarray) -> np.ndarray:
    """R with RRᵀ = diag p - ppᵀ, `[images, classes, classes]`: diag √p - p √pᵀ."""
    p = np.asarray(probability, np.float64)
    root = np.sqrt(p)
    return root[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * root[:, None, :]


def _information(seen: Seen) -> np.ndarray:
    """Σ φφᵀ ⊗ (diag p - ppᵀ), classes first, `[classes x features, classes x features]`."""
    features, p = np.asarray(seen.features, np.float64), np.asarray(seen.probability, np.float64)
    classes, count = p.shape[1], features.shape[1]
    found = np.zeros((classes, count, classes, count))
    for first in range(classes):
        for second in range(classes):
            spread = p[:, first] * ((first == second) - p[:, second])
            found[first, :, second] = np.matmul(features.T * spread, features)
    return found.reshape(classes * count, classes * count)


def influence(pool: Seen, labelled: Seen, evaluation: Seen, labels: np.ndarray, ridge: float = 1e-2) -> np.ndarray:
    """How much a label of each image, as it is predicted, would lower the loss of an evaluation set, `[images]` (ISAL, Liu et al. 2021,
    ICCV, p. 9274), in the last layer, where the inverse of the Hessian is exact.

    A small step that follows the label's gradient g_x, of the size that one labelled image has, changes the evaluation loss by -g_xᵀ H⁻¹ ḡ to first order.

    Args:
      pool: the images.
      labelled: images that have labels; H is their mean information, and `ridge` on its diagonal.
      evaluation: images of the evaluation set.
      labels: their classes, `[images]` integers.
      ridge: above zero, because few labels leave directions without information.
    """
    classes, count = pool.probability.shape[1], pool.features.shape[1]
    hessian = _information(labelled) / max(len(labelled.features), 1) + ridge * np.eye(classes * count)
    error = np.asarray(evaluation.probability, np.float64) - np.eye(classes)[labels]
    gradient = np.matmul(error.T, np.asarray(evaluation.features, np.float64)) / len(labels)  # [classes, features]
    direction = np.linalg.solve(hessian, gradient.reshape(-1)).reshape(classes, count)
    probability = np.asarray(pool.probability, np.float64)
    hallucinated = probability - np.eye(classes)[probability.argmax(-1)]
    return (np.matmul(np.asarray(pool.features, np.float64), direction.T) * hallucinated).sum(-1)
