"""Scores a finished round's pool again, for any number of strategies in one pass."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.acquisition.selection import Query
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.rounds.calibrated import calibrated
from jaxal.rounds.networks import make_networks
from jaxal.rounds.passes import make_passes, run_pass
from jaxal.rounds.propose import decide_for, look_at_splits
from jaxal.rounds.setup import Run, check_training
from jaxal.rounds.state import last_finished
from jaxal.strategies.contract import Needs
from jaxal.strategies.named import named_strategy
from jaxal.types import Seen, Unit


class Scores(NamedTuple):
    """What strategies say of one pool.

    Attributes:
      round: whose network scored.
      pool: the cases that were not wholly labelled in that round.
      units: by strategy, what could be asked for: the pool's cases, or the parts of them that it would offer.
      scores: by strategy, `[units]`; high means "label me".
      queries: by strategy, what it would ask for.
    """

    round: int
    pool: tuple[Unit, ...]
    units: dict[str, tuple[Unit, ...]]
    scores: dict[str, np.ndarray]
    queries: dict[str, Query]


def score_round(run: Run, names: Sequence[str]) -> Scores:
    """Scores the pool of a run's last finished round; the numbers are those that the round itself would have had.

    Args:
      run: whose; any strategy's.
      names: of strategies.

    Raises:
      UserError: no round is finished, its checkpoint is gone, or a strategy needs networks that the run does not have.
    """
    state = last_finished(run)
    chosen = {name: named_strategy(name, run.task.kind.strategies, run.task.options).strategy for name in names}
    for name, strategy in chosen.items():
        check_training(name, strategy, run.task.training)
        if strategy.last_network or (strategy.auxiliary and strategy.auxiliary != run.strategy.auxiliary):
            raise UserError(
                f"{name}: needs networks of its own (an auxiliary head, or the last round's), which are not kept for scoring again."
            )
    parts = zip(*(strategy.needs for strategy in chosen.values()), strict=True)
    needs = Needs(*(tuple(sorted({name for names in part for name in names})) for part in parts))
    params = [network.restored(state.round) for network in make_networks(run)]
    passes = make_passes(run, needs)
    weights = calibrated(run, state, params)
    statistics = run_pass(passes.labelled, params[0], state.key, state.labelled, run.load_labelled, run.watcher, "labelled set")
    looks = look_at_splits(run, list(chosen.values()), state, passes, weights, Seen(state.labelled, statistics))
    decisions = {name: decide_for(run, strategy, state, weights[0], looks) for name, strategy in chosen.items()}
    scores = {name: decision.scores for name, decision in decisions.items()}
    queries = {name: decision.query for name, decision in decisions.items()}
    units = {name: tuple(decision.units.values()) for name, decision in decisions.items()}
    return Scores(state.round, tuple(state.pool), units, scores, queries)


def write_scores(path: Path, of_pool: Scores) -> None:
    """Writes a table: a row a unit, a column a strategy, all digits that the numbers have; empty where a strategy would not offer the part."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "group", "round", *of_pool.scores])
    by_unit = [
        {unit.id: repr(float(score)) for unit, score in zip(of_pool.units[name], scores, strict=True)}
        for name, scores in of_pool.scores.items()
    ]
    every = {unit.id: unit for units in of_pool.units.values() for unit in units}
    for id_, unit in sorted(every.items()):
        writer.writerow([id_, unit.group, of_pool.round, *(scores.get(id_, "") for scores in by_unit)])
    write_text(path, text.getvalue())
