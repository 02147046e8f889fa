"""Whether the networks' probabilities can be believed: what was found in a sentence, and how often what is predicted with some confidence is right."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxal.assessment.calibration import Overconfidence, overconfidence
from jaxal.report.charts import FEW_CHARTS, GREY, chart, keys
from jaxal.report.curves import look
from jaxal.rounds.ledger import FULL, RunOnDisk

FEW = 3  # strategies of each of which the sentence tells
SUMS = ("count", "confidence", "correct")
Find = Callable[[RunOnDisk], Mapping[str, Any] | None]  # sums by bin that a run's ledger holds


def section(runs: Sequence[RunOnDisk], elements: str) -> str:
    """Charts of one setting, with a sentence before them; nothing where no ledger holds sums by bin.

    Args:
      runs: of the setting.
      elements: what predictions are of, as people call them.
    """
    curves = [run for run in runs if run.strategy != FULL]
    names = sorted({run.strategy for run in curves})
    if not any(map(_after_last, curves)):
        return ""
    groups = sorted({group for run in curves for group in run.rounds[-1].get("reliability_by_group", {})})
    titles: list[tuple[str, Find]] = [("Reliability after the last round", _after_last)]
    if max(len(run.rounds) for run in curves) > 1:
        titles.insert(0, ("Reliability after the first round", lambda run: run.rounds[0].get("reliability")))
    figures = [_figure(curves, names, title, find, elements) for title, find in titles]
    of_groups = [
        _figure(curves, names, f"Reliability after the last round, group {group}", _of_group(group), elements) for group in groups
    ]
    if len(of_groups) <= FEW_CHARTS:
        figures, of_groups = figures + of_groups, []
    between = range(1, max(len(run.rounds) for run in curves) - 1)
    of_rounds = [
        _figure(curves, names, f"Reliability after round {number}", _after_round(number), elements) for number in between
    ]
    folded = _folded("by group", of_groups) + _folded("in the rounds between", of_rounds)
    about = (
        f"How often what is predicted with some confidence is right; on the diagonal confidence can be believed, below it networks are surer than they are "
        f"right. Of all test cases and seeds; below each diagram how many {elements} its points stand for."
    )
    return (
        f"<section><h3>Calibration</h3><p>{html.escape(sentence(curves, elements))}</p><p>{about}</p>{keys(names)}"
        f'<div class="charts alike">{"".join(figures)}</div>{folded}</section>'
    )


def _folded(which: str, figures: Sequence[str]) -> str:
    """Charts that are shown when they are asked for; nothing where there are none."""
    if not figures:
        return ""
    charts = "1 chart" if len(figures) == 1 else f"{len(figures)} charts"
    return (
        f'<details><summary>Reliability {which} ({charts})</summary><div class="charts alike">{"".join(figures)}</div></details>'
    )


def sentence(runs: Sequence[RunOnDisk], elements: str) -> str:
    """Which strategies' last networks are surer than they are right, or less sure, and where; as plain text.

    Args:
      runs: of strategies, not of training on everything; some of which have sums by bin.
      elements: what predictions are of.
    """
    found = {
        name: _overconfidence([run for run in runs if run.strategy == name], _after_last)
        for name in sorted({run.strategy for run in runs})
    }
    known = {name: one for name, one in found.items() if one}
    if len(known) <= FEW:
        told = [
            f"{name} is {_verdict(one)} (ECE {one.error:.4f}), {_where(one, elements)}{_worst_group(runs, name)}."
            for name, one in known.items()
        ]
        return " ".join(["After the last round", told[0], *told[1:]])
    counts = {kind: sum(_verdict(one) == kind for one in known.values()) for kind in (SURE, UNSURE, MIXED)}
    listed = ", ".join(f"{count} {'is' if count == 1 else 'are'} {kind}" for kind, count in counts.items() if count)
    furthest = max(known, key=lambda name: known[name].error)
    one = known[furthest]
    return (
        f"After the last round, of {len(known)} strategies {listed}. Furthest off is {furthest}, which is {_verdict(one)} (ECE {one.error:.4f}), "
        f"{_where(one, elements)}{_worst_group(runs, furthest)}."
    )


SURE, UNSURE, MIXED = "overconfident", "underconfident", "overconfident in places and underconfident in others"


def _verdict(found: Overconfidence) -> str:
    """One of them where most of the error has its sign: where confidence less accuracy is half of what it is without signs, or more."""
    if abs(found.mean) < found.error / 2:
        return MIXED
    return SURE if found.mean > 0 else UNSURE


def _where(found: Overconfidence, elements: str) -> str:
    worst, others = found.worst, found.others
    told = (
        f"most in the {_grouped(worst.elements)} {elements} that it is {100 * found.low:.0f} to {100 * found.high:.0f}\u00a0% sure of: "
        f"{_sure_and_right(worst.confidence, worst.correct)}"
    )
    if not others.elements:
        return told
    return f"{told}; of the other {_grouped(others.elements)} it is {_sure_and_right(others.confidence, others.correct)}"


def _sure_and_right(confidence: float, correct: float) -> str:
    return f"{100 * confidence:.1f}\u00a0% sure in the mean, and {100 * correct:.1f}\u00a0% are right"


def _grouped(count: float) -> str:
    """A number with its digits in groups of three."""
    return f"{count:,.0f}".replace(",", "\u202f")


def _worst_group(runs: Sequence[RunOnDisk], name: str) -> str:
    """The group whose calibration is worst, in the mean over seeds."""
    known = [
        run.rounds[-1]["calibration_by_group"]
        for run in runs
        if run.strategy == name and "calibration_by_group" in run.rounds[-1]
    ]
    groups = sorted(set.intersection(*map(set, known))) if known else []
    if len(groups) < 2:
        return ""
    errors = {group: float(np.mean([by_group[group]["ece"] for by_group in known])) for group in groups}
    low, high = min(groups, key=lambda group: errors[group]), max(groups, key=lambda group: errors[group])
    return f"; group {high} fares worst (ECE {errors[high]:.4f}, group {low} {errors[low]:.4f})"


def _after_last(run: RunOnDisk) -> Mapping[str, Any] | None:
    return run.rounds[-1].get("reliability")


def _after_round(number: int) -> Find:
    return lambda run: run.rounds[number].get("reliability") if number < len(run.rounds) else None


def _of_group(group: str) -> Find:
    return lambda run: run.rounds[-1].get("reliability_by_group", {}).get(group)


def _overconfidence(runs: Sequence[RunOnDisk], find: Find) -> Overconfidence | None:
    sums = _summed(runs, find)
    return overconfidence(*sums) if sums is not None and sums[0].any() else None


def _summed(runs: Sequence[RunOnDisk], find: Find) -> np.ndarray | None:
    """Sums by bin over runs, `[3, bins]` in the order of `SUMS`; None where none of them has any."""
    found = [sums for run in runs if (sums := find(run))]
    return np.array([np.sum([sums[part] for sums in found], axis=0) for part in SUMS], np.float64) if found else None


def _figure(runs: Sequence[RunOnDisk], names: Sequence[str], title: str, find: Find, elements: str) -> str:
    by_name = {name: _summed([run for run in runs if run.strategy == name], find) for name in names}

    def draw(axis) -> None:
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        for index, name in enumerate(names):
            if (sums := by_name[name]) is not None:
                count, confidence, correct = sums[:, sums[0] > 0]
                axis.plot(confidence / count, correct / count, ms=3, lw=1.2, gid=f"line-{index}", **look(index))
        axis.set_ylabel("share that is right")

    def draw_counts(axis) -> None:
        for index, name in enumerate(names):
            if (sums := by_name[name]) is not None:
                count, confidence, _ = sums[:, sums[0] > 0]
                axis.plot(confidence / count, count, ms=3, lw=1.2, gid=f"line-{index}", **look(index))
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, place: _grouped(value))
        axis.minorticks_off()
        axis.set_ylabel(elements)

    return chart(draw, title, "confidence", 4.0, draw_counts)
