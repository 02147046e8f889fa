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
from jaxal.report import gaps, tables, uncertainty
from jaxal.report.charts import keys
from jaxal.report.looks import document
from jaxal.rounds.ledger import RunOnDisk, read_runs
from jaxal.tasks.curves import curves_of

BASE = "erm"  # what other methods are compared with
MEASURES_AT_MOST = 3  # of a task, that the table has


class Row(NamedTuple):
    """One measure of one task by one method, over seeds.

    Attributes:
      task, measure, method: names.
      lower_is_better: whether less of the measure is better.
      overall, worst: the measure over all test cases, and of the group where it is worst, in the mean over seeds.
      gap: between groups.
      against: the gap with all predictions less that of `BASE`, seed by seed; unknown for `BASE` itself.
    """

    task: str
    measure: str
    method: str
    lower_is_better: bool
    overall: float
    worst: float
    gap: gaps.Gap
    against: Estimate


def rows_of(task: str, runs: Sequence[RunOnDisk], threshold: float = gaps.HALFWAY) -> list[Row]:
    """The first measures of one task by all methods, `BASE` first; `threshold` is the uncertainty above which predictions are dropped."""
    lines, measures = uncertainty.last_lines(runs)
    by_seed = {(run.strategy, run.seed): run.rounds[-1] for run in runs if curves_of(run.rounds[-1])}
    return [
        _row(task, measure, method, by_seed, threshold)
        for measure in measures[:MEASURES_AT_MOST]
        for method in lines
        if lines[method]
    ]


def _row(task: str, measure: str, method: str, by_seed: Mapping[tuple[str, int], Mapping[str, Any]], threshold: float) -> Row:
    lines = {key: line for key, line in by_seed.items() if measure in curves_of(line)}
    own, base = ({seed: line for (of, seed), line in lines.items() if of == name} for name in (method, BASE))
    curves = [curves_of(line)[measure] for line in own.values()]
    lower = curves[0]["lower_is_better"]
    of_groups = [[values[0] for values in curve["by_threshold"]["by_group"].values()] for curve in curves]
    worst = [max(values) if lower else min(values) for values in of_groups]
    shared = sorted(own.keys() & base.keys()) if method != BASE else []
    whole = [
        gaps.directed([curves_of(of[seed])[measure]["by_threshold"] for seed in shared])[:, 0] if shared else np.array([])
        for of in (own, base)
    ]
    return Row(
        task,
        measure,
        method,
        lower,
        float(np.mean([curve["by_threshold"]["overall"][0] for curve in curves])),
        float(np.mean(worst)),
        gaps.gap_of(list(own.values()), measure, threshold),
        student_mean(whole[0] - whole[1]),
    )


HEADS = (
    tables.Head("gap", "between groups, with all predictions; in brackets the 95 % interval over seeds"),
    tables.Head("gap less ERM's", "seed by seed; below zero the method brings groups closer"),
    tables.Head(
        "gap, uncertain dropped", "where predictions above the threshold are dropped, over seeds in which no group is empty there"
    ),
    tables.Head("change", "of the gap by that; above zero one group holds errors that the networks are sure of"),
    tables.Head("kept", "share of predictions that is kept there"),
    tables.Head("overall", "the measure over all test cases, mean over seeds"),
    tables.Head("worst group", "the measure of the group where it is worst"),
)


def table_of(task: str, rows: Sequence[Row]) -> str:
    """The table of one task: each measure by each method."""
    lines = []
    for row in rows:
        found = (
            (row.gap.whole, ""),
            (row.against, _kind(row.against)),
            (row.gap.left, ""),
            (row.gap.change, _kind(row.gap.change)),
        )
        cells = [tables.Cell(one.value, tables.number(one.value, 3), _interval(one), kind) for one, kind in found]
        cells.append(tables.Cell(row.gap.kept, "–" if np.isnan(row.gap.kept) else f"{100 * row.gap.kept:.0f}\u00a0%"))
        cells += [tables.Cell(value, tables.number(value, 3)) for value in (row.overall, row.worst)]
        lines.append((tables.Head(f"{row.measure}: {row.method}"), cells))
    return tables.table(f"methods of {task}", "measure: method", HEADS, lines)


def _kind(estimate: Estimate) -> str:
    """Whether the interval of a difference of gaps excludes zero: lower is better."""
    if np.isnan(estimate.low):
        return ""
    return "better" if estimate.high < 0 else "worse" if estimate.low > 0 else ""


def _interval(estimate: Estimate) -> tuple[str, ...]:
    return () if np.isnan(estimate.low) else (f"[{estimate.low:.3f}, {estimate.high:.3f}]",)


