"""What parts of cases save against whole ones: two finished studies of the same data and seeds, compared by their ledgers alone.

    python -m experiments.compare_units runs/gland_regions-small-image runs/gland_regions-small-region --plot regions.png

It prints, for every strategy, what share of all elements had a label where its curve first reached each level, mean and standard deviation over
seeds, and what of it parts needed, seed by seed; then how well calibrated networks were at the same levels. Li & Alstrøm 2020 have such
tables (their table 1) and plots (figure 5).
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from jaxal.assessment.intervals import student_mean
from jaxal.assessment.learning_curves import at_round, first_reaching, spread
from jaxal.cli import command
from jaxal.data.parts import part_of
from jaxal.errors import UserError
from jaxal.report import terminal
from jaxal.report.levels import AT_GOAL, LEVELS, SHARES
from jaxal.rounds.ledger import FULL, RunOnDisk, read_runs
from jaxal.tasks.measures import OF_PROBABILITIES
from jaxal.tasks.table import kind_of


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares what whole cases and parts of them needed to reach the same levels."""

    whole: tyro.conf.Positional[Path]
    """Results folder of a study that asked for whole cases."""
    parts: tyro.conf.Positional[Path]
    """Results folder of the same study, asking for parts."""
    levels: tuple[float, ...] = LEVELS
    """Of the main measure (Dice, F1)."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Where to draw the curves, as a PNG. Default: nowhere."""


class Goal(NamedTuple):
    """A level of the main measure, by seed."""

    title: str
    of_seed: Mapping[int, float]


class Curve(NamedTuple):
    """A run's rounds: labelled share of all elements in per cent, the main measure, and calibration by name, `[rounds]` each."""

    share: np.ndarray
    level: np.ndarray
    calibration: Mapping[str, np.ndarray]

    def place(self, goal: float) -> float:
        """The round at which the goal is first reached, NaN where it never is or was from the start."""
        place = float(first_reaching(self.level, goal))
        return place if np.isfinite(place) and self.level[0] < goal else np.nan


Curves = Mapping[str, Mapping[int, Curve]]  # by strategy and seed


def curves_of(runs: Sequence[RunOnDisk], key: str) -> Curves:
    """The curves of all strategies.

    Raises:
      UserError: a ledger does not say how many elements have labels.
    """
    found: dict[str, dict[int, Curve]] = {}
    for run in runs:
        if "labelled_elements" not in run.rounds[0]:
            raise UserError(
                f"{run.setting}/{run.strategy}/seed-{run.seed}: the ledger counts no elements; an older version wrote it."
            )
        rows: list[dict[str, Any]] = [dict(entry) for entry in run.rounds]
        share = np.array([100 * row["labelled_elements"] / row["pool_elements"] for row in rows])
        calibration = {name: np.array([row[name] for row in rows]) for name in AT_GOAL if all(name in row for row in rows)}
        curve = Curve(share, np.array([row[key]["overall"] for row in rows]), calibration)
        found.setdefault(run.strategy, {})[run.seed] = curve
    return found


def goals_of(levels: Sequence[float], full: Mapping[int, float], seeds: Sequence[int], title: str) -> list[Goal]:
    """Levels of their own, and shares of what training on everything reaches with the same seed."""
    goals = [Goal(f"{title} {level:.2f}", dict.fromkeys(seeds, level)) for level in levels]
    if all(seed in full for seed in seeds):
        goals += [Goal(f"{100 * share:.0f} % of all", {seed: share * full[seed] for seed in seeds}) for share in SHARES]
    return goals


def needed(curve: Curve, goal: float) -> float:
    """The labelled share where a curve first reaches a goal, in per cent; NaN where it does not."""
    return at_round(place, curve.share) if np.isfinite(place := float(first_reaching(curve.level, goal))) else np.nan


def lines_of_needs(whole: Curves, parts: Curves, goals: Sequence[Goal]) -> Iterator[str]:
    """A Markdown table: shares needed by unit and strategy, and what parts needed of what whole cases did."""
    yield _row("strategy", "unit", *(goal.title for goal in goals))
    yield _row(*["---"] * (2 + len(goals)))
    for strategy in whole:
        for name, curves in (("whole", whole[strategy]), ("parts", parts[strategy])):
            yield _row(f"`{strategy}`", name, *(_needs(curves, goal) for goal in goals))
        yield _row(f"`{strategy}`", "parts / whole", *(_ratio(whole[strategy], parts[strategy], goal) for goal in goals))


