"""Several strategies over several seeds in one table, with intervals that say how far it can be believed.

Intervals come from a bootstrap over seeds and, within a seed, over test cases of each group (Efron & Tibshirani 1993; cases are drawn
within groups, so that every replicate has the groups' sizes). Strategies of one seed share their test cases, and so do differences
between them: both are computed from the same replicate. Calibration is known by seed only, and its intervals are over seeds.

The percentiles of a bootstrap over few seeds lie too close together: of 95 % intervals over five seeds 83 % held the truth (in the test of
this module). They are therefore moved out as far as Student's t would have it (the expanded percentile interval of Hesterberg 2015, The
American Statistician 69(4)), after which 96 % did. Over two or three seeds there is no room for that, since means of resampled seeds
reach no further than the seeds themselves: such intervals are still too short.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jaxal.record import FULL, Run, read_runs

REPLICATES = 5000
GOAL = 0.95  # of the Dice that training on everything reaches


class Curve(NamedTuple):
    """One run as the comparison sees it.

    Attributes:
      labelled: cases labelled in each round, `[rounds]`.
      dice: of each test case after each round, `[rounds, cases]`; NaN where it is undefined.
      groups: of the test cases, `[cases]`.
      nll, ece: after the last round.
    """

    labelled: np.ndarray
    dice: np.ndarray
    groups: np.ndarray
    nll: float
    ece: float


class Estimate(NamedTuple):
    """A mean over seeds with its 95 % interval; infinity stands for a goal that was not reached."""

    value: float
    low: float
    high: float


def curve_of(rounds: Sequence[Mapping[str, Any]]) -> Curve:
    """Reads a run's ledger."""
    ids = sorted(rounds[0]["test"])
    dice = [[np.nan if entry["test"][id_]["dice"] is None else entry["test"][id_]["dice"] for id_ in ids] for entry in rounds]
    groups = [rounds[0]["test"][id_]["group"] for id_ in ids]
    last = rounds[-1]
    return Curve(np.array([entry["labelled"] for entry in rounds]), np.array(dice), np.array(groups), last["nll"], last["ece"])


def measures(
    dice: np.ndarray, groups: np.ndarray, labelled: np.ndarray, goal: float | np.ndarray | None
) -> dict[str, np.ndarray]:
    """What a curve comes to, `[...]` each.

    Args:
      dice: `[..., rounds, cases]`.
      groups: `[cases]`.
      labelled: `[rounds]`.
      goal: Dice whose price in labels is asked for, `[...]`, by linear interpolation between rounds.
    """
    overall = np.nanmean(dice, axis=-1)
    by_group = {str(group): np.nanmean(dice[..., -1, groups == group], axis=-1) for group in np.unique(groups)}
    final = overall[..., -1]
    disparity = sum(abs(value - final) for value in by_group.values())
    found = {
        "dice": final,
        **{f"dice_{group}": value for group, value in by_group.items()},
        "worst_group": np.min(list(by_group.values()), axis=0),
        "disparity": disparity,
        "essp": final / (1 + disparity),
        "area": area_under(labelled, overall),
    }
    if goal is not None:
        found["labels"] = labels_needed(labelled, overall, goal)
    return found


