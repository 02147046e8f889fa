"""What the runs of the leaderboard come to: areas, differences from random, ranks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.assessment.intervals import Estimate, student_mean
from jaxal.assessment.ranks import critical_difference, friedman, mean_ranks
from jaxal.leaderboard.outcomes import Outcome, read_outcome

BASELINE = "random"
Runs = Mapping[str, Mapping[int, Outcome]]  # strategy -> seed -> outcome


class Row(NamedTuple):
    """A strategy on a task.

    Attributes:
      area: over its seeds.
      over_random: of the seeds that both have.
      milliseconds: the median of its runs.
      failures: runs that ended in trouble.
      trouble: of one of them, or why it does not fit.
      is_refused: whether it does not fit.
    """

    area: Estimate
    over_random: Estimate
    milliseconds: float
    failures: int
    trouble: str
    is_refused: bool

    @property
    def verdict(self) -> int:
        """1 where it is better than random, -1 where it is worse, 0 where the interval holds both."""
        return int(self.over_random.low > 0) - int(self.over_random.high < 0)


class Ranks(NamedTuple):
    """Strategies over all tasks that each of them has a result of.

    Attributes:
      names: the best first.
      ranks: mean ranks, rising.
      tasks: that they are over.
      difference: that two must lie apart.
      chance: of ranks as unlike as these if all were equal.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    tasks: tuple[str, ...]
    difference: float
    chance: float


def read_runs(folder: Path) -> dict[str, Runs]:
    """All runs that are over, by task."""
    found: dict[str, dict[str, dict[int, Outcome]]] = {}
    for path in sorted(folder.glob("*/*/seed-*")):
        task, strategy, seed = path.parts[-3:]
        if (outcome := read_outcome(path)) and seed.removeprefix("seed-").isdigit():
            found.setdefault(task, {}).setdefault(strategy, {})[int(seed.removeprefix("seed-"))] = outcome
    return {task: dict(runs) for task, runs in found.items()}


def rows_of(runs: Runs) -> dict[str, Row]:
    """Each strategy's row, the largest area first and what does not fit last."""
    areas = {name: {seed: outcome.area for seed, outcome in of_seeds.items()} for name, of_seeds in runs.items()}
    base, rows = areas.get(BASELINE, {}), {}
    for name, of_seeds in runs.items():
        both = [seed for seed in areas[name] if seed in base] if name != BASELINE else []
        troubles = [outcome for outcome in of_seeds.values() if outcome.trouble]
        timed = [outcome.milliseconds for outcome in of_seeds.values() if not outcome.trouble]
        rows[name] = Row(
            student_mean(np.array(list(areas[name].values()))),
            student_mean(np.array([areas[name][seed] - base[seed] for seed in both])),
            float(np.median(timed)) if timed else np.nan,
            sum(not outcome.is_refused for outcome in troubles),
            troubles[0].trouble if troubles else "",
            bool(troubles) and all(outcome.is_refused for outcome in of_seeds.values()),
        )
    return dict(sorted(rows.items(), key=lambda row: (row[1].is_refused, -np.nan_to_num(row[1].area.value, nan=-1.0), row[0])))


def ranks_of(board: Mapping[str, Mapping[str, Row]], tasks: Sequence[str]) -> Ranks | None:
    """Mean ranks over some tasks of the strategies that have an area in all of them; None of fewer than two tasks or three strategies."""
    with_area = [{name for name, row in board[task].items() if not np.isnan(row.area.value)} for task in tasks]
    names = sorted(set.intersection(*with_area)) if with_area else []
    if len(tasks) < 2 or len(names) < 3:
        return None
    results = np.array([[board[task][name].area.value for name in names] for task in tasks])
    ranks = mean_ranks(results)
    order = np.argsort(ranks, kind="stable")
    return Ranks(
        tuple(names[place] for place in order),
        tuple(ranks[order].tolist()),
        tuple(tasks),
        critical_difference(len(names), len(tasks)),
        friedman(results),
    )
