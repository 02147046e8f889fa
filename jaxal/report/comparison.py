"""Several strategies over several seeds in one table, with intervals that say how far it can be believed.

Intervals come from a bootstrap over seeds and, within a seed, over test cases of each stratum, a group of patients or a class (Efron &
Tibshirani 1993; cases are drawn within strata, so that every replicate has their sizes). Strategies of one seed share their test cases, and
so do differences between them: both are computed from the same replicate. Labels needed are read off the mean curve over seeds, as papers
do, whose goal is the mean of training on everything on the same cases: a single seed that does not get there would make a mean over seeds
infinite. Calibration is known by seed only, and its intervals are over seeds.

The percentiles of a bootstrap over few seeds lie too close together: of 95 % intervals over five seeds 83 % held the truth (in the test of
this module). They are therefore moved out as far as Student's t would have it (the expanded percentile interval of Hesterberg 2015, The
American Statistician 69(4)), after which 96 % did. Over two or three seeds there is no room for that, since means of resampled seeds
reach no further than the seeds themselves: such intervals are still too short.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxal.assessment.learning_curves import GOAL, labels_needed
from jaxal.rounds.ledger import FULL, RunOnDisk, read_runs
from jaxal.tasks.table import kind_of
from jaxal.types import Assessment, Curve

REPLICATES = 5000


class Estimate(NamedTuple):
    """A mean over seeds with its 95 % interval; infinity stands for a goal that was not reached."""

    value: float
    low: float
    high: float


def compare(
    runs: Mapping[str, Mapping[int, Curve]], full: Mapping[int, Curve], against: Sequence[str], seed: int = 0
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, dict[str, Estimate]]]]:
    """Compares strategies over the seeds that all of them have.

    Args:
      runs: by strategy and seed, all of as many rounds.
      full: training on everything, by seed; without it nothing is said of labels needed.
      against: strategies from which the others' differences are taken.
      seed: of the bootstrap.

    Returns:
      Each strategy's estimates by measure, and for each of `against` those of every other strategy's difference from it.
    """
    seeds = sorted(set.intersection(*(set(own) for own in runs.values())))
    if not seeds:
        return {}, {}
    some = next(iter(runs.values()))
    drawn = [_draw_cases(some[number].strata, np.random.default_rng([seed, place])) for place, number in enumerate(seeds)]
    chosen = np.random.default_rng([seed, len(seeds)]).integers(len(seeds), size=(REPLICATES, len(seeds)))
    goal = _goal([full[number] for number in seeds], drawn, chosen) if all(number in full for number in seeds) else None
    values = {name: _values([own[number] for number in seeds], drawn, chosen, goal) for name, own in runs.items()}
    tail = tail_of(len(seeds))
    table = {name: {measure: _estimate(found, tail) for measure, found in own.items()} for name, own in values.items()}
    differences = {
        base: {
            name: {measure: _difference(own[measure], values[base][measure], tail) for measure in own}
            for name, own in values.items()
            if name != base
        }
        for base in against
        if base in values
    }
    return table, differences


def _draw_cases(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of cases drawn with replacement within each stratum, `[replicates, cases]`."""
    drawn = np.empty((REPLICATES, len(strata)), np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        drawn[:, members] = members[rng.integers(len(members), size=(REPLICATES, len(members)))]
    return drawn


class Drawn(NamedTuple):
    """A mean over seeds, `[...]`, and that of each replicate, `[replicates, ...]`."""

    value: np.ndarray
    replicates: np.ndarray


def _values(curves: Sequence[Curve], drawn: Sequence[np.ndarray], chosen: np.ndarray, goal: Drawn | None) -> dict[str, Drawn]:
    """Every measure of one strategy's curves, one a seed."""
    plain, replicated = _levels(curves, drawn)
    own = [
        [curve.measures(levels, cases) for curve, levels, cases in zip(curves, part, places, strict=True)]
        for part, places in ((plain, [None] * len(curves)), (replicated, drawn))
    ]
    found = {name: _over_seeds([one[name] for one in own[0]], [one[name] for one in own[1]], chosen) for name in own[0][0]}
    if goal is not None:
        labelled, mean = np.mean([curve.labelled for curve in curves], axis=0), _over_seeds(plain, replicated, chosen)
        found["labels"] = Drawn(*(labels_needed(labelled, levels, level) for levels, level in zip(mean, goal, strict=True)))
        if all(curve.pool for curve in curves):
            whole = np.mean([curve.pool for curve in curves])
            found["share"] = Drawn(*(100 * part / whole for part in found["labels"]))
    return found


def _goal(full: Sequence[Curve], drawn: Sequence[np.ndarray], chosen: np.ndarray) -> Drawn:
    """95 % of what training on everything reaches, in the mean over seeds."""
    return Drawn(*(GOAL * level[..., -1] for level in _over_seeds(*_levels(full, drawn), chosen)))


def _levels(curves: Sequence[Curve], drawn: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [curve.levels(None) for curve in curves], [curve.levels(cases) for curve, cases in zip(curves, drawn, strict=True)]


def _over_seeds(plain: Sequence[np.ndarray], replicated: Sequence[np.ndarray], chosen: np.ndarray) -> Drawn:
    """Means over seeds: of values `[...]` a seed, and of the chosen seeds' replicates `[replicates, ...]` of them."""
    picked = np.stack(replicated, axis=1)[np.arange(len(chosen))[:, None], chosen]
    return Drawn(np.mean(plain, axis=0), picked.mean(1))


def tail_of(seeds: int) -> float:
    """Share of replicates beyond each end of a 95 % interval; of a single seed that of the cases alone."""
    if seeds == 1:
        return 0.025
    return float(stats.norm.cdf(-np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1)))


def _estimate(drawn: Drawn, tail: float) -> Estimate:
    value, replicates = drawn
    known = replicates[~np.isnan(replicates)]
    if len(known) < len(replicates) / 2:  # no interval of what is mostly undefined
        return Estimate(float(value), np.nan, np.nan)
    low, high = np.quantile(known, (tail, 1 - tail), method="nearest")
    return Estimate(float(value), float(low), float(high))


def _difference(own: Drawn, base: Drawn, tail: float) -> Estimate:
    """Of two goals that were not reached the difference is NaN: nobody knows it."""
    with np.errstate(invalid="ignore"):
        return _estimate(Drawn(own.value - base.value, own.replicates - base.replicates), tail)


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
    """

    setting: str
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    full: float | None
    table: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, dict[str, Estimate]]]
    assessment: Assessment


def compare_folder(folder: Path) -> list[Comparison]:
    """Compares the runs of each setting below a results folder."""
    runs = read_runs(folder)
    return [
        compare_runs(setting, [run for run in runs if run.setting == setting])
        for setting in sorted({run.setting for run in runs})
    ]


def compare_runs(setting: str, runs: Sequence[RunOnDisk]) -> Comparison:
    """Compares the runs of one setting: as many as can be over the same seeds and rounds."""
    known = [run for run in runs if "test" in run.rounds[0]]
    assessment = kind_of(runs[0].rounds).assessment
    trained = [run for run in known if run.strategy != FULL]
    rounds, strategies, seeds = _largest_block({(run.strategy, run.seed): len(run.rounds) for run in trained})
    inside = {(strategy, seed) for strategy in strategies for seed in seeds}
    chosen: dict[str, dict[int, Curve]] = {}
    for run in trained:
        if (run.strategy, run.seed) in inside:
            chosen.setdefault(run.strategy, {})[run.seed] = assessment.curve_of(run.rounds[:rounds])
    full = {run.seed: assessment.curve_of(run.rounds) for run in known if run.strategy == FULL and run.seed in seeds}
    table, differences = compare(chosen, full, ("entropy", "random")) if chosen else ({}, {})
    return Comparison(
        setting,
        tuple(seeds),
        tuple(f"{run.strategy} seed {run.seed}" for run in trained if (run.strategy, run.seed) not in inside),
        float(np.mean([own.levels(None)[-1] for own in full.values()])) if seeds and len(full) == len(seeds) else None,
        table,
        differences,
        assessment,
    )


def _largest_block(lengths: Mapping[tuple[str, int], int]) -> tuple[int, list[str], list[int]]:
    """Rounds, strategies and seeds, as many as can be, of which every strategy has every seed with so many rounds.

    A strategy counts for more than a seed, so that one that is a seed behind is not dropped for it.
    """
    best = 0
    found: tuple[int, list[str], list[int]] = (0, [], [])
    for rounds in sorted(set(lengths.values()), reverse=True):
        seeds_of: dict[str, set[int]] = {}
        for (strategy, seed), length in lengths.items():
            if length >= rounds:
                seeds_of.setdefault(strategy, set()).add(seed)
        for seeds in [*seeds_of.values(), set.intersection(*seeds_of.values())]:
            strategies = [strategy for strategy, own in seeds_of.items() if seeds <= own]
            if (size := rounds * len(seeds) * len(strategies) ** 2) > best:
                best, found = size, (rounds, strategies, sorted(seeds))
    return found
