"""Uncertainty curves as the ledger keeps them: a metric and the gap between groups over what is left once uncertain predictions are dropped.

`assessment/filtering.py` has the formulas. A curve by thresholds is that of the paper; one by shares drops as many of every network.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxal.assessment import filtering
from jaxal.assessment.filtering import FilteredCurve, Metric

DRAWS = 200  # of test cases, for the interval of the gap


def of_dropped_cases(
    title: str, metric: Metric, uncertainty: np.ndarray, groups: Sequence[str], lower_is_better: bool = False, draws: int = DRAWS
) -> dict[str, Any]:
    """A metric of cases that are dropped as a whole, ready for JSON.

    Args:
      title: of the metric.
      metric: of cases.
      uncertainty: of each case, in [0, 100], `[cases]`.
      groups: of each case, `[cases]`.
      lower_is_better: whether less of it is better.
      draws: of cases, for the interval of the gap; without any there is none.
    """

    def described(curve_of: Callable[..., FilteredCurve]) -> dict[str, Any]:
        curve = curve_of(metric, uncertainty, groups)
        interval = filtering.bootstrap(lambda places: curve_of(metric, uncertainty, groups, places).gap, groups, draws)
        return _described(curve, interval)

    curves = {"by_threshold": described(filtering.curve_by_threshold), "by_share": described(filtering.curve_by_share)}
    return {"title": title, "lower_is_better": lower_is_better, **curves}


def of_dropped_elements(title: str, counts: filtering.FilteredCounts, groups: Sequence[str]) -> dict[str, Any]:
    """Dice of a structure of which elements are dropped within each case, and QU-BraTS, ready for JSON.

    Args:
      title: of the structure.
      counts: `[cases, thresholds]` each.
      groups: of each case, `[cases]`.
    """
    dice, group_of = filtering.filtered_dice(counts), np.asarray(groups)
    kept = np.asarray(counts.kept, np.float64)
    share = kept / np.maximum(kept[:, -1:], 1)

    def gap(places: np.ndarray) -> np.ndarray:
        return filtering.curve_of_cases(dice[places], share[places], group_of[places].tolist()).gap

    curve = filtering.curve_of_cases(dice, share, groups)
    scores = filtering.qu_brats(dice, *filtering.filtered_ratios(counts))
    of = {"overall": np.ones(len(group_of), bool)} | {str(name): group_of == name for name in np.unique(group_of)}
    means = {
        name: {part: round(float(values[here].mean()), 6) for part, values in scores._asdict().items()}
        for name, here in of.items()
    }
    by_group = {name: values for name, values in means.items() if name != "overall"}
    return {
        "title": title,
        "lower_is_better": False,
        "by_threshold": _described(curve, filtering.bootstrap(gap, groups, DRAWS)),
        "qu_brats": {"overall": means["overall"], "by_group": by_group},
    }


def _described(curve: FilteredCurve, interval: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    low, high = interval
    return {
        "axis": _numbers(curve.axis),
        "overall": _numbers(curve.overall),
        "by_group": {name: _numbers(values) for name, values in curve.by_group.items()},
        "gap": _numbers(curve.gap),
        "gap_low": _numbers(low),
        "gap_high": _numbers(high),
        "kept": _numbers(curve.kept),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    """Six digits; None where a curve has ended."""
    return [None if np.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


def array_of(numbers: Sequence[float | None]) -> np.ndarray:
    """What `_numbers` wrote; NaN where a curve has ended."""
    return np.array([np.nan if value is None else value for value in numbers], np.float64)


def curves_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The curves of a ledger's line by their names; none where it has none."""
    return entry.get("uncertainty_curves", {})
