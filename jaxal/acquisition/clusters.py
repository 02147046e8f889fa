"""Clusters of embeddings: weighted k-means, the points that stand for clusters, and how typical a point is of its own."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition.selection import farthest_first

Array = jax.Array

_NUMBERS_AT_ONCE = 2**24  # distances that are computed at once


class Clusters(NamedTuple):
    """A partition of points.

    Attributes:
      centres: weighted means of the points, `[clusters, dimensions]`.
      of: each point's cluster, `[points]`.
      weight: of the points in each cluster, `[clusters]`.
    """

    centres: np.ndarray
    of: np.ndarray
    weight: np.ndarray


def k_means(key: Array, points: np.ndarray, weight: np.ndarray, clusters: int, iterations: int = 30) -> Clusters:
    """Lloyd's algorithm on weighted points, from a start as k-means++ draws it (Lloyd 1982; Arthur & Vassilvitskii 2007).

    A cluster that lost all its weight takes the point farthest from its own centre. Points are first moved so that their mean is zero, because distances come from
    products. Sizes are filled up, so that few programs are compiled.

    Args:
      key: of the draws.
      points: `[points, dimensions]`.
      weight: of each, `[points]`, not negative; where all are zero, all count alike.
      clusters: how many, at most the points.
      iterations: at most.
    """
    count, weight = len(points), np.asarray(weight, np.float32)
    weight = weight if weight.sum() > 0 else np.ones(count, np.float32)
    middle = np.average(points, axis=0, weights=weight).astype(np.float32)
    rows, slots = 2 ** (count - 1).bit_length(), 2 ** (clusters - 1).bit_length()
    whole = np.pad(np.asarray(points, np.float32) - middle, ((0, rows - count), (0, 0)))
    found = _lloyd(key, whole, np.pad(weight, (0, rows - count)), np.arange(slots) < clusters, np.int32(iterations))
    centres, of = np.asarray(found[0])[:clusters] + middle, np.asarray(found[1])[:count]
    return Clusters(centres, of, np.bincount(of, weight, clusters))


@jax.jit
def _lloyd(key: Array, points: Array, weight: Array, used: Array, iterations: Array) -> tuple[Array, Array]:
    """Centres and each point's place among them; centres that are not used are never anybody's."""

    def assigned(centres: Array) -> tuple[Array, Array]:
        squares = jnp.where(used, jnp.square(centres).sum(-1), jnp.inf)

        def of_point(point: Array) -> tuple[Array, Array]:
            distances = squares - 2.0 * jnp.matmul(centres, point, precision="highest")
            return distances.argmin(), jnp.maximum(distances.min() + jnp.square(point).sum(), 0.0)

        return jax.lax.map(of_point, points, batch_size=max(1, min(len(points), _NUMBERS_AT_ONCE // len(used))))

    def step(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        centres, of, distance, _, done = state
        heavy = jax.ops.segment_sum(weight, of, len(used))
        summed = jax.ops.segment_sum(points * weight[:, None], of, len(used))
        empty = used & (heavy <= 0)
        # The first empty cluster takes the farthest point, the second the next, and so on.
        _, far = jax.lax.top_k(jnp.where(weight > 0, distance, -1.0), min(len(used), len(points)))
        rank = jnp.clip(jnp.cumsum(empty) - 1, 0, len(far) - 1)
        means = summed / jnp.where(heavy > 0, heavy, 1.0)[:, None]
        centres = jnp.where(empty[:, None], points[far[rank]], means)
        now, distance = assigned(centres)
        return centres, now, distance, (now != of).any(), done + 1

    centres = points[_start(key, points, weight, len(used))]
    of, distance = assigned(centres)
    state = (centres, of, distance, jnp.array(True), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(lambda state: state[3] & (state[4] < iterations), step, state)[:2]


def _start(key: Array, points: Array, weight: Array, clusters: int) -> Array:
    """Places drawn as k-means++ draws them: by weight, then by weight times the squared distance to the nearest drawn."""

    def squares(place: Array) -> Array:
        return jnp.square(points - points[place][None]).sum(-1)

    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(clusters))
    may_be_drawn = jnp.where(weight > 0, 1.0, -1.0)
    first, _ = farthest_first(may_be_drawn, lambda place: may_be_drawn, 1, keys[:1], weight)
    nearest = jnp.where(weight > 0, squares(first[0]), -1.0).at[first[0]].set(-1.0)
    return jnp.concatenate([first, farthest_first(nearest, squares, clusters - 1, keys[1:], weight)[0]])


def nearest_to_centres(points: np.ndarray, available: np.ndarray, clusters: Clusters, budget: int) -> np.ndarray:
    """For each cluster, the heaviest first, the nearest point to its centre that is not taken yet.

    Args:
      points: `[points, dimensions]`.
      available: which may be taken, `[points]`, boolean.
      clusters: of them or of some of them.
      budget: points to choose, at most all that are available; once every cluster had its turn, it is the heaviest one's again.

    Returns:
      Places in order, `[budget]`. Ties go to the earlier cluster and the earlier point.
    """
    order = np.argsort(-clusters.weight, kind="stable")
    left, places = np.array(available, bool), np.zeros(budget, np.int64)
    for step in range(budget):
        centre = clusters.centres[order[step % len(order)]]
        places[step] = np.where(left, np.square(points - centre).sum(-1), np.inf).argmin()
        left[places[step]] = False
    return places


def _squares_in_blocks(points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places, some at once, with the squared distances of their points to all, `[places, points]`."""
    points = np.asarray(points, np.float64)
    lengths, at_once = np.square(points).sum(-1), max(1, _NUMBERS_AT_ONCE // len(points))
    for start in range(0, len(points), at_once):
        rows = np.arange(start, min(start + at_once, len(points)))
        yield rows, np.maximum(lengths[rows, None] + lengths - 2.0 * np.matmul(points[rows], points.T), 0.0)


def typicality(points: np.ndarray, neighbours: int = 20) -> np.ndarray:
    """How close a point's nearest neighbours are, 1 / (mean squared distance + 1e-5) (Hacohen et al. 2022, arXiv 2202.02794, whose code squares).

    Args:
      points: of one cluster, `[points, dimensions]`.
      neighbours: at most, and at most half of the points; a point alone has typicality zero.

    Returns:
      `[points]`.
    """
    neighbours = min(neighbours, len(points) // 2)
    if neighbours == 0:
        return np.zeros(len(points))
    means = []
    for rows, squares in _squares_in_blocks(points):
        np.put_along_axis(squares, rows[:, None], np.inf, axis=1)  # the nearest of all is the point itself
        means.append(np.partition(squares, neighbours - 1, axis=1)[:, :neighbours].mean(1))
    return 1.0 / (np.concatenate(means) + 1e-5)


def reachability(points: np.ndarray, neighbours: int = 10) -> np.ndarray:
    """Mean distance at which a point reaches its nearest neighbours, none of which is nearer than its own neighbours are (Breunig et al. 2000, SIGMOD).

    Args:
      points: `[points, dimensions]`; memory grows with the square of their number.
      neighbours: at most all others; the distance to the last of them is a point's own reach.

    Returns:
      `[points]`; small where it is dense, zero for a point alone.
    """
    neighbours = min(neighbours, len(points) - 1)
    if neighbours < 1:
        return np.zeros(len(points))
    distances = np.concatenate([np.sqrt(squares) for _, squares in _squares_in_blocks(points)])
    np.fill_diagonal(distances, np.inf)
    nearest = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    own = np.take_along_axis(distances, nearest, 1)
    return np.maximum(own, own.max(1)[nearest]).mean(1)


def information_density(points: np.ndarray) -> np.ndarray:
    """How close all points are to each, mean of 1 / (1 + distance), `[points]` (Settles & Craven 2008, EMNLP).

    Args:
      points: `[points, dimensions]`.
    """
    return np.concatenate([(1.0 / (1.0 + np.sqrt(squares))).mean(1) for _, squares in _squares_in_blocks(points)])


def most_typical(
    points: np.ndarray, of: np.ndarray, labelled: np.ndarray, budget: int, neighbours: int = 20, more_than: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """From cluster after cluster the most typical point without a label: first clusters with fewest labels, of those the largest (Hacohen et al. 2022,
    arXiv 2202.02794).

    Args:
      points: `[points, dimensions]`.
      of: each one's cluster, `[points]`.
      labelled: which have a label already, `[points]`, boolean.
      budget: points to choose, at most all that have none.
      neighbours: see `typicality`; they are counted among the cluster's points without a label.
      more_than: points a cluster must have to take part. Smaller ones come once the others are used up.

    Returns:
      Places in order, `[budget]`, and their typicality, `[budget]`.
    """
    sizes, labels = np.bincount(of), np.bincount(of[labelled], minlength=of.max() + 1)
    order = np.lexsort((-sizes, labels))
    left = ~np.asarray(labelled, bool)
    chosen: list[int] = []
    scores: list[float] = []
    for part in (order[sizes[order] > more_than], order[sizes[order] <= more_than]):
        while len(chosen) < budget and left[np.isin(of, part)].any():
            for cluster in part:
                places = np.flatnonzero(left & (of == cluster))
                if len(places) == 0 or len(chosen) == budget:
                    continue
                values = typicality(points[places], neighbours)
                chosen.append(int(places[values.argmax()]))
                scores.append(float(values.max()))
                left[chosen[-1]] = False
    return np.array(chosen, np.int64), np.array(scores)


def agglomerated(points: np.ndarray, clusters: int) -> np.ndarray:
    """Each point's cluster where the two clusters of least mean distance are joined again and again (average linkage), `[points]`.

    Args:
      points: `[points, dimensions]`; memory grows with the square of their number.
      clusters: that are left, at most the points.
    """
    from sklearn.cluster import AgglomerativeClustering

    if len(points) < 2:
        return np.zeros(len(points), np.int64)
    return AgglomerativeClustering(clusters, linkage="average").fit_predict(np.asarray(points, np.float64))


def round_robin(of: np.ndarray, draws: np.ndarray, budget: int) -> np.ndarray:
    """A drawn point from each cluster, the smallest first, and again from each that has any left (Citovsky et al. 2021, arXiv 2107.14263).

    Args:
      of: each point's cluster, `[points]`.
      draws: random numbers, `[points]`; of a cluster the point of the largest is taken first.
      budget: points to choose, at most all.

    Returns:
      Places in order, `[budget]`.
    """
    sizes, rank = np.bincount(of), np.zeros(len(of), np.int64)
    for cluster in np.flatnonzero(sizes):
        places = np.flatnonzero(of == cluster)
        rank[places[np.argsort(-draws[places], kind="stable")]] = np.arange(len(places))
    return np.lexsort((of, sizes[of], rank))[:budget]
