"""Methods of training over several tasks: what each costs and gains, with all predictions and without the uncertain ones.

It is a page, a table for other programs, and a picture of the gaps.
"""

import csv
import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment.intervals import FEWEST, Estimate, student_mean
from jaxal.files import write_text
from jaxal.report import tables, uncertainty
from jaxal.report.charts import keys
from jaxal.report.looks import document
from jaxal.rounds.ledger import RunOnDisk, read_runs
from jaxal.tasks.curves import array_of, curves_of

BASE = "erm"  # what other methods are compared with
MEASURES_AT_MOST = 3  # of a task, that the table has


class Row(NamedTuple):
    """One measure of one task by one method, over seeds.

    Attributes:
      task, measure, method: names.
      lower_is_better: whether less of the measure is better.
      overall, worst: the measure over all test cases, and of the group where it is worst, in the mean over seeds.
      gap: between groups with all predictions.
      against: that less the gap of `BASE`, seed by seed; unknown for `BASE` itself.
      change: the gap where predictions above the threshold are dropped, less that with all of them.
      kept: share of predictions that is kept there.
    """

    task: str
    measure: str
    method: str
    lower_is_better: bool
    overall: float
    worst: float
    gap: Estimate
    against: Estimate
    change: Estimate
    kept: float


def rows_of(task: str, runs: Sequence[RunOnDisk], threshold: float = uncertainty.HALFWAY) -> list[Row]:
    """All measures of one task by all methods, `BASE` first; `threshold` is the uncertainty above which predictions are dropped."""
    lines = {(run.strategy, run.seed): run.rounds[-1] for run in runs if curves_of(run.rounds[-1])}
    methods = sorted({method for method, _ in lines}, key=lambda method: (method != BASE, method))
    measures = list(dict.fromkeys(name for line in lines.values() for name in curves_of(line)))[:MEASURES_AT_MOST]
    return [_row(task, measure, method, lines, threshold) for measure in measures for method in methods]


def _row(task: str, measure: str, method: str, lines: Mapping[tuple[str, int], Mapping[str, Any]], threshold: float) -> Row:
    curves = {key: curves_of(line)[measure] for key, line in lines.items() if measure in curves_of(line)}
    own = {seed: curve for (of, seed), curve in curves.items() if of == method}
    base = {seed: curve for (of, seed), curve in curves.items() if of == BASE}
    lower = next(iter(own.values()))["lower_is_better"]
    of_groups = [[values[0] for values in curve["by_threshold"]["by_group"].values()] for curve in own.values()]
    worst = [max(values) if lower else min(values) for values in of_groups]
    axis = array_of(next(iter(own.values()))["by_threshold"]["axis"])
    at = int(np.abs(axis - threshold).argmin())
    gaps = {seed: array_of(curve["by_threshold"]["gap"]) for seed, curve in own.items()}
    shared = sorted(own.keys() & base.keys()) if method != BASE else []
    against = [gaps[seed][0] - array_of(base[seed]["by_threshold"]["gap"])[0] for seed in shared]
    return Row(
        task,
        measure,
        method,
        lower,
        float(np.mean([curve["by_threshold"]["overall"][0] for curve in own.values()])),
        float(np.mean(worst)),
        student_mean(np.array([gap[0] for gap in gaps.values()])),
        student_mean(np.array(against)),
        student_mean(np.array([gap[at] - gap[0] for gap in gaps.values()])),
        float(np.mean([curve["by_threshold"]["kept"][at] for curve in own.values()])),
    )


HEADS = (
    tables.Head("overall", "the measure over all test cases, mean over seeds"),
    tables.Head("worst group", "the measure of the group where it is worst"),
    tables.Head("gap", "between groups, with all predictions; in brackets the 95 % interval over seeds"),
    tables.Head("gap less ERM's", "seed by seed; below zero the method brings groups closer"),
    tables.Head(
        "gap, uncertain dropped",
        "change of the gap where predictions above the threshold are dropped; above zero one group holds sure errors",
    ),
    tables.Head("kept", "share of predictions that is kept there"),
)


def table_of(rows: Sequence[Row]) -> str:
    """The table of tasks and methods."""
    lines = []
    for row in rows:
        cells = [tables.Cell(row.overall, f"{row.overall:.3f}"), tables.Cell(row.worst, f"{row.worst:.3f}")]
        for estimate, kind in ((row.gap, ""), (row.against, _kind(row.against)), (row.change, _kind(row.change))):
            shown = "–" if np.isnan(estimate.value) else f"{estimate.value:.3f}"
            cells.append(tables.Cell(estimate.value, shown, _interval(estimate), kind))
        cells.append(tables.Cell(row.kept, "–" if np.isnan(row.kept) else f"{100 * row.kept:.0f}\u00a0%"))
        lines.append((tables.Head(f"{row.task}, {row.measure}: {row.method}"), cells))
    return tables.table("methods", "task, measure: method", HEADS, lines) + tables.meanings(HEADS)


def _kind(estimate: Estimate) -> str:
    """Whether a difference of gaps is beyond doubt: lower is better."""
    if np.isnan(estimate.low):
        return ""
    return "better" if estimate.high < 0 else "worse" if estimate.low > 0 else ""


def _interval(estimate: Estimate) -> tuple[str, ...]:
    return () if np.isnan(estimate.low) else (f"[{estimate.low:.3f}, {estimate.high:.3f}]",)


