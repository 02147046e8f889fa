"""From scores to a query under a budget."""

from typing import NamedTuple

import numpy as np


class Query(NamedTuple):
    """What is to be labelled next, best first.

    Attributes:
      units: the chosen units' names.
      scores: theirs; high means "label me".
      gap: score of the last unit chosen minus that of the first one left, or None when none was left. Where it is smaller
        than the tolerance to which scores are computed, another machine may choose another unit.
    """

    units: tuple[str, ...]
    scores: tuple[float, ...]
    gap: float | None


def top_k(units: list[str], scores: np.ndarray, budget: int) -> Query:
    """Takes the `budget` units of highest score; ties go to the unit whose name comes first.

    Args:
      units: distinct names.
      scores: `[units]`, finite.
      budget: units to take; all of them when there are fewer.

    Raises:
      ValueError: a score is NaN or infinite, or the numbers of units and scores differ.
    """
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(units),):
        raise ValueError(f"{len(units)} units but scores of shape {scores.shape}.")
    if not np.isfinite(scores).all():
        worst = [unit for unit, score in zip(units, scores, strict=True) if not np.isfinite(score)]
        raise ValueError(
            f"{len(worst)} units have a score that is not finite, {worst[0]} first; the model or its input is broken."
        )
    order = np.lexsort((np.asarray(units), -scores))
    chosen, rest = order[:budget], order[budget:]
    gap = float(scores[chosen[-1]] - scores[rest[0]]) if len(chosen) and len(rest) else None
    return Query(tuple(units[i] for i in chosen), tuple(float(scores[i]) for i in chosen), gap)
