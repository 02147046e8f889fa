"""How much of the gap between groups that labels can close each strategy closes, and at whose cost.

What entropy leaves, less what a network trained on the whole pool leaves, is the closable gap; no query can close the rest. A strategy's share of
it is a ratio of means over seeds, and is told only where the closable gap can itself be told from zero.
"""

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxal.assessment.intervals import Estimate, student_mean
from jaxal.report.comparison import largest_block
from jaxal.report.results import FEW_GROUPS, strategy_head
from jaxal.report.tables import Cell, Head, meanings, number, table
from jaxal.rounds.ledger import FULL, RunOnDisk
from jaxal.task_kind import Assessment

BASE = "entropy"  # what others are measured against


class Closed(NamedTuple):
    """What one strategy makes of the gap after its last round, over seeds.

    Attributes:
      strategy: its name.
      gap: sum over groups of the distance from the overall measure; with two groups the distance between them.
      difference: from `BASE`'s gap, seed by seed.
      less: by what share of `BASE`'s gap it is smaller, a ratio of means.
      share: of the closable gap that is closed, a ratio of means; NaN where there is none beyond doubt.
      by_group: each group's main measure less that under `BASE`, seed by seed.
    """

    strategy: str
    gap: Estimate
    difference: Estimate
    less: float
    share: float
    by_group: Mapping[str, Estimate]


class Closable(NamedTuple):
    """What can be closed in one setting, and who closes it.

    Attributes:
      gap: `BASE`'s less that of the whole pool, seed by seed.
      floor: of the whole pool.
      closed: by strategy, `BASE` among them.
      labelled: cases after the last round that all have.
      seeds: that all have.
    """

    gap: Estimate
    floor: Estimate
    closed: tuple[Closed, ...]
    labelled: int
    seeds: tuple[int, ...]


def closable(runs: Sequence[RunOnDisk], assessment: Assessment) -> Closable | None:
    """What the ledgers of one setting tell, of as many runs as have the same seeds and rounds; None without groups, `BASE` or the whole pool."""
    by_seed = {(run.strategy, run.seed): run for run in runs if _has_groups(run, assessment)}
    lengths = {(name, seed): len(run.rounds) for (name, seed), run in by_seed.items() if name != FULL and (FULL, seed) in by_seed}
    rounds, names, seeds = largest_block(lengths) if lengths else (0, [], [])
    if BASE not in names or len(names) < 2:
        return None
    curves, last = {name: [by_seed[name, seed] for seed in seeds] for name in names}, rounds - 1
    gaps = {name: np.array([run.rounds[last]["disparity"] for run in of_seeds]) for name, of_seeds in curves.items()}
    floor = np.array([by_seed[FULL, seed].rounds[-1]["disparity"] for seed in seeds])
    gap = student_mean(gaps[BASE] - floor)

    def levels(name: str, group: str) -> np.ndarray:
        return np.array([run.rounds[last][assessment.key]["by_group"].get(group, np.nan) for run in curves[name]])

    groups = sorted(curves[BASE][0].rounds[last][assessment.key]["by_group"])
    closed = [
        Closed(
            name,
            student_mean(gaps[name]),
            student_mean(gaps[name] - gaps[BASE]),
            1.0 - float(gaps[name].mean() / gaps[BASE].mean()) if gaps[BASE].mean() > 0 else np.nan,
            float((gaps[BASE] - gaps[name]).mean() / gap.value) if gap.low > 0 else np.nan,
            {group: student_mean(levels(name, group) - levels(BASE, group)) for group in groups},
        )
        for name in sorted(curves, key=lambda name: gaps[name].mean())
    ]
    return Closable(gap, student_mean(floor), tuple(closed), curves[BASE][0].rounds[last]["labelled"], tuple(seeds))


def _has_groups(run: RunOnDisk, assessment: Assessment) -> bool:
    return "disparity" in run.rounds[-1] and len(run.rounds[-1][assessment.key]["by_group"]) > 1


def sentence(found: Closable, title: str) -> str:
    """Who closes most, and at whose cost, as plain text; `title` is of the main measure."""
    if np.isnan(found.gap.low):
        return f"{len(found.seeds)} seed{'' if len(found.seeds) == 1 else 's'} cannot tell what labels could close: three or more are needed."
    of_base = next(one for one in found.closed if one.strategy == BASE)
    leaves = f"{BASE} leaves a gap of {number(of_base.gap.value, 3)} between groups, training on the whole pool {number(found.floor.value, 3)}"
    difference = f"{number(found.gap.value, 3)} [{number(found.gap.low, 3)}, {number(found.gap.high, 3)}]"
    if not found.gap.low > 0:
        return f"{leaves}. The difference, {difference}, cannot be told from nothing, so no strategy can be said to close it."
    best = min((one for one in found.closed if one.strategy != BASE), key=lambda one: one.gap.value)
    return (
        f"{leaves}, so labels could close {difference}. {best.strategy} closes {100 * best.share:.0f} % of that ({100 * best.less:.0f} % less disparity than {BASE}, a difference of "
        f"{_signed(best.difference)}). {_at_whose_cost(best, title)}"
    )


def _at_whose_cost(best: Closed, title: str) -> str:
    """Whether groups gain, or the better-served one is brought down."""
    gains = [group for group, one in best.by_group.items() if one.low > 0]
    losses = [group for group, one in best.by_group.items() if one.high < 0]
    changed = [group for group in best.by_group if len(best.by_group) <= FEW_GROUPS or group in (*gains, *losses)]
    told = [f"group {group} {_signed(best.by_group[group])}" for group in changed]
    if losses and gains:
        verdict = "Part of it is levelling down"
    elif losses:
        verdict = "It is levelling down"
    elif gains:
        verdict = "Nobody loses beyond doubt"
    else:
        verdict = "No group gains or loses beyond doubt"
    return f"{verdict}: {title} of {', '.join(told)}." if told else f"{verdict}."


def _signed(estimate: Estimate) -> str:
    interval = f" [{number(estimate.low, 3, True)}, {number(estimate.high, 3, True)}]" if not np.isnan(estimate.low) else ""
    return f"{number(estimate.value, 3, True)}{interval}"


def section(runs: Sequence[RunOnDisk], assessment: Assessment) -> str:
    """The table of one setting; nothing where it cannot be told."""
    found = closable(runs, assessment)
    if found is None:
        return ""
    groups = list(found.closed[0].by_group)
    shown = groups if len(groups) <= FEW_GROUPS else []  # of many the difference from entropy's table has each
    heads = [
        Head("gap Δ", "sum over groups of the distance from the overall measure; with two groups the gap between them"),
        Head(f"from {BASE}", "seed by seed; below zero the gap is smaller"),
        Head(f"% less than {BASE}", "ratio of means over seeds"),
        Head("% of the closable", f"what is closed of {BASE}'s gap less the whole pool's, ratio of means over seeds"),
        *(Head(f"{assessment.title} {group} from {BASE}", "seed by seed: who gains and who loses") for group in shown),
    ]
    lines = []
    for one in found.closed:
        own = one.strategy == BASE
        cells = [
            _cell(one.gap),
            Cell(0.0, "–") if own else _cell(one.difference, lower_is_better=True),
            *(_percent(0.0 if own else value) for value in (one.less, one.share)),
            *(Cell(0.0, "–") if own else _cell(one.by_group[group], lower_is_better=False) for group in shown),
        ]
        lines.append((strategy_head(one.strategy), cells))
    seeds = "seed" if len(found.seeds) == 1 else f"{len(found.seeds)} seeds"
    about = f"After {found.labelled} labelled cases, over the {seeds} that all strategies have; below means 95 % intervals (Student's t)."
    return (
        f"<section><h3>How much of the closable gap is closed?</h3><p>{html.escape(sentence(found, assessment.title))}</p><p>{about}</p>"
        f"{table('Closable gap', 'strategy', heads, lines)}{meanings(heads)}</section>"
    )


def _percent(share: float) -> Cell:
    return Cell(share, "–" if np.isnan(share) else f"{100 * share:.0f}\u00a0%".replace("-", "−"))


def _cell(estimate: Estimate, lower_is_better: bool | None = None) -> Cell:
    signed = lower_is_better is not None
    if np.isnan(estimate.low):
        return Cell(estimate.value, number(estimate.value, 3, signed))
    small = f"{number(estimate.low, 3, signed)}\u00a0to {number(estimate.high, 3, signed)}"
    told = signed and (estimate.low > 0 or estimate.high < 0)
    kind = ("better" if (estimate.value < 0) == lower_is_better else "worse") if told else ""
    return Cell(estimate.value, number(estimate.value, 3, signed), (small,), kind)
