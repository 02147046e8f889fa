"""Strategies that ask for what the network is least sure of."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from jaxal.acquisition.mixing import augmented_loss, spread_of_classes
from jaxal.arrays import chances_of
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.types import Collected, Seen


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


def augmented(*, strength: float = 0.5) -> Strategy:
    """The loss to expect of the predicted class where features are moved as those of labelled images of that class differ (Chen et al. 2022, ECCV, p. 56, who train on such
    moves, too, and measure how far the gradients of moved images differ).

    Args:
      strength: of the moves; 0 asks for the least probable predictions.
    """
    if strength < 0:
        raise ValueError(f"strength is {strength:g}; it must not be negative.")

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        known = labelled.statistics
        return spread_of_classes(known["class_shares"], np.asarray(known["class_counts"]).argmax(-1))

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return augmented_loss(statistics["class_shares"], context.value, strength)

    return Strategy(Needs(pool=("class_shares",), labelled=("class_shares", "class_counts")), score, prepare)


def variation_ratio() -> Strategy:
    """Share of the members that do not vote for the most frequent class, mean over the image (Freeman 1965)."""
    return by_statistic("variation_ratio")


def mean_std() -> Strategy:
    """Standard deviation of the members' probabilities, mean over classes and image (Kampffmeyer et al. 2016)."""
    return by_statistic("mean_std")


def bald() -> Strategy:
    """Information that the label would give of the network, mean over the image (Houlsby et al. 2011, arXiv 1112.5745)."""
    return by_statistic("bald")


def gini() -> Strategy:
    """Chance that two draws from the prediction differ, mean over the image (Gini 1912)."""
    return by_statistic("gini")


def bvsb() -> Strategy:
    """Best versus second best: how close the second largest probability comes to the largest, as a ratio, mean over the image (Cai et al. 2021)."""
    return by_statistic("best_versus_second")


def variance() -> Strategy:
    """Variance of the members' probabilities, mean over classes and image (Yang et al. 2017, arXiv 1706.04737)."""
    return by_statistic("variance")


def vote_entropy() -> Strategy:
    """Entropy of the members' votes, mean over the image (Dagan & Engelson 1995; Mackowiak et al. 2018, arXiv 1810.09726)."""
    return by_statistic("vote_entropy")


def pairwise_kl() -> Strategy:
    """Divergence between any two members, mean over the image (Zhou et al. 2017, CVPR; with flips for members, between views)."""
    return by_statistic("pairwise_divergence")


def free_energy() -> Strategy:
    """How little any class answers to the image: minus the logarithm of the summed exponentials of the logits (Xie et al. 2022, arXiv 2112.01406)."""
    return by_statistic("free_energy")


def linear_deepfool() -> Strategy:
    """How near the features are to another class in the last layer, where DeepFool's first step is exact (Ducoffe & Precioso 2018, arXiv 1802.09841)."""
    return by_statistic("nearness_to_boundary")


def minority(*, threshold: float = 0.0) -> Strategy:
    """The predicted share of the class that fewest labels are of (Sadafi et al. 2019, MICCAI).

    Args:
      threshold: below it a share counts as none; the paper's rule is 0.2.
    """

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> int:
        return int(labelled_by_class(labelled).argmin())

    def score(statistics: Collected, context: Context) -> np.ndarray:
        share = statistics["class_shares"][:, context.value]
        return np.where(share > threshold, share, 0.0)

    return Strategy(Needs(pool=("class_shares",), labelled=("class_counts",)), score, prepare, compares=True)


def labelled_by_class(labelled: Seen) -> np.ndarray:
    """How much is labelled of each class, `[classes]`: elements, or images."""
    return np.asarray(labelled.statistics["class_counts"], np.float64).sum(0)


def cod() -> Strategy:
    """How far predictions moved since the last round's network, mean over the image; at random in the first round (Huang et al. 2021, arXiv 2107.14153).

    Half the squared distance between the two predictions is their variance times twice the number of classes, so cases rank the same.
    """

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return statistics["variance"] if context.round else chances_of(context.key, context.ids)

    return Strategy(Needs(pool=("variance",)), score, last_network="alone")


def student_teacher() -> Strategy:
    """How far the prediction of a training's last step is from that of its weights' average, mean over the image (as Peng et al. 2021, MICCAI, compare student and teacher).

    A fourth of the squared distance is the variance of the two times the number of classes, so cases rank the same.
    """
    return Strategy(Needs(pool=("variance",)), lambda statistics, context: statistics["variance"], last_network="student")


def deep_supervision() -> Strategy:
    """How far the network's side outputs are from its last one, by Dice; of images with masks (DSAL, Zhao et al. 2021, arXiv 2101.09057)."""
    return by_statistic("disagreement_with_sides")


def mc_iou() -> Strategy:
    """How little of a structure all members have in common (Shen et al. 2020, MICCAI); a structure that no member sees counts as agreed on."""
    return by_statistic("disagreement_on_intersection")


def pairwise_dice() -> Strategy:
    """One minus the Dice of two members, over all pairs (Roy et al. 2018, arXiv 1811.09800); a structure that no member sees counts as agreed on."""
    return by_statistic("disagreement_of_pairs")


def expected_dice() -> Strategy:
    """One minus the Dice that the prediction expects of itself, pooled over the image (Lüth et al. 2025, arXiv 2511.19183).

    A structure that is expected to have less than a two-thousandth of the image counts as though it had so much.
    """
    return by_statistic("expected_error_of_dice")


def neighbourhood() -> Strategy:
    """How far predictions differ from those next to them, mean over the region of interest (Aghdam et al. 2019, ICCV)."""
    return by_statistic("neighbourhood_disagreement")


def ripu() -> Strategy:
    """How mixed the predicted classes around an element are, times how unsure, mean over the region of interest (RIPU, Xie et al. 2022, arXiv 2111.12940)."""
    return by_statistic("impurity_times_entropy")