def lines_of_calibration(whole: Curves, parts: Curves, goals: Sequence[Goal]) -> Iterator[str]:
    """A Markdown table: calibration where curves cross a goal, for each goal that some run of both units crosses."""
    yield _row("strategy", "level", "unit", *(OF_PROBABILITIES[name].title for name in AT_GOAL), "seeds")
    yield _row(*["---"] * (4 + len(AT_GOAL)))
    for strategy in whole:
        for goal in goals:
            both = [_seeds_across(curves[strategy], goal) for curves in (whole, parts)]
            seeds = sorted(set(both[0]) & set(both[1]))
            for name, curves in (("whole", whole[strategy]), ("parts", parts[strategy])) if seeds else ():
                values = {
                    measure: [
                        at_round(curves[seed].place(goal.of_seed[seed]), curves[seed].calibration[measure]) for seed in seeds
                    ]
                    for measure in AT_GOAL
                }
                yield _row(
                    f"`{strategy}`", goal.title, name, *(_spread(values[measure], 4) for measure in AT_GOAL), str(len(seeds))
                )


def _seeds_across(curves: Mapping[int, Curve], goal: Goal) -> list[int]:
    return [seed for seed, curve in curves.items() if not np.isnan(curve.place(goal.of_seed[seed]))]


def _needs(curves: Mapping[int, Curve], goal: Goal) -> str:
    values = [needed(curve, goal.of_seed[seed]) for seed, curve in curves.items()]
    known = [value for value in values if not np.isnan(value)]
    start = sum(curve.level[0] >= goal.of_seed[seed] for seed, curve in curves.items())
    told = _spread(known, 1) if known else "–"
    missed = len(values) - len(known)
    return told + (f", not in {missed} of {len(values)}" if missed else "") + (f", {start} from the start" if start else "")


def _ratio(whole: Mapping[int, Curve], parts: Mapping[int, Curve], goal: Goal) -> str:
    """Geometric mean over seeds on which both cross the goal, with Student's interval; how many these are, where it is not all."""
    seeds = [seed for seed in whole if not any(np.isnan(curves[seed].place(goal.of_seed[seed])) for curves in (whole, parts))]
    if not seeds:
        return "–"
    ratios = [np.log(needed(parts[seed], goal.of_seed[seed]) / needed(whole[seed], goal.of_seed[seed])) for seed in seeds]
    estimate = student_mean(np.array(ratios))
    interval = "" if np.isnan(estimate.low) else f" [{np.exp(estimate.low):.2f}, {np.exp(estimate.high):.2f}]"
    return f"{np.exp(estimate.value):.2f}{interval}" + (
        "" if len(seeds) == len(whole) else f" ({len(seeds)} of {len(whole)} seeds)"
    )


def _spread(values: Sequence[float], digits: int) -> str:
    found = spread(np.array(values))
    return f"{found.mean:.{digits}f}" + ("" if np.isnan(found.deviation) else f" ± {found.deviation:.{digits}f}")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def draw(path: Path, whole: Curves, parts: Curves, title: str) -> None:
    """The main measure over the labelled share, and calibration over the main measure; a line is the mean over seeds of each round."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 1 + len(AT_GOAL), figsize=(4 * (1 + len(AT_GOAL)), 3.6), layout="constrained")
    for index, strategy in enumerate(whole):
        for name, curves, line in (("whole", whole[strategy], "--"), ("parts", parts[strategy], "-")):
            # Of a study that is not done yet, the rounds that all seeds have.
            rounds = min(len(curve.level) for curve in curves.values())

            def mean(value: Callable[[Curve], np.ndarray], curves=curves, rounds=rounds) -> np.ndarray:
                return np.mean([value(curve)[:rounds] for curve in curves.values()], 0)

            level = mean(lambda curve: curve.level)
            look = {"color": f"C{index}", "ls": line, "marker": "o" if name == "parts" else "s", "ms": 3, "lw": 1.3}
            axes[0].plot(mean(lambda curve: curve.share), level, label=f"{strategy}, {name}", **look)
            for axis, measure in zip(axes[1:], AT_GOAL, strict=True):
                axis.plot(level, mean(lambda curve, measure=measure: curve.calibration[measure]), **look)
    axes[0].set(xlabel="labelled, % of all elements", ylabel=title, xscale="log")
    for which in (axes[0].xaxis.set_major_formatter, axes[0].xaxis.set_minor_formatter):
        which(lambda value, place: f"{value:g}")
    for axis, measure in zip(axes[1:], AT_GOAL, strict=True):
        axis.set(xlabel=title, ylabel=f"{OF_PROBABILITIES[measure].title} (lower is better)")
    axes[0].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(arguments: Arguments) -> int:
    """Compares two folders; returns the exit status."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: terminal.Display) -> int:
    if not arguments.levels:
        raise UserError("--levels names none. Leave it out for the default.")
    both = [_read(folder) for folder in (arguments.whole, arguments.parts)]
    _check_units(arguments, both)
    settings = sorted(set.intersection(*({run.setting for run in runs} for runs in both)))
    for setting in settings:
        if len(settings) > 1:
            display.note(f"\n## {setting}\n")
        plot = arguments.plot
        if plot and len(settings) > 1:
            plot = plot.with_name(f"{plot.stem}-{setting}{plot.suffix}")
        _compare(arguments, [[run for run in runs if run.setting == setting] for runs in both], plot, display)
    if not settings:
        raise UserError(f"{arguments.whole} and {arguments.parts}: have no setting in common.")
    return 0


