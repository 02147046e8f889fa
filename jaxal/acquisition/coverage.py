"""Greedy coverage: points that together stand for as much of the pool as they can.

A point covers others as far as it is like them, by a kernel of the angle between their directions. What a set covers, Σ_j w_j max_{i in set} k(i, j), grows by
less with every point, so the greedy choice comes within 1 - 1/e of the best set (Nemhauser et al. 1978). For that reason, too, a point's gain of an earlier step
is an upper bound of what it gains now, and only few gains are computed anew in a step (lazy evaluation, Minoux 1978).
"""

import functools
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Kernel = Literal["gaussian", "ball", "cosine", "opposite"]

_NUMBERS_HELD = 2**28  # what all pairs are like is kept if they are no more than these, one GiB
_NUMBERS_AT_ONCE = 2**24  # pairs that are looked at at once
_ROWS_FIRST, _ROWS_THEN = 16, 128  # gains that are computed anew at once: the first in a step, and all further ones


def unit_rows(points: np.ndarray | Array) -> np.ndarray:
    """Rows divided by their lengths, `[points, dimensions]`; one without length stays as it is, at the distance 1 of all others."""
    return np.asarray(_unit(filled_up(points)))[: len(points)]


@jax.jit
def _unit(points: Array) -> Array:
    length = jnp.linalg.norm(points, axis=-1, keepdims=True)
    return points / jnp.where(length > 0, length, 1.0)


def dissimilarity(square: Array, kernel: Kernel, width: Array | float) -> Array:
    """How much points are unlike, from 0 to 1, by their squared distance; leading axes are free.

    Unlikeness is what is kept, because features of a network lie in a narrow cone: one minus it would be one, but for the last bits.

    Args:
      square: not negative.
      kernel: `gaussian`, 1 - exp(-d² / width²); `ball`, 0 where the distance is below the width and else 1; `cosine`, (1 - cosine) / 2 of unit vectors, which has
        no width; `opposite`, one minus that, so that points stand for what is unlike them.
      width: above zero.
    """
    if kernel == "gaussian":
        return -jnp.expm1(-square / jnp.square(width))
    if kernel == "ball":
        return (square >= jnp.square(width)).astype(square.dtype)
    unlike = jnp.minimum(square / 4, 1.0)
    return unlike if kernel == "cosine" else 1.0 - unlike


class Cover(NamedTuple):
    """What is to be covered, and how points cover one another.

    Attributes:
      points: unit vectors, `[points, dimensions]`.
      weight: what covering each point is worth, `[points]`, not negative.
      uncovered: how much of each is left to cover, `[points]`, from 0 to 1; see `uncovered_by`.
      kernel, width: see `dissimilarity`.
      floor: how much of each no other can cover, `[points]`, from 0 to 1; nothing when left out. Where it is 1 - η max_q s(q, j), what is covered is the mutual
        information FLVMI with a query set (Kothawade et al. 2021, arXiv 2107.00717).
    """

    points: np.ndarray
    weight: np.ndarray
    uncovered: np.ndarray
    kernel: Kernel
    width: float = 1.0
    floor: np.ndarray | None = None


def gains_of_first(cover: Cover) -> np.ndarray:
    """What each point would add by itself, Σ_j w_j max(k(i, j) - m_j, 0), `[points]`."""
    points, weight, uncovered, width, floor = _filled(cover)
    gains = [_gains(points, places, weight, uncovered, width, floor, cover.kernel) for places in _blocks(len(points))]
    return np.concatenate(gains)[: len(cover.points)]


