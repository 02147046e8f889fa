"""Whom a strategy's scores put first, whether rightly, and why not: is the network sure where it is wrong?"""

from collections.abc import Sequence

import numpy as np
import scipy  # loads `scipy.stats`, which takes half a second, where it is used first

from jaxal.assessment.metrics import one_vs_rest_auc

FEWEST = 3  # cases of which a rank correlation says anything


def outranking(scores: np.ndarray, groups: Sequence[str]) -> dict[str, float]:
    """By group, the chance that a case of it scores above one of another group; ties count half. Nothing of a single group.

    It is the area under the ROC curve of the group by the score (Mann & Whitney 1947): a half where the score does not tell the groups apart.

    Args:
      scores: `[cases]`, high means "label me".
      groups: of the cases.
    """
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return {}
    chances = one_vs_rest_auc(np.repeat(np.asarray(scores, np.float64)[:, None], len(names), 1), place)
    return {str(name): float(chance) for name, chance in zip(names, chances, strict=True)}


def rank_correlation(scores: np.ndarray, success: np.ndarray) -> float | None:
    """Spearman's rank correlation of scores with how well the cases fare, both `[cases]`: -1 where the worst case is always asked for first.

    Cases whose success is NaN are left out. None where fewer than three are left, or all scores or all successes are equal.
    """
    known = ~np.isnan(success)
    first, second = np.asarray(scores, np.float64)[known], np.asarray(success, np.float64)[known]
    if len(first) < FEWEST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(scipy.stats.spearmanr(first, second).statistic)


def volume_ratios(predicted: np.ndarray, true: np.ndarray, groups: Sequence[str]) -> dict[str, float | None]:
    """By group, what is predicted of a structure over what is there, of all its cases together; None where nothing is there.

    Args:
      predicted, true: elements of the structure in each case, `[cases]`.
      groups: of the cases.
    """
    of, found = np.asarray(groups), {}
    for name in np.unique(of):
        there = float(np.asarray(true)[of == name].sum())
        found[str(name)] = float(np.asarray(predicted)[of == name].sum()) / there if there else None
    return found