def _read(folder: Path) -> list[RunOnDisk]:
    runs = read_runs(folder)
    if not [run for run in runs if run.strategy != FULL]:
        raise UserError(f"{folder}: holds no runs (SETTING/STRATEGY/seed-N/rounds.jsonl). Give the results folder of a study.")
    return runs


def _check_units(arguments: Arguments, both: Sequence[Sequence[RunOnDisk]]) -> None:
    """Makes sure that the first study asked for whole cases and the second for parts, of the same kind of task."""
    for folder, runs, of_parts in zip((arguments.whole, arguments.parts), both, (False, True), strict=True):
        for run in runs:
            named = [name for line in run.rounds for name in line["queried"]]
            if run.strategy != FULL and named and bool(part_of(named[0])) != of_parts:
                asked = ("whole cases", "parts of cases") if of_parts else ("parts of cases", "whole cases")
                raise UserError(f"{folder}: asked for {asked[0]} ({named[0]}); a study that asked for {asked[1]} belongs here.")
    kinds = [runs[0].rounds[0].get("task", "segmentation") for runs in both]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"{arguments.whole} is of {kinds[0]}, {arguments.parts} of {kinds[1]}. Give two studies of the same data."
        )


def _compare(arguments: Arguments, both: Sequence[Sequence[RunOnDisk]], plot: Path | None, display: terminal.Display) -> None:
    """The tables and the plot of one setting."""
    assessment = kind_of(both[0][0].rounds).assessment
    full = {run.seed: run.rounds[-1][assessment.key]["overall"] for runs in both for run in runs if run.strategy == FULL}
    strategies = [[run for run in runs if run.strategy != FULL] for runs in both]
    whole, parts = _in_common([curves_of(runs, assessment.key) for runs in strategies])
    if not whole:
        raise UserError(f"{arguments.whole} and {arguments.parts}: have no strategy and seed in common.")
    seeds = list(next(iter(whole.values())))
    goals = goals_of(arguments.levels, full, seeds, assessment.title)
    display.note(
        f"Labelled share of all elements in per cent, to reach each level: mean ± standard deviation over {len(seeds)} seed"
        f"{'' if len(seeds) == 1 else 's'}. What parts need of what whole cases do is of seeds that crossed the level with both.\n"
    )
    display.note("\n".join(lines_of_needs(whole, parts, goals)))
    display.note("\nCalibration where curves cross a level, over the seeds on which both do:\n")
    display.note("\n".join(lines_of_calibration(whole, parts, goals)))
    if len(goals) == len(arguments.levels):
        display.note("\nNo shares of training on everything: not all seeds were trained so (--full True).")
    if plot:
        draw(plot, whole, parts, assessment.title)
        display.note(f"\nCurves: {plot}")


def _in_common(both: Sequence[Curves]) -> list[dict[str, dict[int, Curve]]]:
    """The strategies that both studies have, with the seeds that all of them have in both."""
    names = [name for name in both[0] if name in both[1]]
    seeds = sorted(set.intersection(*(set(curves[name]) for curves in both for name in names))) if names else []
    return [{name: {seed: curves[name][seed] for seed in seeds} for name in names if seeds} for curves in both]


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
