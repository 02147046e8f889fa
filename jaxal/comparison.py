"""Several strategies over several seeds in one table, with intervals that say how far it can be believed.

Intervals come from a bootstrap over seeds and, within a seed, over test cases of each group (Efron & Tibshirani 1993; cases are drawn
within groups, so that every replicate has the groups' sizes). Strategies of one seed share their test cases, and so do differences
between them: both are computed from the same replicate. Calibration is known by seed only, and its intervals are over seeds.

The percentiles of a bootstrap over few seeds lie too close together: of 95 % intervals over five seeds 83 % held the truth (in the test of
this module). They are therefore moved out as far as Student's t would have it (the expanded percentile interval of Hesterberg 2015, The
American Statistician 69(4)), after which 96 % did. Over two or three seeds not even that is enough: such intervals are still too short.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

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


def measures(dice: np.ndarray, groups: np.ndarray, labelled: np.ndarray, goal: float | None) -> dict[str, np.ndarray]:
    """What a curve comes to, `[...]` each.

    Args:
      dice: `[..., rounds, cases]`.
      groups: `[cases]`.
      labelled: `[rounds]`.
      goal: Dice whose price in labels is asked for, by linear interpolation between rounds.
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


def labels_needed(labelled: np.ndarray, values: np.ndarray, goal: float) -> np.ndarray:
    """Labels at which a curve first reaches a goal, `[..., rounds] -> [...]`; infinity where it does not."""
    reached = values >= goal
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(values, index[..., None], -1)[..., 0] for index in (first, before))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first == before, 0.0, (goal - low) / rise)
    needed = labelled[before] + share * (labelled[first] - labelled[before])
    return np.where(reached.any(-1), needed, np.inf)


def compare(
    runs: Mapping[str, Mapping[int, Curve]], full: Mapping[int, float], against: Sequence[str], seed: int = 0
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, dict[str, Estimate]]]]:
    """Compares strategies over the seeds that all of them have.

    Args:
      runs: by strategy and seed.
      full: mean Dice of training on everything, by seed; without it nothing is said of labels needed.
      against: strategies from which the others' differences are taken.
      seed: of the bootstrap.

    Returns:
      Each strategy's estimates by measure, and for each of `against` those of every other strategy's difference from it.
    """
    seeds = sorted(set.intersection(*(set(own) for own in runs.values())))
    if not seeds:
        return {}, {}
    length = min(len(own[number].labelled) for own in runs.values() for number in seeds)
    goal = {number: GOAL * full[number] for number in seeds} if all(number in full for number in seeds) else {}
    plain = {name: [_measures_of(own[number], length, goal.get(number)) for number in seeds] for name, own in runs.items()}
    drawn = {name: [] for name in runs}
    for place, number in enumerate(seeds):
        some = next(iter(runs.values()))[number]
        cases = _draw_cases(some.groups, np.random.default_rng([seed, place]))
        for name, own in runs.items():
            drawn[name].append(_measures_of(own[number], length, goal.get(number), cases))
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


def _measures_of(curve: Curve, length: int, goal: float | None, cases: np.ndarray | None = None) -> dict[str, np.ndarray]:
    dice = curve.dice[:length]
    if cases is not None:
        dice = np.moveaxis(dice[:, cases], 0, 1)  # [replicates, rounds, cases]
    found = measures(dice, curve.groups, curve.labelled[:length], goal)
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
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(replicates, (tail, 1 - tail), method="nearest")
    return Estimate(float(value), float(low), float(high))


def _difference(own: tuple[float, np.ndarray], base: tuple[float, np.ndarray], tail: float) -> Estimate:
    """Of two goals that were not reached the difference is NaN: nobody knows it."""
    with np.errstate(invalid="ignore"):
        return _estimate(own[0] - base[0], own[1] - base[1], tail)
