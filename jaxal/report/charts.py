"""The report's charts as inline SVG, with one key for all of them in which strategies are shown and hidden."""

import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxal.assessment.learning_curves import GOAL
from jaxal.report.curves import Value, draw_curves, extreme_panels, group_panels, look, panels_of
from jaxal.rounds.ledger import FULL, RunOnDisk, milliseconds_a_case
from jaxal.task_kind import Assessment, Budget
from jaxal.tasks.measures import CASES

GREY = "#808890"  # is read on white and on black
STYLE: dict[Any, Any] = {  # matplotlib's types list every name that may be a key
    "svg.fonttype": "none", "font.size": 9, "text.color": GREY, "axes.labelcolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
    "axes.edgecolor": GREY, "text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False, "grid.color": GREY, "font.family": "sans-serif",
    "axes.axisbelow": True, "hatch.color": "white", "hatch.linewidth": 1.2,
}  # fmt: skip
DASHES = {"-": "", "--": "6 3", ":": "2 3"}
MARKS = {  # as SVG draws them around (14, 5)
    "o": '<circle cx="14" cy="5" r="3.5"/>', "s": '<path d="M11 2h6v6h-6z"/>', "^": '<path d="M14 1l4 8h-8z"/>', "D": '<path d="M14 .5l4.5 4.5-4.5 4.5-4.5-4.5z"/>',
    "v": '<path d="M14 9l4-8h-8z"/>',
}  # fmt: skip
HATCHES = ("", "///", "...", "xxx")  # of the parts of bars beyond the tenth, whose colours come again
FEW_CHARTS = 3  # of groups or classes, that are not folded up


def section(runs: Sequence[RunOnDisk], assessment: Assessment, budget: Budget = CASES) -> str:
    """All charts of one setting; those of each of many groups or classes are folded up."""
    curves = [run for run in runs if run.strategy != FULL]
    if not curves:
        return ""
    names = sorted({run.strategy for run in curves})
    groups = sorted({group for run in curves for entry in run.rounds for group in entry[assessment.key]["by_group"]})
    order = class_order(runs, assessment)
    full = [run for run in runs if run.strategy == FULL]

    def line(title: str, value: Value, goal: bool = False) -> str:
        if all(np.isnan(value(entry)) for run in curves for entry in run.rounds):
            return ""
        level = float(np.mean([value(run.rounds[-1]) for run in full])) if full else None
        drawn = names, value, budget
        return chart(lambda axis: _draw_curves(axis, curves, *drawn, level, goal), title, budget.title)

    def counts(kind: str) -> str:
        def draw(axis) -> None:
            draw_curves(axis, curves, names, lambda entry: entry.get("labelled_by_class", {}).get(kind, 0), budget)
            axis.yaxis.get_major_locator().set_params(integer=True)

        return chart(draw, f"Labelled of class {kind}", budget.title)

    fold_groups = len(groups) > FEW_CHARTS
    panels = extreme_panels(assessment) if fold_groups else panels_of(assessment, groups)
    figures = [line(title, value, not place) for place, (title, value) in enumerate(panels)]
    of_groups = [line(title, value) for title, value in group_panels(assessment, groups)] if fold_groups else []
    of_classes = [
        counts(name)
        for name in sorted({name for run in curves for name in run.rounds[-1].get("labelled_by_class", {})}, key=order)
    ]
    folded = [(f"{assessment.title} by group", of_groups)]
    if len(of_classes) > FEW_CHARTS:
        folded.append(("Labelled by class", of_classes))
    else:
        figures += of_classes
    figures += _bars(curves, names, assessment, order)
    about = (
        "Lines are means over seeds; bands, where strategies are few, reach from the lowest to the highest seed; dotted: training on "
        "everything, dashed: 95 % of it. Seconds are medians of the rounds after the first."
    )
    rest = "".join(
        f'<details><summary>{html.escape(title)} ({len(parts)} charts)</summary><div class="charts">{"".join(parts)}</div></details>'
        for title, parts in folded
        if parts
    )
    return f'<section><h3>Curves</h3><p>{about}</p>{keys(names)}<div class="charts">{"".join(figures)}</div>{rest}</section>'


def class_order(runs: Sequence[RunOnDisk], assessment: Assessment) -> Callable[[str], tuple[int, str]]:
    """A key that sorts classes, or groups, as the data set has them, and what is not among its classes by name."""
    known = list(dict.fromkeys(name for run in runs for name in run.rounds[-1][assessment.key].get("by_class", {})))
    return lambda name: (known.index(name) if name in known else len(known), name)


def keys(names: Sequence[str]) -> str:
    """Which line is which strategy's; a box hides it in all charts."""
    from matplotlib.colors import to_hex

    keys = []
    for index, name in enumerate(names):
        style = look(index)
        colour, dashes = to_hex(style["color"]), DASHES[style["ls"]]
        sample = (
            f'<svg viewBox="0 0 28 10" aria-hidden="true"><path d="M0 5H28" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
            f'<g fill="{colour}">{MARKS[style["marker"]]}</g></svg>'
        )
        keys.append(
            f'<label><input type="checkbox" checked data-line="line-{index}">{sample}<span>{html.escape(name)}</span></label>'
        )
    return f'<div class="keys">{"".join(keys)}</div>'


