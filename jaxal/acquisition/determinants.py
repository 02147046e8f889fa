"""Sets of large determinant: points that are worth much and unlike each other, or that tell much of a query set."""

from collections.abc import Callable

import numpy as np

Column = Callable[[int], np.ndarray]  # from a point's place to its similarities with all, [points]

RIDGE = 1e-3  # on the diagonal of cosines, so that they can be inverted
_LEAST = 1e-10  # a squared diagonal below it is rounding: such a point lies in the span of those that are chosen


class _Factor:
    """Cholesky's factor of the kernel of the chosen points, and what is left of every point once they are taken out (Chen et al. 2018, arXiv 1709.05135).

    Attributes:
      left: squared diagonal that each point would add, `[points]`; its logarithm is what the log-determinant grows by.
    """

    def __init__(self, diagonal: np.ndarray):
        self.left = np.array(diagonal, np.float64)
        self._rows: list[np.ndarray] = []

    def add(self, place: int, column: np.ndarray) -> None:
        """Takes a point in, of which the kernel's column is given, `[points]`."""
        known = sum((row * row[place] for row in self._rows), np.zeros(len(self.left)))
        row = (column - known) / np.sqrt(max(self.left[place], _LEAST))
        self._rows.append(row)
        self.left = np.maximum(self.left - np.square(row), 0.0)


def greedy_determinant(diagonal: np.ndarray, column: Column, available: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest set of a determinantal point process, greedily: each point multiplies the determinant by most (Chen et al. 2018, arXiv 1709.05135).

    Args:
      diagonal: of the kernel, `[points]`, not negative.
      column: of the kernel; a column is made only for points that are chosen.
      available: which points may be chosen, `[points]`, boolean.
      budget: points to choose, at most all that are available.

    Returns:
      Places in order, `[budget]`, and by what each multiplied the determinant, `[budget]`. Points in the span of those before them come last, those of the largest
      diagonal first. Ties go to the earlier point.
    """
    factor, left = _Factor(diagonal), np.array(available, bool)
    places, gains = np.zeros(budget, np.int64), np.zeros(budget)
    for step in range(budget):
        spanned = not (factor.left[left] > _LEAST).any()
        place = int(np.where(left, diagonal if spanned else factor.left, -np.inf).argmax())
        places[step], gains[step], left[place] = place, factor.left[place], False
        if not spanned:
            factor.add(place, column(place))
    return places, gains


def most_mutual_determinant(
    points: np.ndarray, queries: np.ndarray, available: np.ndarray, budget: int, eta: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Points that tell most of a query set, greedily by the log-determinant mutual information (Kothawade et al. 2021, arXiv 2107.00717):
    log |S_A| - log |S_A - η² S_AQ S_Q⁻¹ S_QA|.

    Two factors grow side by side, of the kernel and of what the query set leaves of it; S has the cosines, and a thousandth more on its diagonal so that both can
    be inverted.

    Args:
      points: unit vectors, `[points, dimensions]`.
      queries: unit vectors, `[queries, dimensions]`, at least one.
      available, budget: as for `greedy_determinant`.
      eta: how much being like the query set counts, from 0 to 1.

    Returns:
      Places in order, `[budget]`, and what each added, `[budget]`.
    """
    points = np.asarray(points, np.float64)
    alone, told, whitened = _factors(points, queries, eta)
    left, places, gains = np.array(available, bool), np.zeros(budget, np.int64), np.zeros(budget)
    for step in range(budget):
        gain = _gain(alone, told)
        place = int(np.where(left, gain, -np.inf).argmax())
        places[step], gains[step], left[place] = place, gain[place], False
        column = np.matmul(points, points[place])
        column[place] += RIDGE
        alone.add(place, column)
        told.add(place, column - eta**2 * np.matmul(whitened, whitened[place]))
    return places, gains


def mutual_determinant_of_each(points: np.ndarray, queries: np.ndarray, eta: float = 1.0) -> np.ndarray:
    """What each point by itself tells of a query set, `[points]`; see `most_mutual_determinant`."""
    return _gain(*_factors(np.asarray(points, np.float64), queries, eta)[:2])


def _factors(points: np.ndarray, queries: np.ndarray, eta: float) -> tuple[_Factor, _Factor, np.ndarray]:
    """Of the kernel, and of what the queries leave of it; and S_VQ L⁻ᵀ, whose products are what they take."""
    queries = np.asarray(queries, np.float64)
    of_queries = np.matmul(queries, queries.T) + RIDGE * np.eye(len(queries))
    whitened = np.linalg.solve(np.linalg.cholesky(of_queries), np.matmul(queries, points.T)).T
    diagonal = np.square(points).sum(-1) + RIDGE
    told = np.maximum(diagonal - eta**2 * np.square(whitened).sum(-1), RIDGE / 2)
    return _Factor(diagonal), _Factor(told), whitened


def _gain(alone: _Factor, told: _Factor) -> np.ndarray:
    return np.log(np.maximum(alone.left, _LEAST)) - np.log(np.maximum(told.left, _LEAST))
