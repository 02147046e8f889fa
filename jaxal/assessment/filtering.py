"""Whether a network knows when it is wrong, for every group: measures of what is left once uncertain predictions are dropped.

Mehta, Shui & Arbel 2023 (PMLR 227, "Evaluating the Fairness of Deep Learning Uncertainty Estimates in Medical Image Analysis"): uncertainty is
brought to [0, 100], predictions above a threshold are dropped, and groups are compared over what remains. Where the gap between groups grows
as predictions are dropped, a group holds errors that the network is sure of. QU-BraTS (Mehta et al. 2022, arXiv 2112.10074) scores the same
curves of segmentations.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.assessment.histograms import sums_by_place

Array = jax.Array

STEP = 2.5
THRESHOLDS = STEP * np.arange(41)  # as QU-BraTS has them: 0 to 100


def percent_of_entropy(entropy: Array, classes: int) -> Array:
    """Entropy in nats as a share of its largest value, in percent: comparable between rounds, groups and tasks."""
    return 100.0 * entropy / np.log(classes)


def percent_of_range(uncertainty: np.ndarray) -> np.ndarray:
    """Uncertainty without a largest value, such as a variance, brought to [0, 100] over all cases of a test set together; zero where all are equal."""
    least, span = uncertainty.min(), np.ptp(uncertainty)
    return np.zeros_like(uncertainty) if span == 0 else 100.0 * (uncertainty - least) / span


# Segmentation: elements of each case are dropped


class FilteredCounts(NamedTuple):
    """Elements of a structure that are kept at each threshold, `[..., thresholds]`; those of cases stand beside each other.

    Attributes:
      true_positive, false_positive, false_negative: over all elements.
      true_positive_inside, true_negative_inside: over those inside the organ, such as the brain.
      kept: all of them, whatever they are.
    """

    true_positive: Array
    false_positive: Array
    false_negative: Array
    true_positive_inside: Array
    true_negative_inside: Array
    kept: Array


def first_threshold(uncertainty: Array) -> Array:
    """Place of the lowest threshold that keeps an element, `[...]` to integers: it is kept where its uncertainty is not above the threshold."""
    place = jnp.ceil(uncertainty / STEP).astype(jnp.int32)
    # A quotient is rounded, and may fall on either side of a threshold that the uncertainty is close to.
    one_lower, at = (STEP * (place - step).astype(uncertainty.dtype) for step in (1, 0))
    place = place - (uncertainty <= one_lower).astype(jnp.int32) + (uncertainty > at).astype(jnp.int32)
    return jnp.clip(place, 0, len(THRESHOLDS) - 1)


def filtered_counts(uncertainty: Array, predicted: Array, truth: Array, counted: Array, inside: Array) -> FilteredCounts:
    """Counts one structure's elements at all thresholds, in one pass over the elements.

    Args:
      uncertainty: in [0, 100], `[elements]`.
      predicted, truth: whether an element is of the structure, `[elements]`, boolean.
      counted: which elements are looked at, `[elements]`, boolean.
      inside: which of them lie inside the organ, `[elements]`, boolean.
    """
    outcome = predicted.astype(jnp.int32) * 2 + truth.astype(
        jnp.int32
    )  # 0 true negative, 1 false negative, 2 false positive, 3 true positive
    place = (first_threshold(uncertainty) * 2 + inside.astype(jnp.int32)) * 4 + outcome
    counts, _ = sums_by_place(jnp.where(counted, place, -1), jnp.zeros_like(uncertainty), len(THRESHOLDS) * 8)
    kept = jnp.cumsum(counts.reshape(len(THRESHOLDS), 2, 4), 0)
    whole = kept.sum(1)
    return FilteredCounts(whole[:, 3], whole[:, 2], whole[:, 1], kept[:, 1, 3], kept[:, 1, 0], whole.sum(-1))


def filtered_dice(counts: FilteredCounts) -> np.ndarray:
    """Dice of what is kept at each threshold, `[..., thresholds]`; 1 where neither truth nor prediction holds the structure, as QU-BraTS has it."""
    positive, false_positive, false_negative = (np.asarray(part, np.float64) for part in counts[:3])
    size = 2 * positive + false_positive + false_negative
    return np.where(size > 0, 2 * positive / np.maximum(size, 1), 1.0)


def filtered_ratios(counts: FilteredCounts) -> tuple[np.ndarray, np.ndarray]:
    """Shares of true positives and of true negatives that are dropped at each threshold, `[..., thresholds]` each; zero where there are none."""
    ratios = []
    for part in (counts.true_positive_inside, counts.true_negative_inside):
        kept = np.asarray(part, np.float64)
        everything = kept[..., -1:]
        ratios.append(np.where(everything > 0, (everything - kept) / np.maximum(everything, 1), 0.0))
    return ratios[0], ratios[1]


class QuBrats(NamedTuple):
    """Areas under the curves over thresholds, over 100, `[...]`, and what they come to.

    Attributes:
      dice: of what is kept; more is better.
      filtered_true_positives, filtered_true_negatives: of what is dropped although it was right; less is better.
      score: (dice + (1 - filtered true positives) + (1 - filtered true negatives)) / 3.
    """

    dice: np.ndarray
    filtered_true_positives: np.ndarray
    filtered_true_negatives: np.ndarray
    score: np.ndarray


def qu_brats(dice: np.ndarray, true_positives: np.ndarray, true_negatives: np.ndarray) -> QuBrats:
    """The score of QU-BraTS (Mehta et al. 2022, arXiv 2112.10074), by the trapezoid rule.

    Args:
      dice: see `filtered_dice`, `[..., thresholds]`.
      true_positives, true_negatives: see `filtered_ratios`.
    """

    def area(curve: np.ndarray) -> np.ndarray:
        return np.trapezoid(curve, THRESHOLDS, axis=-1) / THRESHOLDS[-1]

    of_dice, of_positives, of_negatives = area(dice), area(true_positives), area(true_negatives)
    return QuBrats(of_dice, of_positives, of_negatives, (of_dice + (1.0 - of_positives) + (1.0 - of_negatives)) / 3.0)


# Groups over thresholds


class FilteredCurve(NamedTuple):
    """A metric over what is kept, as fewer and fewer predictions are.

    Attributes:
      axis: thresholds, falling from 100, or shares that are dropped, rising from 0, `[points]`.
      overall: the metric over all that is kept, `[points]`; NaN where nothing is.
      by_group: the same of each group, `[points]` each. Once a group of cases is empty, or has no class with the others in common, the curves end:
        all groups are NaN from there on.
      kept: share of all cases or elements that is kept, `[points]`.
    """

    axis: np.ndarray
    overall: np.ndarray
    by_group: Mapping[str, np.ndarray]
    kept: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """Best less worst group, `[points]`; with two groups the fairness gap |EM0 - EM1| of the paper; NaN where the curve has ended."""
        values = np.array(list(self.by_group.values()))
        return np.ptp(values, axis=0) if len(values) else np.full(len(self.axis), np.nan)


# `(places [cases], kept [points, cases] boolean) -> [points, parts]`: of the cases at these places those that are kept at each point; NaN where none is.
# A curve is the mean over the parts, such as classes, that all groups have at a point, so that groups are never compared over different classes.
Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mean_of_kept(values: np.ndarray) -> Metric:
    """The mean over the kept cases of a number that each has, `[cases]`, such as whether it was right."""

    def metric(places: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return _ratio(kept @ values[places], kept.sum(-1))[:, None]

    return metric


def mean_of_classes(values: np.ndarray, label: np.ndarray, classes: int) -> Metric:
    """The mean over the kept cases of each class: `[cases]` both; a label that is none of the classes counts nowhere."""
    of_class = label[:, None] == np.arange(classes)

    def metric(places: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return _ratio(kept @ (of_class * values[:, None])[places], kept @ of_class[places].astype(float))

    return metric


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def curve_by_threshold(
    metric: Metric, uncertainty: np.ndarray, groups: Sequence[str], places: np.ndarray | None = None
) -> FilteredCurve:
    """A metric of cases that are dropped as a whole, such as images with one class, over falling thresholds.

    Args:
      metric: of cases.
      uncertainty: of each case, in [0, 100], `[cases]`.
      groups: of each case, `[cases]`.
      places: of the cases that are looked at, perhaps several times; all of them once when left out.
    """
    axis = THRESHOLDS[::-1]
    return _curve(metric, axis, lambda values: values[None, :] <= axis[:, None], uncertainty, np.asarray(groups), places)


def curve_by_share(
    metric: Metric, uncertainty: np.ndarray, groups: Sequence[str], places: np.ndarray | None = None, points: int = 41
) -> FilteredCurve:
    """The same over the share of cases that is dropped, the most uncertain first; of equals the later ones.

    Arguments are those of `curve_by_threshold`; `points` are shares from 0 to 1.
    """
    axis = np.linspace(0.0, 1.0, points)

    def kept(values: np.ndarray) -> np.ndarray:
        rank = np.empty(len(values), int)
        rank[np.argsort(values, kind="stable")] = np.arange(len(values))
        return rank[None, :] < np.round((1.0 - axis) * len(rank))[:, None]

    return _curve(metric, axis, kept, uncertainty, np.asarray(groups), places)


def _curve(
    metric: Metric,
    axis: np.ndarray,
    kept_of: Callable[[np.ndarray], np.ndarray],
    uncertainty: np.ndarray,
    group_of: np.ndarray,
    places: np.ndarray | None,
) -> FilteredCurve:
    places = np.arange(len(uncertainty)) if places is None else places
    kept, here = kept_of(uncertainty[places]), group_of[places]
    of_group = {str(name): metric(places, kept & (here == name)[None, :]) for name in np.unique(group_of)}
    # What a group lacks at a point it lacks from there on, since ever fewer are kept.
    shared, overall = ~np.any([np.isnan(values) for values in of_group.values()], axis=0), metric(places, kept)
    by_group = {name: _mean_where(shared, values) for name, values in of_group.items()}
    alone = overall.shape[-1] == 1
    return FilteredCurve(axis, overall[:, 0] if alone else _mean_where(shared, overall), by_group, kept.mean(-1))


def _mean_where(there: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean over the parts that are there, `[points, parts]` both to `[points]`; NaN where none is."""
    return _ratio(np.where(there, values, 0.0).sum(-1), there.sum(-1))