def chart(
    draw: Callable[[Any], None],
    title: str,
    label: str,
    height: float = 3.2,
    below: Callable[[Any], None] | None = None,
    is_plain: bool = False,
) -> str:
    """A figure with a title and an axis, and perhaps a second one `below` it that has the same values across.

    Args:
      draw: draws on the axis.
      title: above the figure.
      label: of the axis across.
      height: in inches.
      below: draws on the second axis.
      is_plain: whether numbers of up to five digits are all that stands beside the axis. Its margins are known then, and it is drawn in half the time.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({**STYLE, "svg.hashsalt": title}):
        drawn = [draw, below] if below else [draw]
        heights = (3, 1)[: len(drawn)]
        figure, axes = plt.subplots(
            len(drawn),
            1,
            sharex=True,
            squeeze=False,
            height_ratios=heights,
            figsize=(4.6, height),
            layout=None if is_plain else "constrained",
        )
        if is_plain:
            figure.subplots_adjust(left=0.13, right=0.96, bottom=0.45 / height, top=1 - 0.08 / height)
        for axis, draw_part in zip(axes.flat, drawn, strict=True):
            draw_part(axis)
            axis.grid(alpha=0.25)
        axes[-1, 0].set_xlabel(label)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)
    return f"<figure><h4>{html.escape(title)}</h4>{svg}</figure>"


def _draw_curves(
    axis, runs: Sequence[RunOnDisk], names: Sequence[str], value: Value, budget: Budget, level: float | None, goal: bool
) -> None:
    draw_curves(axis, runs, names, value, budget)
    if level is not None:
        axis.axhline(level, ls=":", color=GREY, lw=1.2)
        if goal and level > 0:
            axis.axhline(GOAL * level, ls="--", color=GREY, lw=0.8)


# Bars


def _bars(runs: Sequence[RunOnDisk], names: Sequence[str], assessment: Assessment, order: Callable[[str], Any]) -> list[str]:
    """What was queried and how long it took, a bar a strategy; nothing of what was not counted or not timed."""
    kinds = sorted({kind for run in runs for entry in run.rounds for kind in entry.get(assessment.queried, {})}, key=order)
    kind_named = assessment.queried.removeprefix("queried_by_")
    figures = []
    if len(kinds) > 1:
        shares = _shares(runs, names, kinds, assessment)
        figures.append(_parts_chart(names, shares, f"Share of each {kind_named} among the queried", whole=True))
    later = {name: [entry for run in runs if run.strategy == name for entry in run.rounds[1:] or run.rounds] for name in names}
    phases = ("train", "evaluate", "score", "select")
    seconds = {
        phase: [float(np.median([entry["seconds"].get(phase, 0.0) for entry in later[name]])) for name in names]
        for phase in phases
    }
    if any(map(any, seconds.values())):
        figures.append(_parts_chart(names, seconds, "Seconds a round, by phase"))
    if all("pool" in entry for run in runs for entry in run.rounds):
        milliseconds = [float(np.median([milliseconds_a_case(entry) for entry in later[name]])) for name in names]
        if any(milliseconds):
            title = "Milliseconds to score and select, a case"
            figures.append(chart(lambda axis: _draw_scoring(axis, names, milliseconds), title, "", _height(names)))
    return figures


def _height(names: Sequence[str]) -> float:
    """Inches of a chart with a bar for each of these names, which have a line for each option."""
    return max(2.0, 0.9 + 0.22 * sum(1 + name.count(",") for name in names))


def _bar_names(names: Sequence[str]) -> list[str]:
    return [name.replace(",", ",\n") for name in names]


def _finish_bars(axis, names: Sequence[str]) -> None:
    axis.tick_params(axis="y", labelsize=6.5 if any(name.count(",") > 1 for name in names) else 8)
    axis.margins(y=0.01)
    axis.invert_yaxis()


def _parts_chart(names: Sequence[str], parts: Mapping[str, Sequence[float]], title: str, whole: bool = False) -> str:
    """Bars of parts side by side; the chart grows with the lines of its legend, so that many parts do not squash the bars."""
    legend = {part: part if len(part) <= 45 else f"{part[:44]}…" for part in parts}
    columns = max(1, min(len(parts), 52 // (max(map(len, legend.values())) + 5)))
    lines = -(-len(parts) // columns)

    def draw(axis) -> None:
        left = np.zeros(len(names))
        for index, (part, values) in enumerate(parts.items()):
            look_of_part = {"color": f"C{index % 10}", "hatch": HATCHES[index // 10 % len(HATCHES)]}
            label = f"\u200b{legend[part]}"  # matplotlib leaves names that begin with an underscore out
            axis.barh(_bar_names(names), values, left=left, alpha=0.8, label=label, **look_of_part)
            left = left + values
        _finish_bars(axis, names)
        if whole:
            axis.set_xlim(0, 1)
        axis.figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=columns)

    return chart(draw, title, "", _height(names) + 0.17 * (lines - 1))


def _shares(
    runs: Sequence[RunOnDisk], names: Sequence[str], kinds: Sequence[str], assessment: Assessment
) -> dict[str, list[float]]:
    """Of all that a strategy queried the share of each kind, by kind and in the order of the strategies."""
    counts = {
        name: [entry.get(assessment.queried, {}) for run in runs if run.strategy == name for entry in run.rounds]
        for name in names
    }
    total = {name: max(sum(sum(by_kind.values()) for by_kind in counts[name]), 1) for name in names}
    return {kind: [sum(by_kind.get(kind, 0) for by_kind in counts[name]) / total[name] for name in names] for kind in kinds}


def _draw_scoring(axis, names: Sequence[str], milliseconds: Sequence[float]) -> None:
    axis.barh(_bar_names(names), milliseconds, color="C0", alpha=0.8)
    for place, value in enumerate(milliseconds):
        axis.annotate(f"{value:.3g}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axis.margins(x=0.15)
    _finish_bars(axis, names)