def sentence(rows: Sequence[Row]) -> str:
    """What was found, as plain text: which methods bring groups closer beyond doubt, and where dropping what is uncertain sets them apart."""
    others = [row for row in rows if row.method != BASE]
    if not others:
        return "Only one method has been run, so there is nothing to compare yet."
    if all(np.isnan(row.against.low) for row in others):
        return f"Fewer than {FEWEST} seeds say nothing beyond doubt: run the same command with --seeds {FEWEST} or more."
    closer, wider = ([row for row in others if _kind(row.against) == kind] for kind in ("better", "worse"))
    told = []
    for found, verb in ((closer, "smaller"), (wider, "larger")):
        if found:
            listed = "; ".join(
                f"{row.task}, {row.measure}: {row.method} {row.against.value:+.3f} {_interval(row.against)[0]}" for row in found
            )
            told.append(
                f"Gaps between groups are {verb} than with {BASE} beyond doubt in {len(found)} of {len(others)} comparisons: {listed}."
            )
    if not told:
        told = [
            f"In none of {len(others)} comparisons is the gap between groups smaller or larger than with {BASE} beyond doubt."
        ]
    sure = [row for row in rows if _kind(row.change) == "worse"]
    if sure:
        listed = ", ".join(f"{row.task}, {row.measure} by {row.method}" for row in sure)
        told.append(
            f"Dropping uncertain predictions widens the gap beyond doubt for {listed}: one group holds errors that the networks are sure of."
        )
    else:
        told.append("Nowhere does dropping uncertain predictions widen the gap beyond doubt.")
    return " ".join(told)


def write_methods(out: Path, tasks: Sequence[str], threshold: float = uncertainty.HALFWAY) -> Path:
    """Writes `report.html`, `methods.tsv` and `gaps.png` above the folders of several tasks; returns the first.

    Args:
      out: folder that holds a folder of runs for each task.
      tasks: their names; those that have not been run are left out.
      threshold: uncertainty above which predictions are dropped in the table.
    """
    runs = {task: read_runs(out / task) for task in tasks if (out / task).is_dir()}
    rows = [row for task, of in runs.items() for row in rows_of(task, of, threshold)]
    seeds = sorted({run.seed for of in runs.values() for run in of})
    sections = "".join(_task(task, of) for task, of in runs.items() if of)
    counted = f"{sum(map(len, runs.values()))} runs, seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}."
    about = (
        f"{counted} Every number is of test cases, in equal numbers of each group. Where uncertain predictions are dropped, they are those of more than "
        f"{threshold:g} % uncertainty."
    )
    write_text(out / "methods.tsv", _tsv(rows))
    plot_gaps({task: of for task, of in runs.items() if of}, out / "gaps.png")
    name, path = out.resolve().name, out / "report.html"
    lead = f'<h1>{html.escape(name)}</h1><p class="lead">{html.escape(sentence(rows))}</p><p>{about}</p>'
    write_text(path, document(name, f"{lead}{table_of(rows)}{sections}"))
    return path


def _tsv(rows: Sequence[Row]) -> str:
    """The table with every digit; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    estimates = ("gap", "against", "change")
    ends = [f"{name}{end}" for name in estimates for end in ("", "_low", "_high")]
    writer.writerow(["task", "measure", "method", "lower_is_better", "overall", "worst", *ends, "kept"])
    for row in rows:
        numbers = [row.overall, row.worst]
        for name in estimates:
            estimate: Estimate = getattr(row, name)
            numbers += [estimate.value, estimate.low, estimate.high]
        told = ["" if np.isnan(number) else f"{number:.6g}" for number in (*numbers, row.kept)]
        writer.writerow([row.task, row.measure, row.method, str(row.lower_is_better).lower(), *told])
    return text.getvalue()


def plot_gaps(runs: Mapping[str, Sequence[RunOnDisk]], path: Path) -> None:
    """Draws the gap between groups over what is dropped: a row of panels for each task, one for each measure, the lines means over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = {task: uncertainty.last_lines(of) for task, of in runs.items()}
    columns = min(MEASURES_AT_MOST, max(len(measures) for _, measures in found.values()))
    with matplotlib.rc_context({"text.parse_math": False}):
        figure, axes = plt.subplots(
            len(found), columns, figsize=(3.6 * columns + 0.4, 2.6 * len(found) + 0.5), squeeze=False, layout="constrained"
        )
        for row, (task, (lines, measures)) in zip(axes, found.items(), strict=True):
            for axis, measure in zip(row, measures, strict=False):
                uncertainty.draw_gaps(axis, lines, measure)
                axis.set_title(f"{task}: {measure}", fontsize=9)
            for axis in row[len(measures) :]:
                axis.remove()
        figure.supxlabel(uncertainty.ACROSS, fontsize=9)
        figure.supylabel("gap between groups", fontsize=9)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
        aside = path.with_name(f".{path.name}.{os.getpid()}.png")
        figure.savefig(aside, dpi=130)
        plt.close(figure)
    os.replace(aside, path)


def _task(task: str, runs: Sequence[RunOnDisk]) -> str:
    lines, measures = uncertainty.last_lines(runs)
    figures = "".join(uncertainty.charts_of(lines, measure) for measure in measures[:MEASURES_AT_MOST])
    link = f'<p><a href="{html.escape(task)}/report.html">All of {html.escape(task)}</a></p>'
    return f"<h2>{html.escape(task)}</h2>{keys(list(lines))}{figures}{link}"