def curve_of_cases(values: np.ndarray, kept: np.ndarray, groups: Sequence[str]) -> FilteredCurve:
    """A metric that each case has at each threshold, such as Dice of the elements that are kept: its mean over the cases of each group.

    Args:
      values: `[cases, thresholds]`, thresholds rising.
      kept: share of each case's elements that is kept, `[cases, thresholds]`.
      groups: of each case, `[cases]`.
    """
    group_of, falling = np.asarray(groups), values[:, ::-1]
    by_group = {name: falling[group_of == name].mean(0) for name in sorted(set(groups))}
    return FilteredCurve(THRESHOLDS[::-1], falling.mean(0), by_group, kept.mean(0)[::-1])


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], groups: Sequence[str], draws: int = 500, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval of a statistic of test cases, drawn again with replacement within each group (Efron 1979).

    Args:
      statistic: of the cases at some places, `[points]`.
      groups: of each case, `[cases]`.
      draws: how many.
      seed: of the draws.

    Returns:
      Lower and upper ends, `[points]` each; NaN where the statistic is undefined in more than half of the draws, or nothing is drawn.
    """
    if draws == 0:
        nothing = np.full(len(statistic(np.arange(len(groups)))), np.nan)
        return nothing, nothing
    rng, group_of = np.random.default_rng(seed), np.asarray(groups)
    places = [np.flatnonzero(group_of == name) for name in sorted(set(groups))]
    drawn = np.array([statistic(np.concatenate([rng.choice(part, len(part)) for part in places])) for _ in range(draws)])
    known = ~np.isnan(drawn)
    often = known.mean(0) > 0.5
    filled = np.where(often[None], drawn, 0.0)
    low, high = np.nanquantile(np.where(known | ~often[None], filled, np.nan), [0.025, 0.975], axis=0)
    return np.where(often, low, np.nan), np.where(often, high, np.nan)
