"""Which of several methods is better over several tasks: mean ranks, and how far apart two must lie (Demšar 2006, JMLR 7)."""

from collections.abc import Sequence

import numpy as np
import scipy  # loads `scipy.stats`, which takes half a second, where it is used first


def mean_ranks(results: np.ndarray) -> np.ndarray:
    """Mean rank of each method over the tasks, the best first, `[tasks, methods] -> [methods]`; equal ones share the mean of their ranks."""
    return scipy.stats.rankdata(-np.asarray(results, np.float64), axis=1).mean(0)


def critical_difference(methods: int, tasks: int, level: float = 0.05) -> float:
    """Distance of two mean ranks above which they differ, by Nemenyi's test.

    Args:
      methods: that are compared, two at least.
      tasks: independent ones, over which ranks are averaged.
      level: chance that any two of equal methods are held for different.
    """
    quantile = scipy.stats.studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * tasks)))


def friedman(results: np.ndarray) -> float:
    """Chance of ranks as unlike as these if all methods were equal, `[tasks, methods]`; of three methods at least."""
    return float(scipy.stats.friedmanchisquare(*np.asarray(results, np.float64).T).pvalue)


def not_told_apart(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """The largest groups of neighbours within a critical difference: places of the first and last, where `ranks` rise."""
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(place for place, other in enumerate(ranks) if other - rank <= difference)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups
