"""Whether networks know when they are wrong, for every group: what was found in sentences, and curves over what is left once uncertain predictions are dropped."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.report import tables
from jaxal.report.charts import FEW_CHARTS, chart, keys
from jaxal.report.curves import look
from jaxal.rounds.ledger import FULL, RunOnDisk
from jaxal.tasks.curves import array_of, curves_of

Lines = Mapping[str, Sequence[Mapping[str, Any]]]  # by the name of a strategy or method, a ledger's line for each seed
Find = Callable[[Mapping[str, Any]], Sequence[float | None]]
HALFWAY = 50.0  # the threshold that sentences compare with everything
ACROSS = "100 - threshold: further right more is dropped"


class Gap(NamedTuple):
    """The gap between groups of one strategy, in the mean over seeds.

    Attributes:
      whole: of all predictions.
      halfway: of those that are kept at `HALFWAY`; NaN where a group is empty there.
      kept: share that is kept there.
    """

    whole: float
    halfway: float
    kept: float


def section(runs: Sequence[RunOnDisk]) -> str:
    """Charts and tables of one setting; nothing where no ledger has uncertainty curves."""
    lines, measures = last_lines(runs)
    if not measures:
        return ""
    names, chosen = list(lines), [run for run in runs if run.strategy in lines]
    shown, folded = measures[:FEW_CHARTS], measures[FEW_CHARTS:]
    parts = [charts_of(lines, name) for name in shown]
    more = "".join(charts_of(lines, name, groups=False) for name in folded)
    of_rounds = _rounds(chosen, measures[0])
    return (
        f"<section><h3>What the networks know of their errors</h3><p>{html.escape(sentence(lines, measures[0]))}</p>"
        "<p>Predictions whose uncertainty is above a threshold are dropped; lines are means over seeds, of the networks after the last round with all "
        "of their dropout samples. A gap that grows to the right means that one group holds errors the network is sure of. Bands: 95 % of "
        f"test cases drawn again.</p>{keys(names)}{''.join(parts)}{_fold('Further measures', more)}{of_rounds}{_qu_brats(lines)}</section>"
    )


def last_lines(runs: Sequence[RunOnDisk]) -> tuple[Lines, list[str]]:
    """The last lines that have curves, by strategy, of training on everything only where there is nothing else; and the measures that they have."""
    chosen = [run for run in runs if run.strategy != FULL] or list(runs)
    names = sorted({run.strategy for run in chosen})
    lines = {name: [run.rounds[-1] for run in chosen if run.strategy == name and curves_of(run.rounds[-1])] for name in names}
    return lines, list(dict.fromkeys(name for of in lines.values() for line in of for name in curves_of(line)))


def sentence(lines: Lines, measure: str) -> str:
    """How far groups are apart with all predictions, and without the uncertain ones, as plain text."""
    gaps = {name: gap_of(of, measure) for name, of in lines.items() if of}
    title = next(curves_of(line)[measure]["title"] for of in lines.values() for line in of if measure in curves_of(line))
    least = min(gaps, key=lambda name: np.inf if np.isnan(gaps[name].whole) else gaps[name].whole)
    if np.isnan(gaps[least].whole):
        return f"{title}: there are no groups to compare."
    told = [f"{title}: groups are {gaps[least].whole:.3f} apart with {least}" + (", least of all." if len(gaps) > 1 else ".")]
    known = {name: gap for name, gap in gaps.items() if not np.isnan(gap.halfway)}
    grows = [name for name, gap in known.items() if gap.halfway > gap.whole]
    for which, verb in ((grows, "grows"), ([name for name in known if name not in grows], "shrinks or stays")):
        if which:
            listed = "; ".join(
                f"{name} {known[name].whole:.3f} to {known[name].halfway:.3f} ({100 * known[name].kept:.0f} % kept)"
                for name in which
            )
            told.append(f"Dropping what is more than {HALFWAY:g} % uncertain, the gap {verb}: {listed}.")
    return " ".join(told)


def gap_of(lines: Sequence[Mapping[str, Any]], measure: str) -> Gap:
    """Mean over seeds of the gap with all predictions and at `HALFWAY`."""
    curves = [curves_of(line)[measure]["by_threshold"] for line in lines if measure in curves_of(line)]
    at = curves[0]["axis"].index(HALFWAY)
    gaps, kept = np.array([array_of(curve["gap"]) for curve in curves]), np.array([array_of(curve["kept"]) for curve in curves])
    return Gap(float(gaps[:, 0].mean()), float(gaps[:, at].mean()), float(kept[:, at].mean()))


def charts_of(lines: Lines, measure: str, groups: bool = True) -> str:
    """The metric overall and the gap over thresholds; with `groups`, too, the metric of each, and the gap over the share that is dropped."""
    known = {name: [curves_of(line)[measure] for line in of if measure in curves_of(line)] for name, of in lines.items()}
    first = next(curves[0] for curves in known.values() if curves)
    title = first["title"]

    def of_group(group: str) -> Find:
        return lambda curve: curve["by_threshold"]["by_group"][group]

    figures = [
        _figure(known, title, lambda curve: curve["by_threshold"]["overall"]),
        _figure(known, f"Gap between groups, {title}", _gap, band=True),
    ]
    if not groups:
        return f'<div class="charts">{"".join(figures)}</div>'
    figures += [_figure(known, f"{title}, group {group}", of_group(group)) for group in sorted(first["by_threshold"]["by_group"])]
    # Of elements, each threshold keeps a share of all; of cases, curves over shares drop as many with every network.
    by_share = (lambda curve: curve["by_share"]["gap"]) if "by_share" in first else _gap
    figures.append(_figure(known, f"Gap over the share dropped, {title}", by_share, _dropped, "share dropped"))
    return f'<div class="charts">{"".join(figures)}</div>'


def draw_gaps(axis: Any, lines: Lines, measure: str) -> None:
    """The gap over thresholds of one measure, a line for each method, its mean over seeds, with the lowest and highest seed behind it."""
    for index, (name, of) in enumerate(lines.items()):
        curves = [curves_of(line)[measure] for line in of if measure in curves_of(line)]
        if not curves:
            continue
        points, gaps, style = _below_100(curves[0]), np.array([array_of(_gap(curve)) for curve in curves]), look(index)
        axis.plot(points, gaps.mean(0), label=name, lw=1.4, **style | {"marker": ""})
        axis.fill_between(points, gaps.min(0), gaps.max(0), color=style["color"], alpha=0.12, lw=0)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _gap(curve: Mapping[str, Any]) -> Sequence[float | None]:
    return curve["by_threshold"]["gap"]


def _below_100(curve: Mapping[str, Any]) -> np.ndarray:
    return 100.0 - array_of(curve["by_threshold"]["axis"])


def _dropped(curve: Mapping[str, Any]) -> np.ndarray:
    return array_of(curve["by_share"]["axis"]) if "by_share" in curve else 1.0 - array_of(curve["by_threshold"]["kept"])


def _figure(
    known: Mapping[str, Sequence[Mapping[str, Any]]],
    title: str,
    find: Find,
    place: Callable[[Mapping[str, Any]], np.ndarray] = _below_100,
    across: str = ACROSS,
    band: bool = False,
) -> str:
    def draw(axis: Any) -> None:
        for index, curves in enumerate(known.values()):
            if not curves:
                continue
            points, line = _mean(list(map(place, curves))), f"line-{index}"
            axis.plot(
                points, _mean([array_of(find(curve)) for curve in curves]), gid=line, lw=1.4, **look(index) | {"marker": ""}
            )
            if band and len(known) <= FEW_CHARTS:
                low, high = (_mean([array_of(curve["by_threshold"][end]) for curve in curves]) for end in ("gap_low", "gap_high"))
                axis.fill_between(points, low, high, alpha=0.15, color=look(index)["color"], lw=0, gid=line)

    return chart(draw, title, across, is_plain=True)


def _mean(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Over seeds, as far as the curves of all of them go."""
    return np.array(curves).mean(0)


