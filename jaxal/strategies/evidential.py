"""Strategies that read how much evidence a network has; it must be trained with `--evidence`."""

import jax
import numpy as np

from jaxal.acquisition.selection import Query, top_k
from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.types import Collected

Array = jax.Array


def distribution_uncertainty() -> Strategy:
    """What the class would tell of the distribution over classes, mean over the image (evidential mutual information, Xie et al. 2023, arXiv 2302.13824)."""
    return Strategy(
        Needs(pool=("evidential_uncertainties",)),
        lambda statistics, context: statistics["evidential_uncertainties"][0],
        of_evidence=True,
    )


def duc(*, factor: float = 2.0) -> Strategy:
    """Of the cases whose distribution over classes is least known, those whose class would stay most uncertain (DUC, Xie et al. 2023, arXiv 2302.13824).

    Args:
      factor: cases that are left after the first step, times the size of the query.
    """
    if factor < 1:
        raise ValueError(f"factor is {factor:g}; of fewer than the query nothing can be chosen.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        of_data = statistics["evidential_uncertainties"][1]
        kept = set(top_k(context.ids, scores, round(factor * budget)).units)
        left = [place for place, id_ in enumerate(context.ids) if id_ in kept]
        units = top_k([context.ids[place] for place in left], of_data[left], budget).units
        score = dict(zip(context.ids, scores, strict=True))
        return Query(units, tuple(float(score[unit]) for unit in units), None)

    return distribution_uncertainty()._replace(select=select)
