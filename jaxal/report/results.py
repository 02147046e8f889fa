"""What was reached, as the report's tables: comparison, differences, groups, rounds and classes."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxal.report import charts
from jaxal.report.comparison import FEWEST_SEEDS, Comparison, Estimate, means_over
from jaxal.report.tables import Cell, Head, Line, fitted, has_interval, interval, meanings, number, table
from jaxal.rounds.ledger import FULL, RunOnDisk
from jaxal.strategies.named import summary_of
from jaxal.task_kind import Assessment, Budget, Measure
from jaxal.tasks.measures import CASES, LABELS, measure_of
from jaxal.tasks.table import KINDS

FEW_GROUPS = 2  # which have columns of their own in the table of all measures

Rows = Mapping[str, Mapping[str, Estimate]]  # estimates by strategy and measure


def comparison_section(comparison: Comparison, of_training: bool = False) -> str:
    """The compared strategies' estimates, and their differences from those that others are measured against.

    Args:
      comparison: of one setting.
      of_training: whether methods of training on everything are compared, which ask for nothing.
    """
    named = "method" if of_training else "strategy"
    left_out = (
        f"<p>Left out, since the others have more seeds and rounds in common: {html.escape(', '.join(comparison.left_out))}.</p>"
        if comparison.left_out
        else ""
    )
    if not comparison.table:
        return "<p>There is nothing to compare yet.</p>" + left_out
    seeds, title = len(comparison.seeds), "Comparison" if len(comparison.table) > 1 else "Result"
    parts = [
        f"<h3>{title}</h3><p>{_intervals_line(seeds)} {'' if of_training else _full_line(comparison)}</p>",
        _estimates(title, comparison.table, comparison, named=named),
        _groups(f"{comparison.assessment.title} by group", comparison.table, comparison),
        left_out,
    ]
    for base, rows in comparison.differences.items():
        if rows:
            name = f"Difference from {base}"
            coloured = (
                " Coloured and marked where the interval excludes zero: ▲ better, ▼ worse." if seeds >= FEWEST_SEEDS else ""
            )
            parts += [
                f"<h3>{html.escape(name)}</h3><p>Paired: the same seeds and test cases.{coloured}</p>",
                _estimates(name, rows, comparison, base, named),
                _groups(f"{comparison.assessment.title} by group, difference from {base}", rows, comparison, base),
            ]
    return "".join(parts)


def _intervals_line(seeds: int) -> str:
    if seeds < FEWEST_SEEDS:
        return f"{means_over(seeds).capitalize()}, because fewer than {FEWEST_SEEDS} do not show how far other splits and trainings would differ."
    return (
        f"Means over the {seeds} seeds that all of them have, below them 95 % intervals: Student's t over the seeds, for the mean of all splits "
        "and trainings of this data. Other patients may fare otherwise."
    )


def _full_line(comparison: Comparison) -> str:
    if comparison.full is None:
        return (
            "Training on everything was not run for all of these seeds, so nothing is said of the labels needed for 95 % of it."
        )
    return f"Training on everything: {comparison.assessment.title} {comparison.full:.3f}."


def _of_groups(rows: Rows, assessment: Assessment) -> dict[str, str]:
    """The groups' measures, and the name of each group."""
    prefix = f"{assessment.key}_"
    names = [name for name in next(iter(rows.values())) if name not in assessment.measures and name not in LABELS]
    return {name: name.removeprefix(prefix) for name in names}


def _estimates(name: str, rows: Rows, comparison: Comparison, base: str = "", named: str = "strategy") -> str:
    """All measures of all strategies; of many groups the worst, the best and the disparity alone."""
    assessment, measures = comparison.assessment, list(next(iter(rows.values())))
    of_groups = _of_groups(rows, assessment)
    order = [measure for measure in (*assessment.measures, *LABELS) if measure in measures]
    extremes = len(of_groups) > FEW_GROUPS and not base
    if len(of_groups) <= FEW_GROUPS:
        order[1:1] = of_groups
    columns = [measure_of(assessment, measure) for measure in order]
    heads = [Head(column.title, column.meaning) for column in columns]
    lines: list[Line] = []
    for strategy, estimates in rows.items():
        cells = [_cell(estimates[key], column, comparison, base) for key, column in zip(order, columns, strict=True)]
        if base:
            cells = [
                _goal_difference(cell, comparison.table[strategy][key], comparison.table[base][key], base)
                if key in LABELS
                else cell
                for cell, key in zip(cells, order, strict=True)
            ]
        if extremes:
            place = order.index("worst_group")
            cells[place : place + 1] = _extremes(cells[place], estimates, of_groups, comparison)
        lines.append((strategy_head(strategy), cells))
    if extremes:
        heads.insert(order.index("worst_group") + 1, Head("best group", f"the group with the highest mean {assessment.title}"))
    return table(name, named, heads, lines, "measures") + ("" if base else meanings(heads))


