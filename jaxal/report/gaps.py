"""What uncertainty curves say of the gap between groups of patients, over seeds.

A gap without a sign grows by chance alone where fewer cases are left. So that of two groups is taken in the direction in which it lies in the
mean over seeds: seeds that differ by chance then cancel out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment.intervals import UNKNOWN, Estimate, student_mean
from jaxal.tasks.curves import array_of, curves_of

HALFWAY = 50.0  # the threshold that is compared with keeping everything


class Gap(NamedTuple):
    """The gap between groups by one method.

    Attributes:
      whole: with all predictions; over several seeds with Student's interval, of one seed with that of test cases drawn again.
      left: where uncertain predictions are dropped.
      change: `left` less `whole`, seed by seed; no interval of fewer than three seeds.
      kept: share of the predictions that is kept there.
      ended: seeds in which a group is empty there, which `left` and `change` leave out.
      seeds: how many there are.
    """

    whole: Estimate
    left: Estimate
    change: Estimate
    kept: float
    ended: int
    seeds: int


def directed(curves: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The gap of each seed at each point, `[seeds, points]`; NaN where a curve has ended.

    Of two groups it is the metric of one less that of the other, so that its mean over seeds is not negative at any point; of more, the best group
    less the worst.

    Args:
      curves: of one measure by one method, one a seed, over thresholds or over shares.
    """
    groups = sorted(curves[0]["by_group"])
    if len(groups) != 2 or any(sorted(curve["by_group"]) != groups for curve in curves):
        return np.array([array_of(curve["gap"]) for curve in curves])
    first, second = (np.array([array_of(curve["by_group"][group]) for curve in curves]) for group in groups)
    gaps = first - second
    known = ~np.isnan(gaps)
    return np.where(np.where(known, gaps, 0.0).sum(0) < 0, -gaps, gaps)


def place_of(curve: Mapping[str, Any], threshold: float) -> int:
    """Where a threshold stands on a curve's axis."""
    return int(np.abs(array_of(curve["axis"]) - threshold).argmin())


def gap_of(lines: Sequence[Mapping[str, Any]], measure: str, threshold: float = HALFWAY) -> Gap:
    """The gap over seeds, with all predictions and with those that are at most so uncertain.

    Args:
      lines: of ledgers, one a seed.
      measure: name of the curve.
      threshold: uncertainty above which predictions are dropped, in [0, 100].
    """
    curves = [curves_of(line)[measure]["by_threshold"] for line in lines if measure in curves_of(line)]
    if not curves:
        return Gap(UNKNOWN, UNKNOWN, UNKNOWN, np.nan, 0, 0)
    at, gaps = place_of(curves[0], threshold), directed(curves)
    kept = float(np.mean([curve["kept"][at] for curve in curves]))
    return Gap(
        _estimate(curves, gaps, 0),
        _estimate(curves, gaps, at),
        student_mean(gaps[:, at] - gaps[:, 0]),
        kept,
        int(np.isnan(gaps[:, at]).sum()),
        len(curves),
    )


def _estimate(curves: Sequence[Mapping[str, Any]], gaps: np.ndarray, at: int) -> Estimate:
    if len(curves) > 1:
        return student_mean(gaps[:, at])
    low, high = (array_of(curves[0][end])[at] for end in ("gap_low", "gap_high"))
    return Estimate(float(gaps[0, at]), float(low), float(high), 1)


def sentence(gaps: Mapping[str, Gap], title: str) -> str:
    """What was found of one measure and what to do, as plain text.

    Args:
      gaps: by method or strategy, at `HALFWAY`.
      title: of the measure.
    """
    known = {name: gap for name, gap in gaps.items() if not np.isnan(gap.whole.value)}
    title = title[0].upper() + title[1:]
    if not known:
        return f"{title}: there are no groups to compare."
    shown = {name: f"{gap.whole.value:.3f}" for name, gap in known.items()}
    least = min(shown.values())
    names = [name for name, value in shown.items() if value == least]
    of_all = ", least of all" if len(names) < len(known) else ""
    told = [f"{title}: groups are {least} apart with {' and '.join(names)}{_interval(known[names[0]], len(names))}{of_all}."]
    dropped = {name: gap for name, gap in known.items() if not np.isnan(gap.left.value)}
    if dropped:
        listed = "; ".join(
            f"{name} {shown[name]} to {gap.left.value:.3f} ({100 * gap.kept:.0f} % kept)" for name, gap in dropped.items()
        )
        told.append(f"Without what is more than {HALFWAY:g} % uncertain: {listed}.")
    told += [
        f"With {name} a group is empty there in {gap.ended} of {gap.seeds} seed{'' if gap.seeds == 1 else 's'}, so nothing is told of {'it' if gap.ended == 1 else 'them'}."
        for name, gap in known.items()
        if gap.ended
    ]
    return " ".join([*told, *_verdicts(dropped)])


def _interval(gap: Gap, names: int) -> str:
    if names > 1 or np.isnan(gap.whole.low):
        return ""
    return f" [{gap.whole.low:.3f}, {gap.whole.high:.3f}]"


def _verdicts(dropped: Mapping[str, Gap]) -> list[str]:
    """Whether gaps change beyond chance, and what follows for those who use the networks."""
    if not dropped:
        return []
    seeds = min(gap.seeds for gap in dropped.values())
    if all(np.isnan(gap.change.low) for gap in dropped.values()):
        counted = {1: "One seed", 2: "Two seeds"}.get(seeds, f"{seeds} seeds")
        return [f"{counted} cannot tell whether a gap changes: run the same command with --seeds 3 or more."]
    wider = [name for name, gap in dropped.items() if gap.change.low > 0]
    closer = [name for name, gap in dropped.items() if gap.change.high < 0]
    neither = [name for name in dropped if name not in (*wider, *closer)]
    told = []
    if wider:
        told.append(
            f"With {', '.join(wider)} the gap widens (95 % interval above zero): the worse-served group holds errors that the networks are sure of, so do "
            "not rely on uncertainty to find them."
        )
    if closer:
        told.append(
            f"With {', '.join(closer)} it narrows (95 % interval below zero): the worse-served group's errors are among the uncertain predictions, so "
            "looking at those by hand helps that group most."
        )
    if neither:
        told.append(f"With {', '.join(neither)} a change cannot be told from chance.")
    return told
