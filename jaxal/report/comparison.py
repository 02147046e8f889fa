"""Several strategies over several seeds in one table, with intervals that say how far it can be believed.

A seed draws its own test cases, initial set and first network, so each seed is one independent draw of everything that differs between
repetitions of a study of the same data. A seed's mean over its test cases varies with the cases, too, and the spread of the seeds' means
holds the cases' variance already. Intervals are therefore Student's t of the seeds' values, and no case is drawn again: a bootstrap over
cases within seeds counted their variance twice. Strategies of one seed share its test cases, and differences between them are taken seed
by seed.

The intervals are of the mean over all splits and trainings of the data at hand. They do not speak of other patients: the test cases of
the seeds overlap, because all come from the same data, and the luck of that data is in all seeds alike. Where cases alone vary and each
seed tests 42 of 120, 94 % of intervals over five seeds hold the mean of these data and 77 % that of the patients whom they are from, over ten
seeds 94 and 61 %. Nor do they speak of measures that a test set of another size would give: a distance between
groups is larger, and the worst group's value lower, where groups are small, since chance sets groups apart.

Coverage, by simulation with `tests/coverage_of_intervals.py`, 2000 studies a figure (standard error half a point), over 3, 5 and 10
seeds, whether seeds or cases vary more, with skewed cases and seeds: means and paired differences 93.7 to 96.5 %, the mean over seeds of the
disparity, which is skewed, 91.8 to 94.8 %, labels needed 95.3 to 96.8 %. Where a few seeds are far worse than all others (an exponential's
tail) 92 % of means remain, over five seeds as over ten, because few seeds do not show what they rarely hold. A bootstrap of the seeds'
values is no better over so few: its percentiles hold 75, 84 and 90 % over 3, 5 and 10, expanded ones (Hesterberg 2015) 75, 92
and 95 %, and the studentized one 81, 95 and 96 %.

Of two seeds nothing is said, because t would reach 12.7 standard errors from a spread that two numbers hardly show, and of one seed
nothing can be: its test cases do not tell how another training would have ended.

Labels needed are read off the mean curve over seeds, as papers do, whose goal is the mean of training on everything on the same cases: a
single seed that does not get there would make a mean over seeds infinite. Their interval holds every number of labels at which the
curve's distance from the goal, seed by seed, has zero in its own interval: it ends where the ends of that interval first reach the goal,
and at infinity where they do not in these rounds. Differences of labels needed have no interval, because none was found that covers:
Student's t of linearised values 89 to 97 %, of a jackknife 91 to 97 %, and neither exists where a goal is not reached.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy import special

from jaxal.assessment.learning_curves import GOAL, labels_needed
from jaxal.report.budget import budget_of
from jaxal.report.levels import LEVELS, Foreground, Level, foreground_of, levels_of
from jaxal.rounds.ledger import FULL, RunOnDisk, read_runs
from jaxal.task_kind import Assessment, Budget, Curve
from jaxal.tasks.measures import CASES, LABELS
from jaxal.tasks.table import kind_of

FEWEST_SEEDS = 3  # that an interval is given of


class Estimate(NamedTuple):
    """A mean over seeds with its 95 % interval.

    Attributes:
      value: infinity stands for a goal that was not reached; NaN for what is not known.
      low, high: ends of the interval; NaN where there is none, infinity where the goal may lie beyond these rounds.
    """

    value: float
    low: float = np.nan
    high: float = np.nan


def compare(
    runs: Mapping[str, Mapping[int, Curve]], full: Mapping[int, Curve], against: Sequence[str], budget: Budget = CASES
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, dict[str, Estimate]]]]:
    """Compares strategies over the seeds that all of them have.

    Args:
      runs: by strategy and seed, all of as many rounds.
      full: training on everything, by seed; without it nothing is said of labels needed.
      against: strategies from which the others' differences are taken.
      budget: how the curves' labels are counted.

    Returns:
      Each strategy's estimates by measure, and for each of `against` those of every other strategy's difference from it.
    """
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in runs.values())))
    if not seeds:
        return {}, {}
    curves = {name: [by_seed[seed] for seed in seeds] for name, by_seed in runs.items()}
    values = _by_measure(curves)
    table = {
        name: {measure: mean_over_seeds(of_seeds) for measure, of_seeds in by_measure.items()}
        for name, by_measure in values.items()
    }
    if all(seed in full for seed in seeds):
        reached = np.array([full[seed].levels()[-1] for seed in seeds])
        # Of less than nothing, as R² may be, 95 % would be more than all of it.
        goals = np.where(reached > 0, GOAL * reached, np.inf)
        for name, of_strategy in curves.items():
            table[name] |= _labels(of_strategy, goals, budget)
    differences = {
        base: {name: _differences(values[name], values[base], table[name], table[base]) for name in values if name != base}
        for base in against
        if base in values
    }
    return table, differences


def _by_measure(curves: Mapping[str, Sequence[Curve]]) -> dict[str, dict[str, np.ndarray]]:
    """Every measure of each strategy's curves, `[seeds]` each; those alone that all of them have, since older ledgers say less."""
    measured = {name: [curve.measures() for curve in of_strategy] for name, of_strategy in curves.items()}
    every = [of_seed for of_strategy in measured.values() for of_seed in of_strategy]
    common = [measure for measure in every[0] if all(measure in of_seed for of_seed in every)]
    return {
        name: {measure: np.array([of_seed[measure] for of_seed in of_strategy]) for measure in common}
        for name, of_strategy in measured.items()
    }


