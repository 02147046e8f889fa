"""The report's charts as inline SVG, with one key for all of them in which strategies are shown and hidden."""

import functools
import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxal.assessment.learning_curves import GOAL
from jaxal.report.curves import Value, draw_curves, look, panels_of
from jaxal.rounds.ledger import FULL, RunOnDisk, milliseconds_a_case
from jaxal.types import Assessment

GREY = "#808890"  # is read on white and on black
STYLE: dict[Any, Any] = {  # matplotlib's types list every name that may be a key
    "svg.fonttype": "none", "font.size": 9, "text.color": GREY, "axes.labelcolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
    "axes.edgecolor": GREY, "text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False, "grid.color": GREY, "font.family": "sans-serif",
}  # fmt: skip
DASHES = {"-": "", "--": "6 3", ":": "2 3"}


def section(runs: Sequence[RunOnDisk], assessment: Assessment) -> str:
    """All charts of one setting."""
    curves = [run for run in runs if run.strategy != FULL]
    if not curves:
        return ""
    names = sorted({run.strategy for run in curves})
    groups = sorted({group for run in curves for group in run.rounds[0][assessment.key]["by_group"]})
    order = class_order(runs, assessment)
    kinds = sorted({kind for run in curves for entry in run.rounds for kind in entry.get(assessment.queried, {})}, key=order)
    full = [run for run in runs if run.strategy == FULL]
    tall = 0.9 + 0.22 * sum(1 + name.count(",") for name in names)  # of bars

    def line(title: str, value: Value, goal: bool) -> str:
        level = float(np.mean([value(run.rounds[-1]) for run in full])) if full else None
        return _chart(lambda axis: _draw_curves(axis, curves, names, value, level, goal), title, "labelled cases")

    def counts(kind: str) -> str:
        def draw(axis) -> None:
            draw_curves(axis, curves, names, lambda entry: entry["labelled_by_class"].get(kind, 0))
            axis.yaxis.get_major_locator().set_params(integer=True)

        return _chart(draw, f"Labelled of class {kind}", "labelled cases")

    bars = functools.partial(_chart, label="", height=max(2.0, tall))
    figures = [line(title, value, not place) for place, (title, value) in enumerate(panels_of(assessment, groups))]
    classes = sorted({name for run in curves for name in run.rounds[-1].get("labelled_by_class", {})}, key=order)
    figures += [counts(name) for name in classes]
    what = assessment.queried.removeprefix("queried_by_")
    figures += [
        _chart(lambda axis: _draw_reliability(axis, curves, names), "Reliability after the last round", "confidence"),
        *(
            [bars(lambda axis: _draw_queries(axis, curves, names, kinds, assessment), f"Share of each {what} among the queried")]
            if len(kinds) > 1
            else []
        ),
        bars(lambda axis: _draw_seconds(axis, curves, names), "Seconds a round, by phase"),
    ]
    if all("pool" in entry for run in curves for entry in run.rounds):
        figures.append(bars(lambda axis: _draw_scoring(axis, curves, names), "Milliseconds to score and select, a case"))
    about = (
        "Lines are means over seeds; bands, where strategies are few, reach from the lowest to the highest seed; dotted: training on "
        "everything, dashed: 95 % of it. Seconds are medians of the rounds after the first."
    )
    return f'<section><h3>Curves</h3><p>{about}</p>{_keys(names)}<div class="charts">{"".join(figures)}</div></section>'


def class_order(runs: Sequence[RunOnDisk], assessment: Assessment) -> Callable[[str], tuple[int, str]]:
    """A key that sorts classes, or groups, as the data set has them, and what is not among its classes by name."""
    known = list(dict.fromkeys(name for run in runs for name in run.rounds[-1][assessment.key].get("by_class", {})))
    return lambda name: (known.index(name) if name in known else len(known), name)


def _keys(names: Sequence[str]) -> str:
    """Which line is which strategy's; a box hides it in all charts."""
    from matplotlib.colors import to_hex

    keys = []
    for index, name in enumerate(names):
        own = look(index)
        colour, dashes = to_hex(own["color"]), DASHES[own["ls"]]
        sample = f'<svg viewBox="0 0 28 10" aria-hidden="true"><path d="M0 5H28" stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes}"/></svg>'
        keys.append(
            f'<label><input type="checkbox" checked data-line="line-{index}">{sample}<span>{html.escape(name)}</span></label>'
        )
    return f'<div class="keys">{"".join(keys)}</div>'


