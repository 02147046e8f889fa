"""A finished round as the ledger keeps it: who was queried and why, how good the network was and for whom, how long it took."""

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from math import prod
from typing import Any, NamedTuple

import jax

from jaxal.data.parts import cost_of, labelled_elements
from jaxal.numbers import NUMBERS
from jaxal.rounds.setup import Run
from jaxal.strategies.contract import Decision
from jaxal.types import Case, Seen


class Finished(NamedTuple):
    """What a round has come to before its query is answered.

    Attributes:
      round: its number.
      labelled: what it was trained on, with the assessment's statistics.
      refused: cases that readers refused before.
      test: the test cases, with the assessment's statistics.
      pool: cases that could be queried, as a whole or in parts.
      decision: the strategy's.
      failures: trainings that collapsed.
      seconds: by phase.
    """

    round: int
    labelled: Seen
    refused: int
    test: Seen
    pool: int
    decision: Decision
    failures: int
    seconds: dict[str, float]


def record_of(run: Run, finished: Finished) -> dict[str, Any]:
    """One line of the ledger, ready for JSON.

    Raises:
      UserError: the main measure is undefined for every test case.
    """
    query, labelled, task = finished.decision.query, finished.labelled, run.task
    units = [finished.decision.units[name] for name in query.units]
    return {
        "round": finished.round,
        "task": task.kind.name,
        "strategy": dict(run.identity),
        "labelled": len(labelled.cases),
        **({"refused_before": finished.refused} if finished.refused else {}),
        "pool": finished.pool,
        "labelled_by_group": _counts(case.group for case in labelled.cases),
        "queried": list(query.units),
        "queried_by_group": _counts(unit.group for unit in units),
        "queried_groups": {unit.id: unit.group for unit in units},
        "cost": cost_of(units),
        **_elements(run, labelled.cases),
        "scores": list(query.scores),
        "score_gap": query.gap,
        **finished.decision.explanation,
        **task.kind.assessment.entries(labelled, finished.test, task.dataset.classes),
        "collapsed": finished.failures,
        "seconds": finished.seconds,
        "config": run.config_hash,
        "numbers": NUMBERS,
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        "device": jax.devices()[0].device_kind,
    }


def _elements(run: Run, labelled: Sequence[Case]) -> dict[str, int]:
    """Elements that have a label, and those of all cases that could have one; where cases have sizes."""
    shape_of = run.task.shape_of
    if shape_of is None:
        return {}
    return {
        "labelled_elements": sum(labelled_elements(case, shape_of(case)) for case in labelled),
        "pool_elements": sum(prod(shape_of(case)) for case in run.cases.values()),
    }


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
