"""What each run asks for next: the query of its last network, whose answers no network has been trained with yet."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxal.report.tables import Cell, Head, Line, table
from jaxal.rounds.ledger import FULL, Ledger, RunOnDisk
from jaxal.task_kind import Budget
from jaxal.tasks.measures import CASES

FEW = 4  # runs whose queries are listed at length
UNITS_OF_FEW, UNITS_OF_MANY = 100, 10  # that are listed of one query; the ledger has all of them


class Asked(NamedTuple):
    """What one run asks for next.

    Attributes:
      strategy, seed: whose run.
      labelled: what the network was trained on which made the query, as the budget counts it.
      units: that it asks for, best first; none where the pool is exhausted.
    """

    strategy: str
    seed: int
    labelled: float
    units: tuple[str, ...]


def asked_next(folder: Path, runs: Sequence[RunOnDisk], budget: Budget = CASES) -> list[Asked]:
    """The latest query of each run: one that still waits for its answers if there is one, else that of the last finished round.

    Args:
      folder: of the study.
      runs: of one setting; training on everything asks for nothing and is left out.
      budget: how labels are counted.

    Raises:
      UserError: the file of a waiting query is damaged.
    """
    queries = []
    for run in runs:
        if run.strategy == FULL:
            continue
        place, latest = folder / run.setting / run.strategy / f"seed-{run.seed}", run.rounds[-1]
        if (waiting := place / "pending.json").exists():
            _, pending = Ledger(place / "rounds.jsonl").read_with_pending(waiting)
            if pending and pending["round"] == len(run.rounds):
                latest = pending
        queries.append(Asked(run.strategy, run.seed, budget.spent(latest), tuple(latest["queried"])))
    return queries


def section(queries: Sequence[Asked], budget: Budget = CASES) -> str:
    """A list of all runs' queries, folded up where there are many."""
    if not queries:
        return ""
    at_most = UNITS_OF_FEW if len(queries) <= FEW else UNITS_OF_MANY
    lines: list[Line] = [
        (
            Head(query.strategy),
            [Cell(query.seed, str(query.seed)), Cell(query.labelled, budget.shown(query.labelled)), _units(query.units, at_most)],
        )
        for query in queries
    ]
    columns = [
        Head("seed", "of the run"),
        Head("labelled", f"{budget.title}, that the network was trained on which asks"),
        Head(
            "asked for",
            "best first; behind @ the first element of a part, and behind + its size, in elements of the prepared case",
        ),
    ]
    listed = table("What to label next", "strategy", columns, lines, "asked")
    cut = (
        f" Of each the first {at_most} are here, and all in its rounds.jsonl."
        if max(len(query.units) for query in queries) > at_most
        else ""
    )
    opened = " open" if len(queries) <= FEW else ""
    return (
        "<h3>What to label next</h3><p>Each run's last query, best first. It was made by the run's last network, and no network "
        f"has been trained with its answers yet.{cut}</p><details{opened}><summary>Queries of {len(queries)} run{'' if len(queries) == 1 else 's'}</summary>{listed}</details>"
    )


def _units(units: Sequence[str], at_most: int) -> Cell:
    if not units:
        return Cell(0, "nothing: the pool is exhausted")
    more = len(units) - at_most
    named = ", ".join(units[:at_most]) + (f" and {more} more" if more > 0 else "")
    return Cell(len(units), named)