def area_under(labelled: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean height of a learning curve, `[..., rounds] -> [...]`: its area by trapezoids over the labels that it spans."""
    if len(labelled) == 1:
        return values[..., 0]
    return np.trapezoid(values, labelled, axis=-1) / (labelled[-1] - labelled[0])


def labels_needed(labelled: np.ndarray, values: np.ndarray, goal: float | np.ndarray) -> np.ndarray:
    """Labels at which a curve first reaches a goal, `[..., rounds]` and `[...]` to `[...]`; infinity where it does not."""
    reached = values >= np.asarray(goal)[..., None]
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(values, index[..., None], -1)[..., 0] for index in (first, before))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first == before, 0.0, (goal - low) / rise)
    needed = labelled[before] + share * (labelled[first] - labelled[before])
    return np.where(reached.any(-1), needed, np.inf)


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
    full = full if all(number in full for number in seeds) else {}
    plain = {name: [_measures_of(own[number], full.get(number)) for number in seeds] for name, own in runs.items()}
    drawn = {name: [] for name in runs}
    for place, number in enumerate(seeds):
        some = next(iter(runs.values()))[number]
        cases = _draw_cases(some.groups, np.random.default_rng([seed, place]))
        for name, own in runs.items():
            drawn[name].append(_measures_of(own[number], full.get(number), cases))
    chosen = np.random.default_rng([seed, len(seeds)]).integers(len(seeds), size=(REPLICATES, len(seeds)))
    values = {name: _mean_over_seeds(plain[name], drawn[name], chosen) for name in runs}
    tail = tail_of(len(seeds))
    table = {name: {measure: _estimate(*pair, tail) for measure, pair in own.items()} for name, own in values.items()}
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


def _draw_cases(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of cases drawn with replacement within each group, `[replicates, cases]`."""
    drawn = np.empty((REPLICATES, len(groups)), np.int64)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        drawn[:, members] = members[rng.integers(len(members), size=(REPLICATES, len(members)))]
    return drawn


def _measures_of(curve: Curve, full: Curve | None, cases: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What a run comes to; with `cases` in each replicate, the goal that training on everything sets by the same cases."""

    def replicated(dice: np.ndarray) -> np.ndarray:  # [replicates, rounds, cases]
        return dice if cases is None else np.moveaxis(dice[:, cases], 0, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a replicate may hold no case of a group in which Dice is defined
        goal = None if full is None else GOAL * np.nanmean(replicated(full.dice[-1:]), axis=-1)[..., 0]
        found = measures(replicated(curve.dice), curve.groups, curve.labelled, goal)
    ones = np.ones(() if cases is None else len(cases))
    return {**found, "nll": curve.nll * ones, "ece": curve.ece * ones}


def _mean_over_seeds(plain: list[dict], drawn: list[dict], chosen: np.ndarray) -> dict[str, tuple[float, np.ndarray]]:
    replicates = np.arange(len(chosen))[:, None]
    return {
        measure: (
            float(np.mean([own[measure] for own in plain])),
            np.stack([own[measure] for own in drawn], axis=-1)[replicates, chosen].mean(-1),
        )
        for measure in plain[0]
    }


def tail_of(seeds: int) -> float:
    """Share of replicates beyond each end of a 95 % interval; of a single seed that of the cases alone."""
    if seeds == 1:
        return 0.025
    return float(stats.norm.cdf(-np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1)))


def _estimate(value: float, replicates: np.ndarray, tail: float) -> Estimate:
    known = replicates[~np.isnan(replicates)]
    if len(known) < len(replicates) / 2:  # no interval of what is mostly undefined
        return Estimate(float(value), np.nan, np.nan)
    low, high = np.quantile(known, (tail, 1 - tail), method="nearest")
    return Estimate(float(value), float(low), float(high))


def _difference(own: tuple[float, np.ndarray], base: tuple[float, np.ndarray], tail: float) -> Estimate:
    """Of two goals that were not reached the difference is NaN: nobody knows it."""
    with np.errstate(invalid="ignore"):
        return _estimate(own[0] - base[0], own[1] - base[1], tail)


class Comparison(NamedTuple):
    """The strategies of one setting over the same seeds and rounds.

    Attributes:
      setting: its name.
      seeds: that all strategies of the table have.
      left_out: strategies and seeds that are not in the table, for others have more in common.
      full: mean Dice of training on everything over these seeds; None if a seed lacks it.
      table: estimates by strategy and measure.
      differences: by base, strategy and measure.
    """

    setting: str
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    full: float | None
    table: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, dict[str, Estimate]]]


def compare_folder(folder: Path) -> list[Comparison]:
    """Compares the runs of each setting below a results folder."""
    runs = read_runs(folder)
    return [
        compare_runs(setting, [run for run in runs if run.setting == setting])
        for setting in sorted({run.setting for run in runs})
    ]


def compare_runs(setting: str, runs: Sequence[Run]) -> Comparison:
    """Compares the runs of one setting: as many as can be over the same seeds and rounds."""
    known = [run for run in runs if "test" in run.rounds[0]]
    trained = [run for run in known if run.strategy != FULL]
    rounds, strategies, seeds = _largest_block({(run.strategy, run.seed): len(run.rounds) for run in trained})
    inside = {(strategy, seed) for strategy in strategies for seed in seeds}
    chosen: dict[str, dict[int, Curve]] = {}
    for run in trained:
        if (run.strategy, run.seed) in inside:
            chosen.setdefault(run.strategy, {})[run.seed] = curve_of(run.rounds[:rounds])
    full = {run.seed: curve_of(run.rounds) for run in known if run.strategy == FULL and run.seed in seeds}
    table, differences = compare(chosen, full, ("entropy", "random")) if chosen else ({}, {})
    return Comparison(
        setting,
        tuple(seeds),
        tuple(f"{run.strategy} seed {run.seed}" for run in trained if (run.strategy, run.seed) not in inside),
        float(np.mean([np.nanmean(own.dice[-1]) for own in full.values()])) if seeds and len(full) == len(seeds) else None,
        table,
        differences,
    )


def _largest_block(lengths: Mapping[tuple[str, int], int]) -> tuple[int, list[str], list[int]]:
    """Rounds, strategies and seeds, as many as can be, of which every strategy has every seed with so many rounds.

    A strategy counts for more than a seed, so that one that is a seed behind is not dropped for it.
    """
    best, found = 0, (0, [], [])
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
