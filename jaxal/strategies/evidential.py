"""Strategies that read how much evidence a network has; it must be trained with `--evidence`."""

from jaxal.strategies.composed import then
from jaxal.strategies.contract import Needs, Strategy


def distribution_uncertainty() -> Strategy:
    """What the class would tell of the distribution over classes, mean over the image (evidential mutual information, Xie et al. 2023, arXiv 2302.13824)."""
    return _of_evidence(0)


def duc(*, factor: float = 2.0) -> Strategy:
    """Of the cases whose distribution over classes is least known, those whose class would stay most uncertain (DUC, Xie et al. 2023, arXiv 2302.13824).

    Args:
      factor: cases that are left after the first step, times the size of the query.
    """
    return then(_of_evidence(0), _of_evidence(1), factor=factor)


def _of_evidence(place: int) -> Strategy:
    """Of the two uncertainties one is the score: 0 that of the distribution, 1 that of the data."""
    name = "evidential_uncertainties"
    return Strategy(Needs(pool=(name,)), lambda statistics, context: statistics[name][place], of_evidence=True)