def mean_over_seeds(values: np.ndarray) -> Estimate:
    """The mean of independent values, `[seeds]`, with the 95 % interval of Student (1908); without it of fewer seeds than it takes."""
    half = half_width(values)
    return Estimate(*(float(end) for end in (values.mean(), values.mean() - half, values.mean() + half)))


def means_over(seeds: int) -> str:
    """What the numbers of a table over so many seeds are, for its head."""
    seeds_named = {1: "one seed", 2: "two seeds"}.get(seeds, f"{seeds} seeds")
    return f"mean over {seeds_named}{' and 95 % interval' if seeds >= FEWEST_SEEDS else ': no interval'}"


def half_width(values: np.ndarray) -> np.ndarray:
    """How far the 95 % interval of a mean reaches to either side, `[seeds, ...] -> [...]`: t standard errors; NaN of too few seeds."""
    seeds = len(values)
    if seeds < FEWEST_SEEDS:
        return np.full(values.shape[1:], np.nan)
    return special.stdtrit(seeds - 1, 0.975) * values.std(axis=0, ddof=1) / np.sqrt(seeds)


def _labels(curves: Sequence[Curve], goals: np.ndarray, budget: Budget) -> dict[str, Estimate]:
    """Labels needed by the mean curve of one strategy, and of cases their share of the pool in percent, given each seed's goal, `[seeds]`."""
    labelled = np.mean([curve.labelled for curve in curves], axis=0)
    levels = np.array([curve.levels() for curve in curves])
    mean, half = levels.mean(0), half_width(levels - goals[:, None])
    ends = (mean, mean + half, mean - half)
    needed = Estimate(*(np.nan if np.isnan(end).any() else float(labels_needed(labelled, end, goals.mean())) for end in ends))
    if not all(curve.pool for curve in curves):
        return {budget.needed: needed}
    pool = np.mean([curve.pool for curve in curves])
    return {budget.needed: needed, "share": Estimate(*(100 * number / float(pool) for number in needed))}


def _differences(
    values: Mapping[str, np.ndarray],
    base: Mapping[str, np.ndarray],
    table: Mapping[str, Estimate],
    base_table: Mapping[str, Estimate],
) -> dict[str, Estimate]:
    """Of one strategy from another, by measure: seed by seed, and of labels needed without an interval.

    By how much a goal is nearer that one of them did not reach, nobody knows.
    """
    paired = {measure: mean_over_seeds(of_seeds - base[measure]) for measure, of_seeds in values.items()}
    for measure in (name for name in LABELS if name in table):
        difference = table[measure].value - base_table[measure].value if np.isfinite(base_table[measure].value) else np.nan
        paired[measure] = Estimate(difference if np.isfinite(difference) else np.nan)
    return paired


