"""From typical cases to unsure ones as labels come to cover the pool: dynamic coverage and margin mix (Mishal & Weinshall 2024, arXiv 2407.01804)."""

from collections.abc import Iterator

import numpy as np

LARGEST, RESOLUTION = 1.1, 0.05  # of radii, for unit vectors that lie around zero; the authors' code
_NUMBERS_AT_ONCE = 2**24  # distances that are computed at once


def competence(coverage: float, centre: float = 0.9, steepness: float = 30.0) -> float:
    """How much the network's own doubts count, from 0 to 1, where so large a share of all cases lies inside the labelled cases' balls."""
    return float((1.0 + np.exp(-steepness * (1.0 - centre))) / (1.0 + np.exp(-steepness * (coverage - centre))))


def size_of(points: np.ndarray) -> float:
    """By how much radii are measured: 1 for unit vectors that lie around zero, less for those of a network, which lie in a narrow cone."""
    return float(np.sqrt(np.square(points - points.mean(0)).sum(-1).mean()))


def pure_balls(points: np.ndarray, of: np.ndarray, centres: np.ndarray, of_centres: np.ndarray, purity: float) -> np.ndarray:
    """Radii of balls that hold at least such a share of points of the centre's own class, each found by bisection.

    Args:
      points: of all cases, the labelled among them, `[points, dimensions]`.
      of: their classes as far as they are known or predicted, `[points]`.
      centres: of the labelled cases, `[centres, dimensions]`.
      of_centres: their classes, `[centres]`.
      purity: the share.

    Returns:
      `[centres]`, to within `RESOLUTION` of what `size_of` says.
    """
    size, radii = size_of(points), []
    for first, far in _distances(centres, points):
        same = of[None] == of_centres[first : first + len(far), None]
        low, high = np.zeros(len(far)), np.full(len(far), LARGEST * size)
        while (high - low).max() > RESOLUTION * size:
            middle = (low + high) / 2
            inside = far < middle[:, None]
            is_pure = (inside & same).sum(-1) >= purity * np.maximum(inside.sum(-1), 1)
            low, high = np.where(is_pure, middle, low), np.where(is_pure, high, middle)
        radii.append((low + high) / 2)
    return np.concatenate(radii)


def inside_any(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Which points lie in one of some balls, `[points]`."""
    covered = np.zeros(len(points), bool)
    for first, far in _distances(centres, points):
        covered |= (far < radii[first : first + len(far), None]).any(0)
    return covered


def mixed(density: np.ndarray, unsure: np.ndarray, share: float) -> np.ndarray:
    """Doubt and density, each over its largest value, where doubt has this share."""
    dense = density / max(density.max(initial=0), 1)
    return share * unsure / max(unsure.max(initial=0.0), 1e-30) + (1.0 - share) * dense


def neighbours(points: np.ndarray, of: np.ndarray, radius: float) -> np.ndarray:
    """How many of some points `[few, dimensions]` lie within a radius of each point, `[points]`."""
    count = np.zeros(len(points), np.int64)
    for _, far in _distances(of, points):
        count += (far < radius).sum(0)
    return count


def dense_and_unsure(
    points: np.ndarray, covered: np.ndarray, radius: float, unsure: np.ndarray, share: float, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points one after the other, by their doubt and by how many uncovered points lie around them; what a chosen one covers counts no more.

    Args:
      points: of the pool, `[points, dimensions]`.
      covered: which are covered already, `[points]`.
      radius: of the balls of those that are chosen.
      unsure: the network's doubt of each, `[points]`, not negative.
      share: of the doubt, from 0 to 1.
      budget: how many are chosen.

    Returns:
      Their places and scores, in the order in which they are chosen.
    """
    covered, unsure, left = covered.copy(), unsure.astype(np.float64), np.ones(len(points), bool)
    density = neighbours(points, points[~covered], radius)
    places, scores = [], []
    for _ in range(budget):
        score = np.where(left, mixed(density, unsure, share), -np.inf)
        place = int(score.argmax())
        places.append(place)
        scores.append(score[place])
        ((_, far),) = _distances(points[place : place + 1], points)
        new = (far[0] < radius) & ~covered
        density -= neighbours(points, points[new], radius)
        covered |= new
        left[place], unsure[place] = False, 0.0
    return np.array(places, np.int64), np.array(scores)


def _distances(rows: np.ndarray, points: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Distances of rows to points, `[some, points]`, some rows at once, with the place of the first of them."""
    length, at_once = np.square(points).sum(-1), max(1, _NUMBERS_AT_ONCE // max(len(points), 1))
    for first in range(0, len(rows), at_once):
        some = rows[first : first + at_once]
        squares = np.square(some).sum(-1)[:, None] + length[None] - 2.0 * np.matmul(some, points.T)
        yield first, np.sqrt(np.maximum(squares, 0.0))
