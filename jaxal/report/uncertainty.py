"""Whether networks know when they are wrong, for every group: what was found in sentences, and curves over what is left once uncertain predictions are dropped."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.report import gaps, tables
from jaxal.report.charts import FEW_CHARTS, chart, keys
from jaxal.report.curves import look
from jaxal.rounds.ledger import FULL, RunOnDisk
from jaxal.tasks.curves import array_of, curves_of

Curve = Mapping[str, Any]
Lines = Mapping[str, Sequence[Mapping[str, Any]]]  # by the name of a strategy or method, a ledger's line for each seed
Known = Mapping[str, Sequence[Curve]]  # curves of one measure by that name, one a seed
Values = Callable[[Sequence[Curve]], np.ndarray]  # of the curves of all seeds, `[seeds, points]`
ACROSS = "100 - threshold: further right more is dropped"


class Across(NamedTuple):
    """What a chart has across.

    Attributes:
      which: the curves that it takes, over thresholds or over shares.
      points: of such a curve.
      title: what they are.
      limits: where the axis begins and ends.
      scale: of the axis, as matplotlib calls it.
    """

    which: str
    points: Callable[[Curve], np.ndarray]
    title: str
    limits: tuple[float, float]
    scale: str = "linear"


THRESHOLDS = Across("by_threshold", lambda curve: 100.0 - array_of(curve["axis"]), ACROSS, (0.0, 100.0))
SHARES = Across("by_share", lambda curve: array_of(curve["axis"]), "share dropped", (0.0, 1.0))
# Of elements nearly all are background that no network doubts, so what matters is dropped with the first few of them.
SHARES_OF_ELEMENTS = Across(
    "by_threshold", lambda curve: 1.0 - array_of(curve["kept"]), "share of all elements dropped", (1e-3, 1.0), "log"
)


def section(runs: Sequence[RunOnDisk], begins_page: bool = False) -> str:
    """Charts and tables of one setting; nothing where no ledger has uncertainty curves.

    Args:
      runs: of the setting.
      begins_page: whether the page begins with what was found, so that it need not be said again.
    """
    lines, measures = last_lines(runs)
    if not measures:
        return ""
    names, chosen = list(lines), [run for run in runs if run.strategy in lines]
    shown, folded = measures[:FEW_CHARTS], measures[FEW_CHARTS:]
    parts = [charts_of(lines, name) for name in shown]
    more = "".join(charts_of(lines, name, groups=False) for name in folded)
    found = "" if begins_page else f"<p>{html.escape(sentence(lines, measures[0]))}</p>"
    return (
        f"<section><h3>What the networks know of their errors</h3>{found}"
        "<p>Predictions whose uncertainty is above a threshold are dropped; lines are means over seeds, of the networks after the last training with all "
        "of their dropout samples, whereas the comparison's table is of one network without dropout. A gap that grows to the right means that one group "
        f"holds errors the network is sure of. A line ends where a group is empty. {_bands(lines)}{_of_nothing(lines, measures)}</p>"
        f"{keys(names)}{''.join(parts)}{_fold('Further measures', more)}{_rounds(chosen, measures[0])}{_qu_brats(lines)}</section>"
    )


def _bands(lines: Lines) -> str:
    if max(map(len, lines.values())) > 1:
        return "Bands reach from the lowest to the highest seed."
    return "Bands: 95 % of test cases drawn again."


def _of_nothing(lines: Lines, measures: Sequence[str]) -> str:
    """What the right end of curves of structures means."""
    curves = [curves_of(line).get(measures[0], {}) for of in lines.values() for line in of]
    if not any("qu_brats" in curve for curve in curves):
        return ""
    return " Dice of a structure of which nothing is left, in truth and prediction, counts as 1, so where nearly all is dropped a gap says nothing."


def last_lines(runs: Sequence[RunOnDisk]) -> tuple[Lines, list[str]]:
    """The last lines that have curves, by strategy, of training on everything only where there is nothing else; and the measures that they have."""
    chosen = [run for run in runs if run.strategy != FULL] or list(runs)
    names = sorted({run.strategy for run in chosen}, key=lambda name: (name != "erm", name))  # what others are compared with
    lines = {name: [run.rounds[-1] for run in chosen if run.strategy == name and curves_of(run.rounds[-1])] for name in names}
    return lines, list(dict.fromkeys(name for of in lines.values() for line in of for name in curves_of(line)))


def sentence(lines: Lines, measure: str) -> str:
    """How far groups are apart with all predictions, and without the uncertain ones, as plain text."""
    title = next(curves_of(line)[measure]["title"] for of in lines.values() for line in of if measure in curves_of(line))
    return gaps.sentence({name: gaps.gap_of(of, measure) for name, of in lines.items() if of}, title)


def charts_of(lines: Lines, measure: str, groups: bool = True) -> str:
    """The metric overall and the gap over thresholds; with `groups`, too, the metric of each, and all of it over the share that is dropped."""
    known = {name: [curves_of(line)[measure] for line in of if measure in curves_of(line)] for name, of in lines.items()}
    first = next(curves[0] for curves in known.values() if curves)
    names = sorted(first["by_threshold"]["by_group"]) if groups else []
    charts = "".join(_over(known, first["title"], names, THRESHOLDS))
    folded = ""
    if groups:
        whole, title = "by_share" in first, "Over the share that is dropped"
        folded = _fold(title, _row(_over(known, first["title"], names, SHARES if whole else SHARES_OF_ELEMENTS)))
    return f"{_row([charts])}{folded}"


def _row(figures: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>'


def _over(known: Known, title: str, groups: Sequence[str], across: Across) -> list[str]:
    """The metric overall, the gap, and the metric of each group; what is a metric has the same axis in all of them."""

    def of_group(group: str) -> Values:
        return lambda curves: np.array([array_of(curve["by_group"][group]) for curve in curves])

    def overall(curves: Sequence[Curve]) -> np.ndarray:
        return np.array([array_of(curve["overall"]) for curve in curves])

    of_groups = {group: of_group(group) for group in groups}
    alike = _limits(known, [overall, *of_groups.values()], across)
    return [
        _figure(known, title, overall, across, alike),
        _figure(known, f"Gap between groups, {title}", gaps.directed, across, None, band=True),
        *(_figure(known, f"{title}, group {group}", values, across, alike) for group, values in of_groups.items()),
    ]


def _limits(known: Known, every: Sequence[Values], across: Across) -> tuple[float, float]:
    means = [_mean(values([curve[across.which] for curve in curves])) for curves in known.values() if curves for values in every]
    low, high = np.nanmin(means), np.nanmax(means)
    margin = 0.05 * (high - low) or 0.05
    return float(low - margin), float(high + margin)


def draw_gaps(axis: Any, lines: Lines, measure: str) -> None:
    """The gap over thresholds of one measure, a line for each method, its mean over seeds, with the lowest and highest seed behind it."""
    known = {name: [curves_of(line)[measure] for line in of if measure in curves_of(line)] for name, of in lines.items()}
    _draw(axis, known, gaps.directed, THRESHOLDS, True)
    axis.axhline(0.0, color="0.6", lw=0.6)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _figure(
    known: Known, title: str, values: Values, across: Across, limits: tuple[float, float] | None = None, band: bool = False
) -> str:
    def draw(axis: Any) -> None:
        _draw(axis, known, values, across, band)
        if limits:
            axis.set_ylim(*limits)

    return chart(draw, title, across.title, is_plain=True)


def _draw(axis: Any, known: Known, values: Values, across: Across, band: bool) -> None:
    axis.set_xscale(across.scale)
    axis.set_xlim(*across.limits)
    for index, (name, of_seeds) in enumerate(known.items()):
        curves = [curve[across.which] for curve in of_seeds]
        if not curves:
            continue
        found, points, line = values(curves), _mean(np.array(list(map(across.points, curves)))), f"line-{index}"
        axis.plot(points, _mean(found), gid=line, label=name, lw=1.4, **look(index) | {"marker": ""})
        if band and len(known) <= FEW_CHARTS:
            ends = (
                (found.min(0), found.max(0)) if len(curves) > 1 else [array_of(curves[0][end]) for end in ("gap_low", "gap_high")]
            )
            axis.fill_between(points, *ends, alpha=0.15, color=look(index)["color"], lw=0, gid=line)


def _mean(found: np.ndarray) -> np.ndarray:
    """Over seeds, as far as the curves of all of them go: `[seeds, points]` to `[points]`."""
    return found.mean(0)


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
            figures.append(_figure(known, f"Gap between groups after round {number}", gaps.directed, THRESHOLDS))
    return _fold("The gap after every round", _row(figures)) if figures else ""


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