class Comparison(NamedTuple):
    """The strategies of one setting over the same seeds and rounds.

    Attributes:
      setting: its name.
      seeds: that all strategies of the table have.
      left_out: strategies and seeds that are not in the table, for others have more in common.
      full: main measure of training on everything, mean over these seeds; None if a seed lacks it.
      table: estimates by strategy and measure.
      differences: by base, strategy and measure.
      assessment: what the measures are.
      budget: how labels are counted.
      levels: what it took each strategy to reach given levels.
      foreground: how much of it each strategy asked for, where labels are counted in elements.
    """

    setting: str
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    full: float | None
    table: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, dict[str, Estimate]]]
    assessment: Assessment
    budget: Budget = CASES
    levels: Mapping[str, Sequence[Level]] = MappingProxyType({})
    foreground: Mapping[str, Foreground] = MappingProxyType({})


def compare_folder(folder: Path, levels: Sequence[float] = LEVELS) -> list[Comparison]:
    """Compares the runs of each setting below a results folder; `levels` are of the main measure, to be reached."""
    runs = read_runs(folder)
    return [compare_runs(setting, runs, levels) for setting in sorted({run.setting for run in runs})]


def compare_runs(setting: str, folder: Sequence[RunOnDisk], levels: Sequence[float] = LEVELS) -> Comparison:
    """Compares the runs of one setting: as many as can be over the same seeds and rounds.

    Args:
      setting: its name.
      folder: all runs that are shown together; those of other settings may decide how labels are counted.
      levels: of the main measure, of which is told what it took to reach them.
    """
    runs = [run for run in folder if run.setting == setting]
    budget = budget_of(runs, folder)
    known = [run for run in runs if "test" in run.rounds[0]]
    assessment = kind_of(runs[0].rounds).assessment
    trained = [run for run in known if run.strategy != FULL]
    rounds, strategies, seeds = largest_block({(run.strategy, run.seed): len(run.rounds) for run in trained})
    inside = {(strategy, seed) for strategy in strategies for seed in seeds}
    chosen: dict[str, dict[int, Curve]] = {}
    compared = [run._replace(rounds=run.rounds[:rounds]) for run in trained if (run.strategy, run.seed) in inside]
    for run in compared:
        chosen.setdefault(run.strategy, {})[run.seed] = assessment.curve_of(run.rounds, budget)
    everything = [run for run in known if run.strategy == FULL and run.seed in seeds]
    full = {run.seed: assessment.curve_of(run.rounds, budget) for run in everything}
    table, differences = compare(chosen, full, ("entropy", "random"), budget) if chosen else ({}, {})
    return Comparison(
        setting,
        tuple(seeds),
        tuple(f"{run.strategy} seed {run.seed}" for run in trained if (run.strategy, run.seed) not in inside),
        float(np.mean([curve.levels()[-1] for curve in full.values()])) if seeds and len(full) == len(seeds) else None,
        table,
        differences,
        assessment,
        budget,
        levels_of(compared, everything, assessment, budget, levels),
        {} if budget is CASES else foreground_of(compared, everything, assessment),
    )


def largest_block(lengths: Mapping[tuple[str, int], int]) -> tuple[int, list[str], list[int]]:
    """Rounds, strategies and seeds of the largest block of runs in which every strategy has every seed with so many rounds.

    A strategy counts for more than a seed, so that where a strategy is a seed behind, the seed is left out and not the strategy.
    """
    best = 0
    block: tuple[int, list[str], list[int]] = (0, [], [])
    for rounds in sorted(set(lengths.values()), reverse=True):
        seeds_of: dict[str, set[int]] = {}
        for (strategy, seed), length in lengths.items():
            if length >= rounds:
                seeds_of.setdefault(strategy, set()).add(seed)
        for seeds in [*seeds_of.values(), set.intersection(*seeds_of.values())]:
            strategies = [strategy for strategy, of_strategy in seeds_of.items() if seeds <= of_strategy]
            if (size := rounds * len(seeds) * len(strategies) ** 2) > best:
                best, block = size, (rounds, strategies, sorted(seeds))
    return block