def _chart(draw: Callable[[Any], None], title: str, label: str, height: float = 3.2) -> str:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axis = plt.subplots(figsize=(4.6, height), layout="constrained")
        draw(axis)
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)
    return f"<figure><h4>{html.escape(title)}</h4>{svg}</figure>"


def _draw_curves(axis, runs: Sequence[RunOnDisk], names: Sequence[str], value: Value, level: float | None, goal: bool) -> None:
    draw_curves(axis, runs, names, value)
    if level is not None:
        axis.axhline(level, ls=":", color=GREY, lw=1.2)
        if goal:
            axis.axhline(GOAL * level, ls="--", color=GREY, lw=0.8)


def _bar_names(names: Sequence[str]) -> list[str]:
    return [name.replace(",", ",\n") for name in names]


def _finish_bars(axis, names: Sequence[str]) -> None:
    axis.tick_params(axis="y", labelsize=6.5 if any(name.count(",") > 1 for name in names) else 8)
    axis.margins(y=0.01)
    axis.invert_yaxis()


def _draw_parts(axis, names: Sequence[str], parts: Mapping[str, Sequence[float]]) -> None:
    """Bars of parts side by side, a bar a strategy."""
    left = np.zeros(len(names))
    for index, (part, values) in enumerate(parts.items()):
        own = f"\u200b{part}"  # matplotlib leaves names that begin with an underscore out
        axis.barh(_bar_names(names), values, left=left, color=f"C{index % 10}", alpha=0.8, label=own)
        left = left + values
    _finish_bars(axis, names)
    longest = max(map(len, parts))
    axis.figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=max(1, min(len(parts), 40 // (longest + 5))))


def _draw_queries(axis, runs: Sequence[RunOnDisk], names: Sequence[str], kinds: Sequence[str], assessment: Assessment) -> None:
    counts = {
        name: [entry.get(assessment.queried, {}) for run in runs if run.strategy == name for entry in run.rounds]
        for name in names
    }
    total = {name: max(sum(sum(own.values()) for own in counts[name]), 1) for name in names}
    share = {kind: [sum(own.get(kind, 0) for own in counts[name]) / total[name] for name in names] for kind in kinds}
    if share:
        _draw_parts(axis, names, share)
    axis.set_xlim(0, 1)


def _draw_reliability(axis, runs: Sequence[RunOnDisk], names: Sequence[str]) -> None:
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for index, name in enumerate(names):
        last = [run.rounds[-1]["reliability"] for run in runs if run.strategy == name and "reliability" in run.rounds[-1]]
        if not last:
            continue
        count, confidence, correct = (np.sum([own[part] for own in last], axis=0) for part in ("count", "confidence", "correct"))
        filled = count > 0
        shown = confidence[filled] / count[filled], correct[filled] / count[filled]
        axis.plot(*shown, marker="o", ms=3, lw=1.2, gid=f"line-{index}", **look(index))
    axis.set_ylabel("correct")


def _draw_seconds(axis, runs: Sequence[RunOnDisk], names: Sequence[str]) -> None:
    later = {name: [entry for run in runs if run.strategy == name for entry in run.rounds[1:] or run.rounds] for name in names}
    phases = ("train", "evaluate", "score", "select")
    parts = {
        phase: [np.median([entry["seconds"].get(phase, 0.0) for entry in later[name]]) for name in names] for phase in phases
    }
    _draw_parts(axis, names, parts)


def _draw_scoring(axis, runs: Sequence[RunOnDisk], names: Sequence[str]) -> None:
    milliseconds = [
        np.median([milliseconds_a_case(entry) for run in runs if run.strategy == name for entry in run.rounds[1:] or run.rounds])
        for name in names
    ]
    axis.barh(_bar_names(names), milliseconds, color="C0", alpha=0.8)
    for place, value in enumerate(milliseconds):
        axis.annotate(f"{value:.3g}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axis.margins(x=0.15)
    _finish_bars(axis, names)