def _extremes(worst: Cell, estimates: Mapping[str, Estimate], of_groups: Mapping[str, str], comparison: Comparison) -> list[Cell]:
    """The worst and the best group by name; the worst only if it is the same in all seeds, since its value is a mean of each seed's lowest."""
    known = {measure: estimates[measure].value for measure in of_groups if not np.isnan(estimates[measure].value)}
    if not known:
        return [worst, Cell(np.nan, "–")]
    lowest, highest = min(known, key=lambda measure: known[measure]), max(known, key=lambda measure: known[measure])
    same = np.isclose(known[lowest], estimates["worst_group"].value, rtol=0, atol=1e-9)
    named = f"group {of_groups[lowest]}" if same else "not the same in all seeds"
    best = _cell(estimates[highest], measure_of(comparison.assessment, highest), comparison, "")
    return [worst._replace(small=(named, *worst.small)), best._replace(small=(f"group {of_groups[highest]}", *best.small))]


def _groups(name: str, rows: Rows, comparison: Comparison, base: str = "") -> str:
    """Every group's estimates where there are many, folded up; the worst of the first strategy comes first."""
    of_groups = _of_groups(rows, comparison.assessment)
    if len(of_groups) <= FEW_GROUPS:
        return ""
    values = next(iter(comparison.table.values()))
    order = sorted(of_groups, key=lambda measure: (bool(np.isnan(values[measure].value)), values[measure].value))
    column = measure_of(comparison.assessment, order[0])
    lines = [
        (strategy_head(strategy), [_cell(estimates[measure], column, comparison, base) for measure in order])
        for strategy, estimates in rows.items()
    ]
    heads = [Head(of_groups[measure], column.meaning) for measure in order]
    if len(lines) < len(heads):
        turned = [(head, [cells[place] for _, cells in lines]) for place, head in enumerate(heads)]
        heads, lines, corner = [strategy for strategy, _ in lines], turned, "group"
    else:
        corner = "strategy"
    return f"<details><summary>{html.escape(name)} ({len(order)} groups)</summary>{table(name, corner, heads, lines)}</details>"


def strategy_head(name: str) -> Head:
    """With what the strategy does, if its name is known; one of the user's own says so in its file."""
    makes = [kind.strategies[row] for kind in KINDS.values() if (row := name.split(",")[0]) in kind.strategies]
    return Head(name, summary_of(makes[0]) if makes else "")


def _cell(estimate: Estimate, column: Measure, comparison: Comparison, base: str) -> Cell:
    """An estimate, or with a `base` a difference from that; infinity, of a goal that was not reached, in words."""
    value, known = estimate.value, has_interval(estimate, len(comparison.seeds))
    if np.isinf(value):
        return Cell(value, "not reached")
    small = (interval(estimate, column.digits, bool(base)),) if known else ()
    sure = bool(base) and known and (estimate.low > 0 or estimate.high < 0)
    kind = ("better" if (value < 0) == column.lower_is_better else "worse") if sure else ""
    return Cell(value, number(value, column.digits, bool(base)), small, kind)


def _goal_difference(cell: Cell, estimate: Estimate, of_base: Estimate, base: str) -> Cell:
    """By how much a goal is nearer that one of them did not reach, nobody knows: who reached it is said in words instead."""
    if np.isinf(estimate.value) and np.isinf(of_base.value):
        return Cell(np.nan, "–", ("neither reached it",))
    if np.isinf(estimate.value):
        return Cell(np.inf, "–", (f"only {base} reached it",))
    return Cell(-np.inf, "–", (f"{base} did not reach it",)) if np.isinf(of_base.value) else cell


