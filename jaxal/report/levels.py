"""What it took each strategy to reach given levels of the main measure, how well calibrated it was there, and what of it was foreground."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment.learning_curves import Reached, Spread, foreground_efficiency, spread, to_reach
from jaxal.rounds.ledger import RunOnDisk
from jaxal.task_kind import Assessment, Budget

LEVELS = (0.75, 0.80, 0.85)  # of the main measure
SHARES = (0.80, 0.90, 0.95)  # of what training on everything reaches
AT_GOAL = ("nll", "ece", "brier")  # compared where strategies are equally good


class Level(NamedTuple):
    """A goal, and what it took a strategy to reach it.

    Attributes:
      goal: the main measure's; of a share of training on everything the mean over seeds.
      share: of training on everything; None where the goal is a number of its own.
      found: over the seeds.
    """

    goal: float
    share: float | None
    found: Reached


class Foreground(NamedTuple):
    """How much foreground a strategy asked for.

    Attributes:
      asked: share of the elements asked for that are foreground, over seeds.
      pool: the same of all elements that could be asked for; NaN where nothing was trained on everything.
      efficiency: `foreground_efficiency`; NaN where nothing was trained on everything.
    """

    asked: Spread
    pool: float
    efficiency: float


def levels_of(
    runs: Sequence[RunOnDisk],
    full: Sequence[RunOnDisk],
    assessment: Assessment,
    budget: Budget,
    levels: Sequence[float] = LEVELS,
) -> dict[str, list[Level]]:
    """What it took to reach each goal, by strategy.

    Args:
      runs: of strategies, all with the same seeds and as many rounds.
      full: trainings on everything; without those of all seeds no goal is a share of them.
      assessment, budget: the main measure, and how labels are counted.
      levels: of the main measure.
    """
    everything = {run.seed: run.rounds[-1][assessment.key]["overall"] for run in full}
    found = {}
    for strategy, of_strategy in _by_strategy(runs).items():
        labelled, values = (_series(of_strategy, of) for of in (budget.spent, lambda entry: entry[assessment.key]["overall"]))
        known = [name for name in AT_GOAL if all(name in entry for run in of_strategy for entry in run.rounds)]
        others = {name: _series(of_strategy, lambda entry, name=name: entry[name]) for name in known}
        goals: list[tuple[float, float | None, np.ndarray]] = [
            (level, None, np.full(len(of_strategy), level)) for level in levels
        ]
        if all(run.seed in everything for run in of_strategy):
            best = np.array([everything[run.seed] for run in of_strategy])
            goals += [(float(share * best.mean()), share, share * best) for share in SHARES]
        found[strategy] = [Level(level, share, to_reach(labelled, values, goal, others)) for level, share, goal in goals]
    return found


def foreground_of(runs: Sequence[RunOnDisk], full: Sequence[RunOnDisk], assessment: Assessment) -> dict[str, Foreground]:
    """How much foreground each strategy asked for, as far as all ledgers say it; see `levels_of`."""
    if not all("labelled_elements_by_class" in entry for run in (*runs, *full) for entry in run.rounds):
        return {}
    everything = {run.seed: run.rounds[-1] for run in full}
    found = {}
    for strategy, of_strategy in _by_strategy(runs).items():
        asked = np.array([_asked(run.rounds) for run in of_strategy])
        pool, efficiency = np.nan, np.nan
        if all(run.seed in everything for run in of_strategy):
            whole = [everything[run.seed] for run in of_strategy]
            pool = float(np.mean([_foreground(entry) / _elements(entry) for entry in whole]))
            shares = np.array(
                [[_share(entry, all_) for entry in run.rounds] for run, all_ in zip(of_strategy, whole, strict=True)]
            )
            values = _series(of_strategy, lambda entry: entry[assessment.key]["overall"])
            efficiency = foreground_efficiency(shares, values, np.array([entry[assessment.key]["overall"] for entry in whole]))
        found[strategy] = Foreground(spread(asked), pool, efficiency)
    return found


def _by_strategy(runs: Sequence[RunOnDisk]) -> dict[str, list[RunOnDisk]]:
    found: dict[str, list[RunOnDisk]] = {}
    for run in runs:
        found.setdefault(run.strategy, []).append(run)
    return found


def _series(runs: Sequence[RunOnDisk], value: Any) -> np.ndarray:
    """A value of each line, `[runs, rounds]`."""
    return np.array([[value(entry) for entry in run.rounds] for run in runs], np.float64)


def _elements(entry: Mapping[str, Any]) -> int:
    return sum(entry["labelled_elements_by_class"].values())


def _foreground(entry: Mapping[str, Any]) -> int:
    """Labelled elements of all classes but the first, which is the background."""
    return sum(list(entry["labelled_elements_by_class"].values())[1:])


def _asked(rounds: Sequence[Mapping[str, Any]]) -> float:
    """Share of foreground among the elements that got a label after the first round."""
    first, last = rounds[0], rounds[-1]
    more = _elements(last) - _elements(first)
    return (_foreground(last) - _foreground(first)) / more if more > 0 else np.nan


def _share(entry: Mapping[str, Any], everything: Mapping[str, Any]) -> float:
    """Share of all foreground that is labelled, mean over the classes that there are."""
    labelled, whole = (list(line["labelled_elements_by_class"].values())[1:] for line in (entry, everything))
    return float(np.mean([part / all_ for part, all_ in zip(labelled, whole, strict=True) if all_]))
