"""Sets that are distributed as the pool is, by maximum mean discrepancy (Gretton et al. 2012, JMLR 13)."""

import numpy as np
from scipy.spatial.distance import cdist

_ROWS_AT_ONCE = 1024


def least_discrepancy(points: np.ndarray, labelled: np.ndarray, budget: int, width: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Chooses again and again the point with which all that is labelled or chosen is distributed most like the points (as Hwang et al. 2022, arXiv 2208.06604, choose).

    The squared discrepancy of a set S from all points is the mean of k over pairs of S, less twice the mean of k between S and all, plus what no choice changes,
    with k(x, y) = exp(-|x - y|² / width²).

    Args:
      points: `[points, dimensions]`.
      labelled: what is in the set already, `[labelled, dimensions]`, perhaps none.
      budget: points to choose, at most all.
      width: of the kernel, above zero.

    Returns:
      Places in order, `[budget]`, and by how much each made the squared discrepancy smaller, `[budget]`; below zero where any point makes it larger.
      The first, where nothing is labelled, is counted from the mean of k over pairs of all.
    """

    def alike(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.exp(-cdist(some, others, "sqeuclidean") / width**2)

    blocks = range(0, len(points), _ROWS_AT_ONCE)
    to_all = np.concatenate([alike(points[start : start + _ROWS_AT_ONCE], points).mean(1) for start in blocks])
    to_set = alike(points, labelled).sum(1) if len(labelled) else np.zeros(len(points))
    inside = alike(labelled, labelled).sum() if len(labelled) else 0.0
    of_set = alike(labelled, points).mean(1).sum() if len(labelled) else 0.0
    count, whole = len(labelled), to_all.mean()
    chosen, gains = np.zeros(budget, np.int64), np.zeros(budget)
    before = whole + (inside / count**2 - 2 * of_set / count if count else 0.0)
    left = np.ones(len(points), bool)
    for step in range(budget):
        discrepancy = whole + (inside + 2 * to_set + 1.0) / (count + 1) ** 2 - 2 * (of_set + to_all) / (count + 1)
        place = int(np.where(left, discrepancy, np.inf).argmin())
        chosen[step], gains[step] = place, before - discrepancy[place]
        before, count = discrepancy[place], count + 1
        inside, of_set = inside + 2 * to_set[place] + 1.0, of_set + to_all[place]
        to_set = to_set + alike(points, points[place][None])[:, 0]
        left[place] = False
    return chosen, gains
