"""Learning curves of runs: the lines that the report and the PNG beside it draw alike."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxal.report.budget import budget_of
from jaxal.rounds.ledger import FULL, RunOnDisk, read_runs
from jaxal.task_kind import Assessment, Budget
from jaxal.tasks.measures import CASES
from jaxal.tasks.table import kind_of

FEW = 6  # strategies that a plot holds with their names and ranges

Value = Callable[[Mapping[str, Any]], float]

DISPARITY: tuple[str, Value] = ("Disparity Δ (lower is fairer)", lambda entry: entry.get("disparity", np.nan))


def look(index: int) -> dict[str, str]:
    """Ten colours, then the same ones with another line; marks tell neighbours apart for those who see no colours."""
    return {"color": f"C{index % 10}", "ls": ("-", "--", ":")[index // 10 % 3], "marker": "os^Dv"[index % 5]}


def draw_curves(axis, runs: Sequence[RunOnDisk], names: Sequence[str], value: Value, budget: Budget) -> None:
    """A line a strategy over what is labelled, its mean over seeds; of few strategies with the range of the seeds behind it.

    What belongs to the strategy at place i is named `line-i` in an SVG.

    Args:
      axis: matplotlib's.
      runs: of all strategies.
      names: the strategies, in the order of their looks.
      value: of a line of the ledger.
      budget: how labels are counted.
    """
    from matplotlib.ticker import MaxNLocator

    for index, name in enumerate(names):
        curves = [
            {budget.place(entry): (budget.spent(entry), value(entry)) for entry in run.rounds}
            for run in runs
            if run.strategy == name
        ]
        known = [{place: point for place, point in curve.items() if not np.isnan(point[1])} for curve in curves]
        at_places = [[curve[place] for curve in known if place in curve] for place in sorted(set().union(*known))]
        labelled = [np.mean([spent for spent, _ in points]) for points in at_places]
        points = [[level for _, level in points] for points in at_places]
        means = [np.mean(point) for point in points]
        axis.plot(labelled, means, ms=3, lw=1.4, label=name, gid=f"line-{index}", **look(index))
        if len(curves) > 1 and len(names) <= FEW:
            low, high = [min(point) for point in points], [max(point) for point in points]
            axis.fill_between(labelled, low, high, color=f"C{index % 10}", alpha=0.15, lw=0, gid=f"line-{index}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=budget is CASES))


def panels_of(assessment: Assessment, groups: Sequence[str]) -> list[tuple[str, Value]]:
    """Titles and values of what is drawn of every kind of task: the main measure overall, and by group with the disparity."""
    title, key = assessment.title, assessment.key
    panels: list[tuple[str, Value]] = [(f"{title}, all test cases", lambda entry: entry[key]["overall"])]
    if len(groups) > 1:
        panels += [*group_panels(assessment, groups), DISPARITY]
    return panels


def group_panels(assessment: Assessment, groups: Sequence[str]) -> list[tuple[str, Value]]:
    """Titles and values of each group's main measure."""

    def of_group(group: str) -> Value:
        return lambda entry: entry[assessment.key]["by_group"].get(group, np.nan)

    return [(f"{assessment.title}, group {group}", of_group(group)) for group in groups]


def extreme_panels(assessment: Assessment) -> list[tuple[str, Value]]:
    """What stands for many groups: the main measure overall, that of the worst and of the best group after each round, and the disparity."""

    def of_extreme(choose: Callable[[Iterable[float]], float]) -> Value:
        return lambda entry: choose(entry[assessment.key]["by_group"].values() or [np.nan])

    extremes: list[tuple[str, Value]] = [
        (f"{assessment.title}, {name} group", of_extreme(choose)) for name, choose in (("worst", min), ("best", max))
    ]
    return [*panels_of(assessment, ()), *extremes, DISPARITY]


def plot_learning_curves(folder: Path, setting: str) -> Path | None:
    """Draws the panels of one setting as a PNG; None where no strategy has finished a round, so that there is no curve."""
    import matplotlib

    if not any(run.setting == setting and run.strategy != FULL for run in read_runs(folder)):
        return None

    matplotlib.use("Agg")
    path = folder / setting / "learning_curves.png"
    aside = path.with_name(f".{path.name}.{os.getpid()}.png")
    with matplotlib.rc_context({"text.parse_math": False}):  # names are names, whatever they hold
        _plot(folder, setting, aside)
    os.replace(aside, path)
    return path


def _plot(folder: Path, setting: str, out: Path) -> None:
    import matplotlib.pyplot as plt

    folder_runs = read_runs(folder)
    budget = budget_of([run for run in folder_runs if run.setting == setting], folder_runs)
    runs = [run for run in folder_runs if run.setting == setting and run.strategy != FULL]
    assessment = kind_of(runs[0].rounds).assessment
    groups = sorted({group for run in runs for entry in run.rounds for group in entry[assessment.key]["by_group"]})
    panels = panels_of(assessment, groups)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    names = sorted({run.strategy for run in runs})
    legend_rows = -(-len(names) // 4)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(max(6.4, 4.6 * columns), 3.4 * rows + 0.4 + 0.2 * legend_rows),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for axis, (title, value) in zip(axes.flat, panels, strict=False):
        draw_curves(axis, runs, names, value, budget)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    alike = list(axes.flat)[: max(len(panels) - 1, 1)]
    low = min(axis.get_ylim()[0] for axis in alike)
    high = max(axis.get_ylim()[1] for axis in alike)
    for axis in alike:
        axis.set_ylim(low, high + 0.03 * (high - low))  # groups are to be compared by eye
    if len(groups) > 1:
        list(axes.flat)[len(panels) - 1].set_ylim(bottom=0)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    for axis in axes[-1]:
        axis.set_xlabel(budget.title)
    seeds = [len({run.seed for run in runs if run.strategy == name}) for name in names]
    handles, _ = axes.flat[0].get_legend_handles_labels()
    labels = [f"{name} ({count})" if count > 1 else name for name, count in zip(names, seeds, strict=True)]
    figure.suptitle(setting, fontsize=11)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), frameon=False, fontsize=9)
    figure.savefig(out, dpi=130)
    plt.close(figure)