def greedy_coverage(
    cover: Cover, available: np.ndarray, budget: int, bounds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses again and again the point that covers most of what is not covered: argmax_i Σ_j w_j max(k(i, j) - m_j, 0), with m_j the largest k(s, j) so far.

    With weights of one this is MaxHerding (Bae et al. 2024, arXiv 2407.12212) for the Gaussian kernel, ProbCover (Yehuda et al. 2022, arXiv 2205.11320) for the
    ball, and facility location for the cosine; with uncertainties for weights it is UHerding (Bae et al. 2025, arXiv 2412.20644).

    Args:
      cover: what is to be covered.
      available: which points may be chosen, `[points]`, boolean.
      budget: points to choose, at most all that are available.
      bounds: no less than what each point would add by itself, `[points]`, such as `gains_of_first`, if they are known.

    Returns:
      Places of the chosen points in order, `[budget]`, and what each added, `[budget]`. Ties go to the earlier point. Memory grows with the number of points
      where their pairs do not fit into one GiB.
    """
    count = len(cover.points)
    whole = _filled(cover)
    uncovered, missing = whole[2], len(whole[0]) - count
    # Where the first gains are known, so few may be computed anew that all pairs are not worth their time.
    hold = len(whole[0]) ** 2 <= _NUMBERS_HELD and (bounds is None or budget * _ROWS_THEN >= count)
    gains_of, row_of = _gains_and_rows(*whole[:2], cover.kernel, *whole[3:], hold)
    fresh = np.full(len(whole[0]), bounds is None)
    if bounds is None:
        bounds = np.concatenate([gains_of(places, uncovered) for places in _blocks(len(fresh))])[:count]
    bounds = np.pad(np.where(available, bounds, -np.inf), (0, missing), constant_values=-np.inf)
    chosen, gains = np.zeros(budget, np.int64), np.zeros(budget, np.float32)
    for step in range(budget):
        place = _best(bounds, fresh, gains_of, uncovered)
        chosen[step], gains[step] = place, bounds[place]
        uncovered = _left_with(uncovered, row_of(place))
        bounds[place], fresh[:] = -np.inf, False
    return chosen, gains


def _filled(cover: Cover) -> tuple[Array, Array, Array, Array, Array]:
    """Points, weights, what is left to cover, the width and the floor, filled up with points of no weight to a size that is compiled for many rounds."""
    missing = _rounded(len(cover.points)) - len(cover.points)
    least = np.zeros(len(cover.points)) if cover.floor is None else cover.floor
    columns = (cover.weight, cover.uncovered, least)
    weight, uncovered, floor = (jnp.asarray(np.pad(values, (0, missing)), jnp.float32) for values in columns)
    return _moved(cover.points), weight, uncovered, jnp.float32(cover.width), floor


def _gains_and_rows(
    points: Array, weight: Array, kernel: Kernel, width: Array, floor: Array, hold: bool
) -> tuple[Callable[[np.ndarray, Array], Array], Callable[[int], Array]]:
    """Functions for the gains of some places and for how unlike one is all others: of numbers that are held, or made anew each time."""
    unlike_of = functools.partial(_unlike, points, width=width, floor=floor, kernel=kernel)
    if hold:
        held = jnp.concatenate([unlike_of(places) for places in _blocks(len(points))])
        return lambda places, uncovered: _gains_held(held, places, weight, uncovered), lambda place: held[place]
    gains = functools.partial(_gains, points, width=width, floor=floor, kernel=kernel)
    return lambda places, uncovered: gains(places, weight, uncovered), lambda place: unlike_of(np.array([place]))[0]


def _best(bounds: np.ndarray, fresh: np.ndarray, gains_of: Callable[[np.ndarray, Array], Array], uncovered: Array) -> int:
    """The place of the largest gain. Bounds that may hide a larger one, or an equal one of an earlier place, are computed anew first."""
    rows = _ROWS_FIRST
    while True:
        known = np.where(fresh, bounds, -np.inf)
        place = int(known.argmax())
        stale = np.where(fresh, -np.inf, bounds)
        hidden = (stale > known[place]) | ((stale == known[place]) & (np.arange(len(stale)) < place))
        if not hidden.any() or bounds.max() <= 0:
            return int(bounds.argmax()) if bounds.max() <= 0 else place
        places = _largest(stale, min(rows, int((stale > -np.inf).sum())))
        padded = np.pad(places, (0, rows - len(places)), mode="edge")  # few sizes are compiled
        bounds[places] = np.asarray(gains_of(padded, uncovered))[: len(places)]
        fresh[places] = True
        rows = _ROWS_THEN


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest values in order; of equal ones the earlier."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:count]


def _blocks(count: int) -> Iterator[np.ndarray]:
    """All places, as many at once as are computed at once."""
    at_once = max(1, min(count, _NUMBERS_AT_ONCE // count))
    while count % at_once:
        at_once -= 1
    return iter(np.arange(count).reshape(-1, at_once))


def _rounded(count: int) -> int:
    """A size that is compiled for many rounds: at most an eighth more than a number of points."""
    step = max(8, 2 ** max(0, count.bit_length() - 4))
    return -(-count // step) * step


@functools.partial(jax.jit, static_argnames="kernel")
def _unlike(points: Array, places: Array, width: Array, floor: Array, kernel: Kernel) -> Array:
    """How much some points are unlike all, and by the floor at least, `[places, points]`."""
    return jnp.maximum(dissimilarity(_squares(points, places), kernel, width), floor[None])


def _squares(points: Array, places: Array) -> Array:
    """Squared distances of some points to all, `[places, points]`; of a point to itself zero, whatever rounding makes of it."""
    length, products = jnp.square(points).sum(-1), jnp.matmul(points[places], points.T, precision="highest")
    squares = jnp.maximum(length[places][:, None] + length[None] - 2.0 * products, 0.0)
    return jnp.where(places[:, None] == jnp.arange(len(points))[None], 0.0, squares)


@functools.partial(jax.jit, static_argnames="kernel")
def _gains(points: Array, places: Array, weight: Array, uncovered: Array, width: Array, floor: Array, kernel: Kernel) -> Array:
    return _gain(_unlike(points, places, width, floor, kernel), weight, uncovered)


@jax.jit
def _gains_held(held: Array, places: Array, weight: Array, uncovered: Array) -> Array:
    return _gain(held[places], weight, uncovered)


def _gain(unlike: Array, weight: Array, uncovered: Array) -> Array:
    """What points that are so much unlike each of the pool would add, `[places, points]` to `[places]`."""
    return (weight[None] * jnp.maximum(uncovered[None] - unlike, 0.0)).sum(-1)


@jax.jit
def _left_with(uncovered: Array, row: Array) -> Array:
    return jnp.minimum(uncovered, row)


def uncovered_by(points: np.ndarray, others: np.ndarray, kernel: Kernel, width: float = 1.0) -> np.ndarray:
    """How much of each point others leave to cover: the smallest unlikeness, `[points]`, of unit vectors `[points, dimensions]` and `[others, dimensions]`, one
    of the others at a time; 1 without any.
    """
    if not len(others):
        return np.ones(len(points), np.float32)
    missing = _rounded(len(others)) - len(others)
    repeated = np.concatenate([others, np.repeat(others[:1], missing, axis=0)])  # which leaves the smallest as it is
    left = _uncovered_by(filled_up(points), np.int32(len(points)), repeated, jnp.float32(width), kernel)
    return np.asarray(left)[: len(points)]


@functools.partial(jax.jit, static_argnames="kernel")
def _uncovered_by(points: Array, count: Array, others: Array, width: Array, kernel: Kernel) -> Array:
    middle = points.sum(0) / count.astype(points.dtype)
    points = points - middle[None]
    length = jnp.square(points).sum(-1)

    def with_one(uncovered: Array, other: Array) -> tuple[Array, None]:
        other = other - middle
        square = jnp.maximum(length + jnp.square(other).sum() - 2.0 * jnp.matmul(points, other, precision="highest"), 0.0)
        return jnp.minimum(uncovered, dissimilarity(square, kernel, width)), None

    return jax.lax.scan(with_one, jnp.ones(len(points)), others)[0]


def pure_radius(points: np.ndarray, classes: np.ndarray, purity: float = 0.95) -> float:
    """The largest radius of which so many balls are pure: all points inside belong to the class of the one in the middle (Yehuda et al. 2022,
    arXiv 2205.11320).

    The paper tries radii one after the other. But a ball is pure exactly if its radius is at most the distance to the nearest point of another class, so the
    radius is a quantile of those distances.

    Args:
      points: `[points, dimensions]`, unit vectors.
      classes: of each, integers, `[points]`.
      purity: share of the balls, above zero.

    Returns:
      Between 0 and 2; 2 where there is but one class.
    """
    count, whole = len(points), _moved(points)
    of_class = jnp.asarray(np.pad(classes, (0, len(whole) - count), constant_values=-1), jnp.int32)
    nearest = np.concatenate([_distance_to_others(whole, of_class, places) for places in _blocks(len(whole))])[:count]
    radius = float(np.sort(nearest)[int(np.floor((1.0 - purity) * count + 1e-9))])
    return radius * (1 - 1e-6)  # rounding must not let the nearest of another class into the ball


def filled_up(points: np.ndarray | Array) -> np.ndarray:
    """Points and rows of zeros, to a size that is compiled for many rounds."""
    points = np.asarray(points, np.float32)
    return np.pad(points, ((0, _rounded(len(points)) - len(points)), (0, 0)))


def _moved(points: np.ndarray) -> Array:
    """Points around their mean, so that distances which come from products are exact, and rows that nobody reads, to a size that is compiled for many rounds."""
    return _around_mean(filled_up(points), np.int32(len(points)))


@jax.jit
def _around_mean(points: Array, count: Array) -> Array:
    return points - (points.sum(0) / count.astype(points.dtype))[None]


@jax.jit
def _distance_to_others(points: Array, classes: Array, places: Array) -> Array:
    """Distance of some unit vectors to the nearest of another class, `[places]`; 2, the largest there is, where all are of one."""
    is_other = (classes[places][:, None] != classes[None]) & (classes >= 0)[None]
    return jnp.sqrt(jnp.where(is_other, _squares(points, places), 4.0).min(-1))


def least_distance(points: np.ndarray) -> float | None:
    """The smallest distance above zero between two of some unit vectors, `[points, dimensions]`; None where there is none."""
    points = np.asarray(points, np.float64)
    nearest = np.inf
    for place, point in enumerate(points[:-1]):
        distances = np.sqrt(np.square(points[place + 1 :] - point).sum(-1))
        nearest = min(nearest, distances[distances > 1e-6].min(initial=np.inf))  # twins differ by rounding alone
    return None if np.isinf(nearest) else float(nearest)
