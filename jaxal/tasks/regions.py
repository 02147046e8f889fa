"""What the pass computes of label maps: the region of interest, its regions, and windows of largest information gain."""

import math
from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import aggregate, information, maps, uncertainty
from jaxal.acquisition.regions import Windows
from jaxal.arrays import count, rows_of
from jaxal.assessment import metrics
from jaxal.scoring import windows
from jaxal.scoring.statistics import EvaluationSample, MemberRegions, Regions, StatisticsConfig, View
from jaxal.scoring.windows import GainStep
from jaxal.task_kind import Statistic

Array = jax.Array


def region_of_interest(view: View, config: StatisticsConfig) -> Array:
    """The elements around what the network takes for foreground, `[elements]`."""
    probability = uncertainty.mean_probability(view.single)
    sizes = (config.roi_dilate, config.roi_threshold, config.roi_at_least)
    return aggregate.region_of_interest(probability, view.inside, view.shape, *sizes)


def masked_entropy(view: View, config: StatisticsConfig) -> Array:
    """Entropy as a share of its maximum log C, averaged over the region of interest: in [0, 1], whatever the volume."""
    scaled = uncertainty.entropy(view.single) / np.log(view.logits.shape[0])
    return aggregate.masked_mean(scaled, region_of_interest(view, config))


def _over_predicted(view: View, config: StatisticsConfig, mask: Array) -> Array:
    predicted = (uncertainty.mean_probability(view.single).argmax(0) > 0) & view.inside
    return aggregate.sum_over_size(uncertainty.entropy(view.single), mask, predicted.sum(), config.roi_at_least)


def scaled_entropy(view: View, config: StatisticsConfig) -> Array:
    """Entropy of the whole image over the number of elements predicted as foreground, in nats."""
    return _over_predicted(view, config, view.inside)


def scaled_region_entropy(view: View, config: StatisticsConfig) -> Array:
    """Entropy of the region of interest over the number of elements predicted as foreground, in nats."""
    return _over_predicted(view, config, region_of_interest(view, config))


def foreground(view: View, config: StatisticsConfig) -> Array:
    """Share of the elements that the network takes for foreground, in expectation: never zero, so that every case has a chance."""
    return aggregate.masked_mean(1.0 - uncertainty.mean_probability(view.single)[0], view.inside)


def of_votes(measure: Callable[[Array, Array, Array], Array]) -> Statistic:
    """A measure of `maps` that reads the members' votes."""
    return Statistic(lambda view, config: measure(view.members.votes, view.members.members, view.inside), needs_members=True)


def around_elements(measure: Callable[[Array, Array, tuple[int, ...]], Array]) -> Statistic:
    """The mean over the region of interest of a measure of `maps` that looks at what lies around each element."""

    def evaluate(view: View, config: StatisticsConfig) -> Array:
        values = measure(uncertainty.mean_probability(view.single), view.inside, view.shape)
        return aggregate.masked_mean(values, region_of_interest(view, config))

    return Statistic(evaluate)


def expected_error_of_dice(view: View, config: StatisticsConfig) -> Array:
    """One minus the Dice that the prediction expects of itself."""
    return maps.expected_error_of_dice(uncertainty.mean_probability(view.single), view.inside)


def regions(view: View, config: StatisticsConfig) -> Regions:
    """The label-gradient moments of the regions of interest; one region plays the part that one image has in classification."""
    return _regions(view, config)[0]


def _regions(view: View, config: StatisticsConfig) -> tuple[Regions, Array]:
    """The regions of interest, and their places among all blocks of the image."""
    probability = uncertainty.mean_probability(view.single)
    chosen, used = _blocks_of_interest(view, config)
    candidates = information.region_candidates(view.features, probability, view.inside, view.shape, config.region_size, chosen)
    return Regions(candidates, used), chosen


def _blocks_of_interest(view: View, config: StatisticsConfig) -> tuple[Array, Array]:
    """Places of the blocks that have most of the region of interest, `[regions]`, and which of them have any."""
    interest = region_of_interest(view, config).astype(jnp.float32)
    share = information.block_mean(interest, view.inside, view.shape, config.region_size)
    largest, chosen = aggregate.largest(share, min(config.regions_at_most, share.size))
    return chosen, largest > 0


