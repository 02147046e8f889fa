"""Strategies that ask for what a small change of the image would change the prediction of; each case costs passes forwards and backwards."""

import numpy as np

from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.strategies.uncertain import by_statistic
from jaxal.types import Collected


def bim() -> Strategy:
    """Fewest steps of the basic iterative method until half of the prediction has changed, at most 20 of 0.05 (Kurakin et al. 2017, arXiv 1607.02533)."""
    return _smallest("steps_to_another_class")


def vat() -> Strategy:
    """How far the prediction moves where it changes fastest, within 0.05 of the image (virtual adversarial divergence, Miyato et al. 2018, arXiv 1704.03976, as Rangwani et al. 2021, ICCV, ask)."""
    return by_statistic("divergence_nearby")


def deepfool() -> Strategy:
    """Shortest change of the image that DeepFool finds for another class; for images that have one class (Ducoffe & Precioso 2018, arXiv 1802.09841)."""
    return _smallest("distance_to_another_class")


def _smallest(statistic: str) -> Strategy:
    def score(statistics: Collected, context: Context) -> np.ndarray:
        return -statistics[statistic]

    return Strategy(Needs(pool=(statistic,)), score)
