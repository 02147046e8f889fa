"""Groups of patients: how they fare, and how much a group that fares badly should count."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class GroupPerformance(NamedTuple):
    """A metric overall and by group.

    Attributes:
      overall: mean over all cases that have the metric (not the mean of the groups' means).
      by_group: mean over the cases of each group that has any.
      undefined: number of cases left out because the metric is undefined for them.
    """

    overall: float
    by_group: Mapping[str, float]
    undefined: int


def group_performance(values: Sequence[float] | np.ndarray, groups: Sequence[str] | np.ndarray) -> GroupPerformance:
    """Averages a metric per case, `[cases]`, over all cases and over each group; NaN marks a case without the metric.

    Where no case has it, the overall mean is NaN and no group has one.
    """
    metric, group_of = np.asarray(values, np.float64), np.asarray(groups)
    if metric.shape != group_of.shape:
        raise ValueError(f"{metric.size} values but {group_of.size} groups.")
    defined = ~np.isnan(metric)
    metric, group_of, missing = metric[defined], group_of[defined], int((~defined).sum())
    by_group = {str(group): float(metric[group_of == group].mean()) for group in np.unique(group_of)}
    return GroupPerformance(float(metric.mean()) if len(metric) else float("nan"), by_group, missing)


def disparity(performance: GroupPerformance) -> float:
    """Δ = Σ_g |I_g - I| (FairSeg, Tian et al. 2024, arXiv 2311.02189).

    For two groups it is exactly the gap between them where the overall value is a mean of theirs, as with Dice, but not with AUC.
    """
    return float(sum(abs(value - performance.overall) for value in performance.by_group.values()))


def equity_scaled(performance: GroupPerformance, alpha: float = 1.0) -> float:
    """Equity-scaled performance I / (1 + α Δ) (FairSeg, Tian et al. 2024, arXiv 2311.02189, in its code's sum form)."""
    return performance.overall / (1.0 + alpha * disparity(performance))


def equity_scaled_by_deviation(performance: GroupPerformance, alpha: float = 1.0) -> float:
    """I / (1 + α s), with s the sample standard deviation of the groups' means: the form in FairSeg's first abstract."""
    values = list(performance.by_group.values())
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return performance.overall / (1.0 + alpha * deviation)


def gap(performance: GroupPerformance) -> float:
    """Best group minus worst group."""
    return max(performance.by_group.values()) - min(performance.by_group.values())


def entries(performance: GroupPerformance) -> dict[str, float]:
    """What the ledger says of fairness; nothing where no group has the metric, since a gap of zero would be praise.

    A metric below zero, as R² may be, has no equity-scaled form: there the larger disparity would look better.
    """
    if not performance.by_group:
        return {}
    gaps = {"disparity": disparity(performance), "gap": gap(performance)}
    if not performance.overall >= 0:
        return gaps
    return {**gaps, "essp": equity_scaled(performance), "essp_by_deviation": equity_scaled_by_deviation(performance)}


def group_weights(
    performance: Mapping[str, float], groups: Sequence[str], gamma: float = 1.0, epsilon: float = 0.01
) -> dict[str, float]:
    """How much each group's uncertainty counts: w_g = ((1 - D_g + ε) / mean (1 - D + ε)) ** γ.

    Danaee et al. 2026 (arXiv 2605.01706) modulate uncertainty by the group's performance on the labelled set; the formula is
    this project's, as only their abstract was at hand.

    Args:
      performance: Dice of each group that has labelled cases, in [0, 1].
      groups: every group that needs a weight; one without labelled cases gets the largest weight of the others.
      gamma: how strongly performance acts; 0 gives equal weights.
      epsilon: keeps a perfect group's weight above zero.
    """
    if not performance:
        return dict.fromkeys(groups, 1.0)
    need = {group: 1.0 - value + epsilon for group, value in performance.items()}
    mean = sum(need.values()) / len(need)
    weights = {group: (value / mean) ** gamma for group, value in need.items()}
    largest = max(weights.values())
    return {group: weights.get(group, largest) for group in groups}