def _rounds(runs: Sequence[RunOnDisk], measure: str) -> str:
    """The gap of the networks of each round, folded up; nothing where there is one round."""
    most = max(len(run.rounds) for run in runs)
    if most < 2:
        return ""
    names, figures = sorted({run.strategy for run in runs}), []
    for number in range(most):
        lines = [(run.strategy, run.rounds[number]) for run in runs if number < len(run.rounds)]
        known = {
            name: [curves_of(line)[measure] for of, line in lines if of == name and measure in curves_of(line)] for name in names
        }
        if any(known.values()):
            figures.append(_figure(known, f"Gap between groups after round {number}", _gap))
    return _fold("The gap after every round", f'<div class="charts">{"".join(figures)}</div>') if figures else ""


def _fold(title: str, content: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>" if content else ""


QU_BRATS = (
    tables.Head("Dice", "area under Dice of what is kept, over thresholds; more is better"),
    tables.Head("right foreground dropped", "area under the share of true positives that is dropped; less is better"),
    tables.Head("right background dropped", "area under the share of true negatives that is dropped; less is better"),
    tables.Head("score", "mean of Dice and of what the others lack of 1"),
)
PARTS = ("dice", "filtered_true_positives", "filtered_true_negatives", "score")


def _qu_brats(lines: Lines) -> str:
    """The table of QU-BraTS by structure, strategy and group; nothing where there are no structures."""
    rows: list[tables.Line] = []
    for name, of in lines.items():
        for measure in dict.fromkeys(measure for line in of for measure, curve in curves_of(line).items() if "qu_brats" in curve):
            scores = [curves_of(line)[measure]["qu_brats"] for line in of if measure in curves_of(line)]
            found = {"": [score["overall"] for score in scores]}
            found |= {
                f", group {group}": [score["by_group"][group] for score in scores if group in score["by_group"]]
                for group in sorted(scores[0]["by_group"])
            }
            for which, ones in found.items():
                means = [float(np.mean([one[part] for one in ones])) for part in PARTS]
                rows.append((tables.Head(f"{name}, {measure}{which}"), [tables.Cell(mean, f"{mean:.3f}") for mean in means]))
    if not rows:
        return ""
    table = tables.table("QU-BraTS", "networks, structure", QU_BRATS, rows)
    return _fold("QU-BraTS: areas under the curves over thresholds, and their score", table + tables.meanings(QU_BRATS))