def member_regions(view: View, config: StatisticsConfig) -> MemberRegions:
    """What each member predicts of the regions of interest."""
    assert view.member_probability is not None
    chosen, used = _blocks_of_interest(view, config)
    return MemberRegions(jnp.moveaxis(view.member_probability[..., chosen], -1, 0), used)


def windows_of_gain(variant: information.Variant) -> Statistic:
    """The windows of largest mean information gain (Mehta et al. 2022, arXiv 2208.00974), of which the strategy gives a `GainStep`.

    The gain is that of each block of the image that meets the region of interest, and all elements of a block share it: of windows that are
    blocks it is exact. Elsewhere there is nothing to gain, and less than nothing counts as nothing.
    """

    def evaluate(view: View, config: StatisticsConfig) -> Windows:
        step: GainStep = view.given
        found, chosen = _regions(view, config)
        gain = information.information_gain(found.candidates, step.reference, variant, step.rate, long_steps=True)
        of_block = jnp.where(found.used, jnp.maximum(gain.mass + gain.gain, 0.0), 0.0)
        counts = [-(-length // config.region_size) for length in view.shape]
        blocks = jnp.zeros(math.prod(counts)).at[chosen].set(of_block).reshape(counts)
        for axis, length in enumerate(view.shape):
            blocks = jax.lax.slice_in_dim(jnp.repeat(blocks, config.region_size, axis), 0, length, axis=axis)
        return windows.best_by(blocks.reshape(-1), view, config)

    return Statistic(evaluate, needs_features=True, given=...)


def evaluation_sample(view: View, config: StatisticsConfig) -> EvaluationSample:
    """Draws elements without replacement, half near the true structure, weighted so that means over the volume stay unbiased."""
    classes = jnp.arange(view.logits.shape[0], dtype=view.label.dtype)
    near = aggregate.dilate_mask((view.label > 0) & view.labelled, view.shape, config.roi_dilate) & view.inside
    draw = jax.random.uniform(view.key, near.shape)
    per_stratum = config.evaluation_samples // 2
    features, weights = [], []
    for stratum in (near, view.inside & ~near):
        value, index = aggregate.largest(jnp.where(stratum, draw, -1.0), min(per_stratum, draw.size))
        drawn = value >= 0
        features.append(rows_of(view.features, index).T)
        weights.append(jnp.where(drawn, count(stratum) / count(drawn), 0.0))
    counts = ((view.label[None, :] == classes[:, None]) & (near & view.labelled)[None, :]).sum(-1)
    return EvaluationSample(jnp.concatenate(features, -1), jnp.concatenate(weights), counts)


WINDOWS_OF_GAIN = {f"windows_{variant}": windows_of_gain(variant) for variant in get_args(information.Variant)}


def error(view: View, config: StatisticsConfig) -> Array:
    """One minus the mean Dice of the structures that are there or predicted, over the labelled elements; zero where there is none."""
    counts = metrics.overlap(view.logits, view.label, view.labelled)
    found, added, missed = (jnp.asarray(part[1:], jnp.float32) for part in counts)
    both, size = 2.0 * found, 2.0 * found + added + missed
    return aggregate.masked_mean(1.0 - both / jnp.maximum(size, 1.0), size > 0)


OF_MAPS = {
    "error": Statistic(error),
    "masked_entropy": Statistic(masked_entropy),
    "scaled_entropy": Statistic(scaled_entropy),
    "scaled_region_entropy": Statistic(scaled_region_entropy),
    "disagreement_on_intersection": of_votes(maps.disagreement_on_intersection),
    "disagreement_of_pairs": of_votes(maps.disagreement_of_pairs),
    "expected_error_of_dice": Statistic(expected_error_of_dice),
    "neighbourhood_disagreement": around_elements(maps.neighbourhood_disagreement),
    "impurity_times_entropy": around_elements(maps.impurity_times_entropy),
    "foreground": Statistic(foreground),
    "regions": Statistic(regions, needs_features=True),
    "member_regions": Statistic(member_regions, needs_members=True, needs_each_member=True),
    "evaluation_sample": Statistic(evaluation_sample, needs_features=True),
}