def sentence(rows: Sequence[Row]) -> str:
    """What was found and what to do, as plain text: which methods bring groups closer, and where dropping what is uncertain sets them apart."""
    others = [row for row in rows if row.method != BASE]
    if not others:
        return "Only one method has been run, so there is nothing to compare yet."
    if all(np.isnan(row.against.low) for row in others):
        return f"Fewer than {FEWEST} seeds tell nothing from chance: run the same command with --seeds {FEWEST} or more."
    closer, wider = ([row for row in others if _kind(row.against) == kind] for kind in ("better", "worse"))
    told = [
        f"Gaps between groups are {verb} than with {BASE} in {len(found)} of {len(others)} comparisons: {_listed(found)}."
        for found, verb in ((closer, "smaller"), (wider, "larger"))
        if found
    ] or [f"In none of {len(others)} comparisons is the gap between groups smaller or larger than with {BASE}."]
    sure = [row for row in rows if _kind(row.gap.change) == "worse"]
    safe = [row for row in rows if _kind(row.gap.change) == "better"]
    if sure:
        told.append(
            f"Dropping uncertain predictions widens the gap for {_named(sure)}: one group holds errors that the networks are sure of, so do not rely on "
            "uncertainty to find them."
        )
    if safe:
        told.append(
            f"It narrows the gap for {_named(safe)}: the worse-served group's errors are among the uncertain predictions."
        )
    if not (sure or safe):
        told.append("Nowhere does dropping uncertain predictions change the gap.")
    counted = len(others) + len(rows)
    told.append(
        f"A difference counts where its 95 % interval over seeds excludes zero; of {counted} that were looked at, about {max(1, round(counted / 20))} "
        "would by chance."
    )
    return " ".join(told)


def _listed(rows: Sequence[Row]) -> str:
    return "; ".join(
        f"{row.task}, {row.measure}: {row.method} {row.against.value:+.3f} {_interval(row.against)[0]}" for row in rows
    )


def _named(rows: Sequence[Row]) -> str:
    return "; ".join(f"{row.task}, {row.measure} by {row.method}" for row in rows)


def write_methods(out: Path, tasks: Sequence[str], threshold: float = gaps.HALFWAY) -> Path:
    """Writes `report.html`, `methods.tsv` and `gaps.png` above the folders of several tasks; returns the first.

    Args:
      out: folder that holds a folder of runs for each task.
      tasks: their names; those that have not been run are left out.
      threshold: uncertainty above which predictions are dropped in the table.
    """
    runs = {task: read_runs(out / task) for task in tasks if (out / task).is_dir()}
    rows = [row for task, of in runs.items() for row in rows_of(task, of, threshold)]
    seeds = sorted({run.seed for of in runs.values() for run in of})
    sections = "".join(_task(task, of, [row for row in rows if row.task == task]) for task, of in runs.items() if of)
    counted = f"{sum(map(len, runs.values()))} runs, seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}."
    about = (
        f"{counted} Every number is of test cases, in equal numbers of each group. Where uncertain predictions are dropped, they are those of more than "
        f"{threshold:g} % uncertainty."
    )
    write_text(out / "methods.tsv", _tsv(rows))
    plot_gaps({task: of for task, of in runs.items() if of}, out / "gaps.png")
    name, path = out.resolve().name, out / "report.html"
    lead = f'<h1>{html.escape(name)}</h1><p class="lead">{html.escape(sentence(rows))}</p><p>{about}</p>'
    write_text(path, document(name, f"{lead}{tables.meanings(HEADS)}{sections}"))
    return path


def _tsv(rows: Sequence[Row]) -> str:
    """The table with every digit; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    estimates = ("gap", "against", "left", "change")
    ends = [f"{name}{end}" for name in estimates for end in ("", "_low", "_high")]
    writer.writerow(["task", "measure", "method", "lower_is_better", "overall", "worst", *ends, "kept", "seeds", "ended"])
    for row in rows:
        numbers = [row.overall, row.worst]
        for estimate in (row.gap.whole, row.against, row.gap.left, row.gap.change):
            numbers += [estimate.value, estimate.low, estimate.high]
        told = ["" if np.isnan(value) else f"{value:.6g}" for value in (*numbers, row.gap.kept)]
        named = (row.task, row.measure, row.method, str(row.lower_is_better).lower())
        writer.writerow([*named, *told, row.gap.seeds, row.gap.ended])
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


def _task(task: str, runs: Sequence[RunOnDisk], rows: Sequence[Row]) -> str:
    lines, measures = uncertainty.last_lines(runs)
    figures = "".join(uncertainty.charts_of(lines, measure) for measure in measures[:MEASURES_AT_MOST])
    link = f'<p><a href="{html.escape(task)}/report.html">All of {html.escape(task)}</a></p>'
    return f"<h2>{html.escape(task)}</h2>{table_of(task, rows)}{keys(list(lines))}{figures}{link}"
