"""Scores a finished round's pool again, for any number of strategies in one pass."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxal.acquisition.selection import Query
from jaxal.data.cases import Case
from jaxal.rounds import loop
from jaxal.rounds.checkpoint import write_text
from jaxal.scoring.journal import Journal
from jaxal.strategies import table as strategies
from jaxal.strategies.table import Context, Needs, Seen


class Scores(NamedTuple):
    """What strategies say of one pool.

    Attributes:
      round: whose network scored.
      pool: the cases that were not labelled in that round.
      scores: by strategy, `[pool]`; high means "label me".
      queries: by strategy, what it would ask for.
    """

    round: int
    pool: tuple[Case, ...]
    scores: dict[str, np.ndarray]
    queries: dict[str, Query]


def score_round(
    folder: Path, names: Sequence[str], config: loop.LoopConfig, task: loop.Task, journal: Journal, watcher: loop.Watcher
) -> Scores:
    """Scores the pool of a run's last finished round; the numbers are those that the round itself would have had.

    Args:
      folder: of the run, as `loop.run` leaves it.
      names: of strategies.
      config, task: as the run was made with.
      journal: keeps what is scored until the caller has written it down.
      watcher: gets progress.

    Raises:
      UserError: no round is finished, or its checkpoint is gone.
    """
    round_, labelled = loop.last_round(folder, task)
    pool = sorted(set(task.splits.pool) - set(labelled))
    key = loop.round_key(config, round_)
    chosen = {name: strategies.named_strategy(name, task.strategy, task.table) for name in names}
    needs = Needs(*(tuple(sorted(set().union(*part))) for part in zip(*(one.needs for one in chosen.values()), strict=True)))
    params = [network.restored(round_) for network in loop.make_networks(folder, config, task)]
    passes = loop.Passes(needs, config, task)
    seen = Seen(labelled, loop.run_pass(passes.labelled, params[0], key, labelled, task.load, watcher, "labelled set"))
    found = passes.collect(params, key, pool, seen, watcher, journal)
    scores, queries = {}, {}
    for name, strategy in chosen.items():
        context = Context(jax.random.fold_in(key, 2), pool)
        decision = strategies.score_and_select(strategy, context, task.model.head(params[0]), *found, config.query_size)
        scores[name], queries[name] = decision.scores, decision.query
    return Scores(round_, tuple(pool), scores, queries)


def write_scores(path: Path, found: Scores) -> None:
    """Writes a table: a row a case, a column a strategy, all digits that the numbers have."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "group", "round", *found.scores])
    for index, case in enumerate(found.pool):
        writer.writerow([case.id, case.group, found.round, *(repr(float(scores[index])) for scores in found.scores.values())])
    write_text(path, text.getvalue())
