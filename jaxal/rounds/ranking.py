"""Whom a round's scores put first, for the ledger: among the cases that could be asked for, and among those whose truth is known.

Scores of test and evaluation cases are what the strategy would have given them, had they been in the pool. No query depends on them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment import ranking
from jaxal.rounds.setup import Run
from jaxal.types import Seen, Unit


class Known(NamedTuple):
    """Cases whose truth is known.

    Attributes:
      name: of their part of the data.
      seen: them, with the assessment's statistics of test cases.
      scores: of the strategy, `[cases]`.
    """

    name: str
    seen: Seen
    scores: np.ndarray


def is_told(run: Run) -> bool:
    """Whether there is anything to tell: of whole cases of at least two groups, where each case has a success of its own."""
    kind = run.task.kind
    return kind.assessment.each is not None and not kind.in_parts and len(run.task.dataset.groups) > 1


def entries(run: Run, pool: Sequence[Unit], scores: np.ndarray, known: Sequence[Known]) -> dict[str, Any]:
    """What a line of the ledger says of the ranking, ready for JSON.

    Args:
      run: whose.
      pool: cases that could be asked for.
      scores: theirs, `[pool]`.
      known: parts of the data whose truth is known, each with cases.
    """
    found = {"pool": {"outranks": _rounded(ranking.outranking(scores, [unit.group for unit in pool]))}}
    return {"ranking": found | {part.name: _of_known(run, part) for part in known}}


def _of_known(run: Run, part: Known) -> dict[str, Any]:
    assessment, groups = run.task.kind.assessment, np.array([case.group for case in part.seen.cases])
    assert assessment.each is not None
    success = assessment.each(part.seen)
    places = {str(name): groups == name for name in np.unique(groups)}
    within = {name: ranking.rank_correlation(part.scores[place], success[place]) for name, place in places.items()}
    found: dict[str, Any] = {
        "cases": {name: int(place.sum()) for name, place in places.items()},
        "outranks": _rounded(ranking.outranking(part.scores, groups.tolist())),
        **_rounded({"correlation": ranking.rank_correlation(part.scores, success)}),
        "correlation_by_group": _rounded(within),
    }
    if assessment.sizes:
        found["volume_ratio"] = _rounded(ranking.volume_ratios(*assessment.sizes(part.seen), groups.tolist()))
    return found


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else round(value, 6) for name, value in values.items()}
