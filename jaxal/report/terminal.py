"""What a person sees: progress, one table row a round, learning curves, and a summary of all runs of a folder."""

import csv
import io
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import table as rich_table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxal.data.parts import part_of
from jaxal.files import write_text
from jaxal.report.comparison import Comparison, Estimate, means_over
from jaxal.report.levels import AT_GOAL
from jaxal.rounds.ledger import read_runs
from jaxal.rounds.protocol import asked_units
from jaxal.task_kind import Assessment, Column
from jaxal.tasks.measures import measure_of, share_of_elements
from jaxal.tasks.table import kind_of

SECONDS_BETWEEN_LINES = 15.0


class Display:
    """Writes to the terminal, and remembers whether somebody asked to stop.

    In a terminal, progress is a bar; in a log file, a line every quarter of a minute.

    Args:
      console: where to write.
      quiet: show only errors. Followers are quiet, because the leader reports for all hosts.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or Console(highlight=False, emoji=False, soft_wrap=True, quiet=quiet)
        self._errors = console or Console(highlight=False, emoji=False, soft_wrap=True, stderr=True)
        self._stop: int | None = None

    @property
    def stopped_by(self) -> int | None:
        """The signal that asked to stop, if one did."""
        return self._stop

    def should_stop(self) -> bool:
        return self._stop is not None

    def note(self, text: str) -> None:
        self.console.print(text, markup=False)

    def error(self, text: str) -> None:
        self._errors.print("[bold red]error:[/] ", end="")
        self._errors.print(text, markup=False)

    @contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """Turns the first Ctrl-C or SIGTERM into a wish to stop at the next step; a second one ends the process at once."""

        def on_signal(number: int, frame: Any) -> None:
            if self._stop is not None:
                os.write(2, b"\nStopped at once. Run the same command again to go on.\n")
                os._exit(128 + number)  # an exception could strike inside the compiler, which does not survive it
            self._stop = number
            os.write(2, "\nStopping at the next step … (once more to stop at once)\n".encode())

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        if not self.console.is_terminal:
            yield self._lines(what)
            return
        columns = (
            TextColumn("  {task.description:<22}"),
            BarColumn(30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def _lines(self, what: str) -> Callable[[int, int], None]:
        last = time.monotonic()
        first: tuple[int, float] | None = None  # what was done when, at first: it holds what is compiled, or was done before

        def report(done: int, total: int) -> None:
            nonlocal last, first
            now = time.monotonic()
            if first is None and done > 0:
                first = done, now
            if now - last >= SECONDS_BETWEEN_LINES and first is not None and done < total:
                last = now
                before, since = first
                left = f", {(now - since) / (done - before) * (total - done):.0f} s left" if done > before else ""
                self.note(f"  {what}: {done} of {total}{left}")

        return report

    def comparison(self, comparisons: Sequence[Comparison]) -> None:
        """A table for each setting of which strategies can be compared: means over seeds, of three or more with 95 % intervals."""
        for comparison in comparisons:
            if len(comparison.table) < 2:
                continue
            measures = [name for name in comparison.assessment.in_short if name in next(iter(comparison.table.values()))]
            table = rich_table.Table(
                rich_table.Column("strategy", overflow="fold"),
                *(measure_of(comparison.assessment, name).title for name in measures),
                title=f"{comparison.setting}: {means_over(len(comparison.seeds))}",
                box=None,
                pad_edge=False,
                padding=(0, 1, 0, 0),
            )
            for name, estimates in comparison.table.items():
                cells = [
                    _with_interval(estimates[measure], measure_of(comparison.assessment, measure).digits) for measure in measures
                ]
                table.add_row(name.replace(",", ",\n"), *cells)
            self.console.print(table)

    def table_header(self, assessment: Assessment, groups: Sequence[str]) -> None:
        """Titles of the table of rounds."""
        self.console.print(
            _row([column.title for column in _columns(assessment, groups)], assessment, groups), style="bold", markup=False
        )

    def table_row(self, record: Mapping[str, Any], assessment: Assessment, groups: Sequence[str]) -> None:
        cells = [column.cell(record) for column in _columns(assessment, groups)]
        self.console.print(_row(cells, assessment, groups), markup=False)


def _columns(assessment: Assessment, groups: Sequence[str]) -> list[Column]:
    """Of the table of rounds; with two groups of short names it fits 80 columns."""

    def queried(record: Mapping[str, Any]) -> str:
        counts = [
            *record.get(assessment.queried, {}).items(),
            *([("refused", len(record["refused"]))] if record.get("refused") else []),
        ]
        return " ".join(f"{kind}:{count}" if kind else str(count) for kind, count in counts) or (
            "pool empty" if not record["queried"] else "no answers"
        )

    return [
        Column("round", lambda record: str(record["round"])),
        Column("labelled", _labelled),
        *assessment.columns(groups),
        Column("train s", lambda record: f"{record['seconds']['train']:.1f}"),
        Column("score s", lambda record: f"{record['seconds']['score']:.1f}"),
        Column("queried", queried),
    ]


def _labelled(record: Mapping[str, Any]) -> str:
    """Cases, or where parts of them are asked for, or were, the share of elements."""
    of_parts = "pseudo_labelled_elements" in record or any(map(part_of, asked_units(record)))  # older ledgers lack the entry
    if of_parts and "pool_elements" in record:
        return f"{share_of_elements(record):.1f} %"
    return str(record["labelled"])


def _row(cells: Sequence[str], assessment: Assessment, groups: Sequence[str]) -> str:
    columns = _columns(assessment, groups)
    return " ".join(f"{cell:>{max(5, len(column.title))}}" for cell, column in zip(cells, columns, strict=True))


def _with_interval(estimate: Estimate, digits: int) -> str:
    value, low, high = (
        "∞" if math.isinf(number) else "–" if math.isnan(number) else f"{number:.{digits}f}" for number in estimate
    )
    return f"{value}\n{low}–{high}" if estimate.low < estimate.high else value


def write_summary(folder: Path) -> Path:
    """Writes `summary.csv`, one line a run and round."""
    runs = read_runs(folder)
    key = kind_of(runs[0].rounds).assessment.key if runs else ""
    groups = sorted({group for run in runs for record in run.rounds for group in record[key]["by_group"]})
    groups = groups if len(groups) > 1 else []
    phases = ["train", "score", "select", "evaluate"]
    text = io.StringIO()
    writer = csv.writer(text)
    plain = ["labelled", *(["disparity", "essp"] if groups else []), "nll", "ece"]
    later = ["labelled_elements", "pool_elements", "brier", "ece_classwise"]  # behind what older versions wrote
    by_group, seconds = [f"{key}_{group}" for group in groups], [f"seconds_{phase}" for phase in phases]
    writer.writerow(["setting", "strategy", "seed", "round", *plain, key, *by_group, *seconds, *later])
    for run in runs:
        for record in run.rounds:
            writer.writerow(
                [
                    run.setting,
                    run.strategy,
                    run.seed,
                    record["round"],
                    *(record.get(name, "") for name in plain),
                    record[key]["overall"],
                    *(record[key]["by_group"].get(group, "") for group in groups),
                    *(record["seconds"][phase] for phase in phases),
                    *(record.get(name, "") for name in later),
                ]
            )
    path = folder / "summary.csv"
    write_text(path, text.getvalue())
    return path


def write_comparison(folder: Path, comparisons: Sequence[Comparison]) -> Path:
    """Writes `comparison.csv`: every estimate of every strategy, and with `against` its paired differences, with 95 % intervals.

    `low` and `high` are `nan` where there is no interval (fewer than three seeds; a difference of labels needed); `inf` stands for a goal that
    is not reached in these rounds.

    Args:
      folder: of the study.
      comparisons: one for each setting.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["setting", "seeds", "strategy", "against", "measure", "value", "low", "high"])
    for comparison in comparisons:
        for against, rows in {"": comparison.table, **comparison.differences}.items():
            for strategy, estimates in rows.items():
                for measure, estimate in estimates.items():
                    numbers = [f"{number:.6g}" for number in estimate]
                    writer.writerow([comparison.setting, len(comparison.seeds), strategy, against, measure, *numbers])
    path = folder / "comparison.csv"
    write_text(path, text.getvalue())
    return path