# By rounds and classes


def by_round(runs: Sequence[RunOnDisk], assessment: Assessment, budget: Budget = CASES) -> str:
    """The main measure after each round, mean and standard deviation over seeds: the shape in which papers give it."""
    curves = [run for run in runs if run.strategy != FULL]
    spent: dict[int, set[float]] = {}
    for entry in (entry for run in curves for entry in run.rounds):
        spent.setdefault(budget.place(entry), set()).add(budget.spent(entry))
    if not spent:
        return ""
    lines: list[Line] = []
    for strategy in sorted({run.strategy for run in curves}):
        of_strategy = [run for run in curves if run.strategy == strategy]
        lines.append(
            (
                strategy_head(strategy),
                [_mean_and_deviation(_values_at(of_strategy, place, assessment, budget)) for place in sorted(spent)],
            )
        )
    pools = {pool for run in curves for entry in run.rounds if (pool := budget.pool(entry))}
    whole = min(pools) if len(pools) == 1 else None
    heads = []
    for place, amounts in sorted(spent.items()):
        amount = " to ".join(dict.fromkeys(map(budget.shown, (min(amounts), max(amounts)))))
        heads.append(Head(f"{amount}{f' ({100 * place / whole:.0f} %)' if whole else ''}", budget.title, place))
    name = f"{assessment.title} by {budget.title}"
    return (
        f"<h3>{name}</h3><p>Mean and standard deviation over all seeds of each strategy, after training on so {'many' if budget is CASES else 'much'}"
        f"{f' of {whole}' if whole else ''}.</p>" + fitted(name, "strategy", heads, lines, "labelled")
    )


def _values_at(runs: Sequence[RunOnDisk], place: int, assessment: Assessment, budget: Budget) -> list[float]:
    """The main measure of the runs that got to a place."""
    return [entry[assessment.key]["overall"] for run in runs for entry in run.rounds if budget.place(entry) == place]


def _mean_and_deviation(values: Sequence[float]) -> Cell:
    if not values:
        return Cell(np.nan, "–")
    mean = float(np.mean(values))
    return Cell(mean, f"{mean:.4f}", (f"±\u00a0{np.std(values, ddof=1):.4f}",) if len(values) > 1 else ())


def by_class(runs: Sequence[RunOnDisk], assessment: Assessment) -> str:
    """What was reached of each class, and how many of it were labelled for that, where there are several."""
    order = charts.class_order(runs, assessment)
    parts = [
        (
            f"{assessment.title} by {assessment.class_named}",
            _last_means(runs, order, lambda entry: entry[assessment.key].get("by_class", {}), 3),
        ),
        ("Labelled by class", _last_means(runs, order, lambda entry: entry.get("labelled_by_class", {}), 1, absent=0.0)),
    ]
    return "".join(
        f"<h3>{name}</h3><p>After each run's last round, mean over all of its seeds.</p>"
        + fitted(name, "strategy", [Head(kind) for kind in kinds], lines, assessment.class_named)
        for name, (kinds, lines) in parts
        if len(kinds) > 1
    )


def _last_means(
    runs: Sequence[RunOnDisk],
    order: Callable[[str], Any],
    of: Callable[[Mapping[str, Any]], Mapping[str, float]],
    digits: int,
    absent: float = np.nan,
) -> tuple[list[str], list[Line]]:
    """The classes, and a line a strategy of their means over seeds after the last round."""
    last = {(run.strategy, run.seed): of(run.rounds[-1]) for run in runs}
    kinds = sorted({kind for by_kind in last.values() for kind in by_kind}, key=order)
    lines: list[Line] = []
    for strategy in sorted({strategy for strategy, _ in last}):
        values = [[by_kind.get(kind, absent) for kind in kinds] for (other, _), by_kind in last.items() if other == strategy]
        columns = [[value for value in column if not np.isnan(value)] for column in zip(*values, strict=True)]
        means = [float(np.mean(column)) if column else np.nan for column in columns]
        lines.append((strategy_head(strategy), [Cell(mean, number(mean, digits)) for mean in means]))
    return kinds, lines
