"""Rules for what to label first, when nothing is labelled: they read features alone, such as a network has before it has seen a label."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.spatial.distance import cdist

from jaxal.acquisition.coverage import filled_up

Array = jax.Array

_RATE, _SHARPNESS = 1e-3, 0.07  # of ActiveFT's code
_ROWS_AT_ONCE = 1024


def free_vectors(key: Array, points: np.ndarray, count: int, steps: int = 300) -> Array:
    """Unit vectors that come close to many points each and stay away from each other, by gradient descent (ActiveFT, Xie et al. 2023, arXiv 2303.14382).

    Every point pulls the vector that is nearest to it; this vector is pushed from all others. The formula is that of the authors' code: with cosines s over
    0.07, the mean over the points of log(exp(s⁺) + Σ_k exp(s_k)) - s⁺, in which s_k, the nearest vector's with all vectors, itself among them, pushes that vector alone.

    Args:
      key: of the points at which the vectors start.
      points: unit vectors, `[points, dimensions]`.
      count: vectors, at most the points.
      steps: of Adam.

    Returns:
      `[count, dimensions]`.
    """
    start = points[np.asarray(jax.random.choice(key, len(points), (count,), replace=False))]
    whole = filled_up(points)
    share = np.where(np.arange(len(whole)) < len(points), np.float32(1.0 / len(points)), np.float32(0.0))
    return _descended(whole, share, start, steps)


@functools.partial(jax.jit, static_argnames="steps")
def _descended(points: Array, share: Array, start: Array, steps: int) -> Array:
    optimizer = optax.adam(_RATE)

    def step(_: int, state: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
        vectors, memory = state
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimizer.update(jax.grad(distance_left)(vectors, points, share), memory)
            return optax.apply_updates(vectors, updates), memory

    vectors, _ = jax.lax.fori_loop(0, steps, step, (start, optimizer.init(start)))
    return _unit(vectors)


def distance_left(vectors: Array, points: Array, share: Array) -> Array:
    """What `free_vectors` makes small; vectors are divided by their lengths first, and each point has a share of the mean, `[points]`."""
    vectors = _unit(vectors)
    to_points = jnp.matmul(points, vectors.T, precision="highest") / _SHARPNESS
    nearest = to_points.argmax(1)
    pull = jnp.take_along_axis(to_points, nearest[:, None], 1)[:, 0]
    push = jnp.matmul(vectors, jax.lax.stop_gradient(vectors).T, precision="highest") / _SHARPNESS
    of_nearest = jax.nn.logsumexp(push, axis=1)[nearest]
    return (share * (jnp.logaddexp(pull, of_nearest) - pull)).sum()


def _unit(vectors: Array) -> Array:
    return vectors / jnp.sqrt(jnp.maximum(jnp.square(vectors).sum(-1, keepdims=True), 1e-20))


def nearest_unused(vectors: np.ndarray, points: np.ndarray) -> np.ndarray:
    """To one vector after the other the place of the nearest point that none before it has, `[vectors]`."""
    chosen: list[int] = []
    for row in cdist(np.asarray(vectors, np.float64), np.asarray(points, np.float64), "sqeuclidean"):
        row[chosen] = np.inf
        chosen.append(int(row.argmin()))
    return np.array(chosen, np.int64)


def density_apart(points: np.ndarray, of: np.ndarray, neighbours: int = 5, weight: float = 0.5, rounds: int = 10) -> np.ndarray:
    """The point of each cluster that is dense and far from the other clusters' choices (USL, Wang et al. 2022, arXiv 2110.03006).

    Dense is one over the mean distance to the nearest neighbours; from it the sum over the other clusters' present choices of one over the squared distance is
    taken, by a weight, and all choose anew.

    Args:
      points: `[points, dimensions]`.
      of: each one's cluster, `[points]`, all of which have points.
      neighbours: of the density, at most.
      weight: of what is near to others.
      rounds: of choosing anew, after a first one by density alone.

    Returns:
      Places, in the order of the clusters.
    """
    density = 1.0 / (_mean_distance(points, neighbours) + 1e-12)
    members = [np.flatnonzero(of == cluster) for cluster in range(of.max() + 1)]
    chosen = np.array([places[density[places].argmax()] for places in members])
    for _ in range(rounds):
        push = 1.0 / np.maximum(cdist(points, points[chosen], "sqeuclidean"), 1e-12)
        push[np.arange(len(points)), of] = 0.0  # one's own cluster chooses anew
        worth = density - weight * push.sum(1)
        chosen = np.array([places[worth[places].argmax()] for places in members])
    return chosen


def _mean_distance(points: np.ndarray, neighbours: int) -> np.ndarray:
    """To the nearest other points, `[points]`; zero for a point alone."""
    neighbours, means = min(neighbours, len(points) - 1), []
    if neighbours < 1:
        return np.zeros(len(points))
    for start in range(0, len(points), _ROWS_AT_ONCE):
        distances = cdist(points[start : start + _ROWS_AT_ONCE], points)
        nearest = np.partition(distances, neighbours, axis=1)[:, : neighbours + 1]  # itself among them
        means.append(nearest.sum(1) / neighbours)
    return np.concatenate(means)


def medoids(points: np.ndarray, count: int, rounds: int = 30) -> np.ndarray:
    """Points from which all have least far to go: of all sets the one that Wasserstein distance puts nearest to the pool, if it may weigh its points (Mahmood et al. 2022,
    arXiv 2106.02968, who solve an integer programme).

    One after the other is taken that shortens the way most; then every group of points takes its own middle, and groups form anew, until nothing changes.

    Args:
      points: `[points, dimensions]`; memory grows with the square of their number.
      count: points to choose, at most all.
      rounds: of taking middles, at most.

    Returns:
      Places in the order in which they were taken first.
    """
    distances = cdist(points, points)
    chosen, nearest = np.zeros(count, np.int64), np.full(len(points), np.inf)
    for step in range(count):
        left = np.minimum(nearest[None, :], distances).sum(1)
        left[chosen[:step]] = np.inf
        chosen[step] = left.argmin()
        nearest = np.minimum(nearest, distances[chosen[step]])
    for _ in range(rounds):
        before, of = chosen.copy(), distances[chosen].argmin(0)
        of[chosen] = np.arange(count)  # twins stay with themselves
        for group in range(count):
            places = np.flatnonzero(of == group)
            chosen[group] = places[distances[np.ix_(places, places)].sum(0).argmin()]
        if (chosen == before).all():
            break
    return chosen


def medoid(points: np.ndarray) -> int:
    """The place of the point with least distance to all together."""
    blocks = range(0, len(points), _ROWS_AT_ONCE)
    return int(np.concatenate([cdist(points[start : start + _ROWS_AT_ONCE], points).sum(1) for start in blocks]).argmin())