def write_levels(folder: Path, comparisons: Sequence[Comparison]) -> Path:
    """Writes `levels.csv`: what it took each strategy to reach given levels of the main measure, and how calibrated it was there.

    `labels` is mean over the seeds that reached the level, in cases, or in percent of all elements where parts are asked for; of seeds that were there
    `from_start`, less might have done. `nll`, `ece` and `brier` are of the seeds that passed the level on their way.

    Args:
      folder: of the study.
      comparisons: one for each setting.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    measures = [f"{name}{what}" for name in ("labels", *AT_GOAL) for what in ("", "_deviation")]
    writer.writerow(
        ["setting", "strategy", "measure", "level", "share_of_full", "counted", "seeds", "reached", "from_start", *measures]
    )
    for comparison in comparisons:
        for strategy, levels in comparison.levels.items():
            for level in levels:
                found = level.found
                spreads = [found.needed, *(found.at_goal.get(name, (math.nan, math.nan)) for name in AT_GOAL)]
                about = [comparison.setting, strategy, comparison.assessment.key, f"{level.goal:.6g}", level.share or ""]
                counts = [comparison.budget.title, found.of, found.reached, found.from_start]
                numbers = ["" if math.isnan(number) else f"{number:.6g}" for pair in spreads for number in pair]
                writer.writerow([*about, *counts, *numbers])
    path = folder / "levels.csv"
    write_text(path, text.getvalue())
    return path
