"""Strategies that ask for what the network is least sure of."""

from collections.abc import Mapping
from typing import Literal

from jaxal.strategies.contract import Needs, Strategy


def by_statistic(name: str) -> Strategy:
    """The statistic of this name is the score."""
    return Strategy(Needs(pool=(name,)), lambda statistics, context: statistics[name])


def least_confidence() -> Strategy:
    """One minus the probability of the most probable class, mean over the image (Lewis & Gale 1994)."""
    return by_statistic("least_confidence")


def margin() -> Strategy:
    """How close the two most probable classes are, mean over the image (Scheffer et al. 2001)."""
    return by_statistic("margin")


def entropy() -> Strategy:
    """Entropy of the prediction, mean over the image (Shannon 1948)."""
    return by_statistic("entropy")


def masked_entropy() -> Strategy:
    """Entropy as a share of its maximum, mean over the region of interest (Danaee et al. 2026, arXiv 2605.01706)."""
    return by_statistic("masked_entropy")


SCALED: Mapping[str, str] = {"image": "scaled_entropy", "region": "scaled_region_entropy"}  # statistics by what is summed


def scaled_entropy(*, over: Literal["image", "region"] = "image") -> Strategy:
    """Total entropy over the predicted structure's volume: a small structure drawn too large does not hide behind its size.

    The whole image is the default because a network that draws a structure wrong is unsure beside the region that it drew, too: on the one cohort and seed
    on which both were looked at first, the whole image's sum went along with the cases' Dice best (rank correlation -0.78 against -0.41).

    Args:
      over: entropy of the whole image, or of the region of interest alone.
    """
    return by_statistic(SCALED[over])


def mc_entropy() -> Strategy:
    """Entropy of the members' mean prediction, mean over the image (Gal et al. 2017, arXiv 1703.02910)."""
    return by_statistic("mc_entropy")


def variation_ratio() -> Strategy:
    """Share of the members that do not vote for the most frequent class, mean over the image (Freeman 1965)."""
    return by_statistic("variation_ratio")


def mean_std() -> Strategy:
    """Standard deviation of the members' probabilities, mean over classes and image (Kampffmeyer et al. 2016)."""
    return by_statistic("mean_std")


def bald() -> Strategy:
    """Information that the label would give of the network, mean over the image (Houlsby et al. 2011, arXiv 1112.5745)."""
    return by_statistic("bald")
