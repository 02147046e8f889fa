"""A finished round as the ledger keeps it: who was queried and why, how good the network was and for whom, how long it took.

And the runs of a results folder, read back from their ledgers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxal.data.cases import Case
from jaxal.rounds.checkpoint import Ledger
from jaxal.strategies.table import Decision, Seen
from jaxal.tasks.assessed import Assessment
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION

FULL = "full"  # in place of a strategy's name: a network trained on the whole pool


def record_of(
    round_: int,
    labelled: Seen,
    queried: Sequence[Case],
    decision: Decision,
    test: Seen,
    pool: int,
    failures: int,
    seconds: dict[str, float],
    config_hash: str,
    classes: Sequence[str],
    assessment: Assessment,
) -> dict[str, Any]:
    """One line of the ledger, ready for JSON.

    Args:
      round_: its number.
      labelled: what the round was trained on, with the assessment's statistics.
      queried: the cases of the decision.
      decision: the strategy's.
      test: the test cases, with the assessment's statistics.
      pool: cases that could be queried.
      failures: trainings that collapsed.
      seconds: by phase.
      config_hash: of everything that decides results.
      classes: their names, background first where there is one.
      assessment: of this kind of task.

    Raises:
      UserError: the main measure is undefined for every test case.
    """
    query = decision.query
    return {
        "round": round_,
        "labelled": len(labelled.cases),
        "pool": pool,
        "labelled_by_group": _counts(case.group for case in labelled.cases),
        "queried": list(query.units),
        "queried_by_group": _counts(case.group for case in queried),
        "queried_groups": {case.id: case.group for case in queried},
        **_categories(labelled.cases, queried),
        "scores": list(query.scores),
        "score_gap": query.gap,
        **decision.explanation,
        **assessment.entries(labelled, test, classes),
        "collapsed": failures,
        "seconds": seconds,
        "config": config_hash,
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        "device": jax.devices()[0].device_kind,
    }


def _categories(labelled: Sequence[Case], queried: Sequence[Case]) -> dict[str, Any]:
    """Where each image has one class as a whole: the classes of what is labelled and queried."""
    if not any(case.category for case in labelled):
        return {}
    return {
        "labelled_by_class": _counts(case.category for case in labelled),
        "queried_by_class": _counts(case.category for case in queried),
        "queried_classes": {case.id: case.category for case in queried},
    }


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def assessment_of(rounds: Sequence[Mapping[str, Any]]) -> Assessment:
    """How the networks of a ledger were assessed."""
    return CLASSIFICATION if CLASSIFICATION.key in rounds[0] else SEGMENTATION


class Run(NamedTuple):
    """One finished or unfinished run of a folder."""

    setting: str
    strategy: str
    seed: int
    rounds: list[dict[str, Any]]


def read_runs(folder: Path) -> list[Run]:
    """All runs below a folder, `SETTING/STRATEGY/seed-N/rounds.jsonl`, in alphabetical order."""
    runs = []
    for path in sorted(folder.glob("*/*/seed-*/rounds.jsonl")):
        rounds = Ledger(path).read()
        seed = path.parent.name.removeprefix("seed-")
        if rounds and seed.isdigit():
            seed = int(seed)
            runs.append(Run(path.parent.parent.parent.name, path.parent.parent.name, seed, rounds))
    return runs


def values_after(runs: Sequence[Run], strategy: str, labelled: int, assessment: Assessment) -> list[float]:
    """The main measure of a strategy's runs after training on so many cases, one a seed that got so far."""
    return [
        entry[assessment.key]["overall"]
        for run in runs
        if run.strategy == strategy
        for entry in run.rounds
        if entry["labelled"] == labelled
    ]


def milliseconds_a_case(entry: Mapping[str, Any]) -> float:
    """What it took in a round to score a case that could be queried, and to choose."""
    return 1000 * (entry["seconds"]["score"] + entry["seconds"]["select"]) / max(entry["pool"], 1)
