"""A finished round as the ledger keeps it: who was queried and why, how good the network was and for whom, how long it took.

And the runs of a results folder, read back from their ledgers.
"""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxal import calibration, fairness, metrics
from jaxal.checkpoint import Ledger
from jaxal.data.cases import Case
from jaxal.errors import UserError
from jaxal.strategies import Decision, Seen

FULL = "full"  # in place of a strategy's name: a network trained on the whole pool


def record_of(
    round_: int,
    labelled: Seen,
    queried: Sequence[Case],
    decision: Decision,
    test: Seen,
    failures: int,
    seconds: dict[str, float],
    config_hash: str,
    classes: Sequence[str],
) -> dict[str, Any]:
    """One line of the ledger, ready for JSON.

    Args:
      round_: its number.
      labelled: what the round was trained on, with its overlap.
      queried: the cases of the decision.
      decision: the strategy's.
      test: the test cases, with overlap and calibration.
      failures: trainings that collapsed.
      seconds: by phase.
      config_hash: of everything that decides results.
      classes: their names, background first.

    Raises:
      UserError: Dice is undefined for every test case.
    """
    performance = _performance(test)
    if not performance.by_group:
        raise UserError(
            f"None of the {len(test.cases)} test cases holds any foreground, and none was predicted, so there is no Dice to report. Another "
            "--seed draws other test cases; more cases with the structure are needed."
        )
    sums, query = test.statistics["calibration"], decision.query
    return {
        "round": round_,
        "labelled": len(labelled.cases),
        "labelled_by_group": _counts(labelled.cases),
        "queried": list(query.units),
        "queried_by_group": _counts(queried),
        "queried_groups": {case.id: case.group for case in queried},
        "scores": list(query.scores),
        "score_gap": query.gap,
        **decision.explanation,
        "dice": {
            "overall": performance.overall,
            "by_group": dict(performance.by_group),
            "by_class": _by_class(test, classes),
            "undefined": performance.undefined,
        },
        "disparity": fairness.disparity(performance),
        "gap": fairness.gap(performance),
        "essp": fairness.equity_scaled(performance),
        "nll": calibration.negative_log_likelihood(sums),
        "ece": calibration.expected_calibration_error(sums),
        "reliability": _reliability(sums),
        "test": _by_case(test),
        "labelled_dice": dict(_performance(labelled).by_group),
        "collapsed": failures,
        "seconds": seconds,
        "config": config_hash,
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        "device": jax.devices()[0].device_kind,
    }


def _performance(seen: Seen) -> fairness.GroupPerformance:
    return fairness.group_performance(
        metrics.mean_foreground_dice(seen.statistics["overlap"]), [case.group for case in seen.cases]
    )


def _by_class(seen: Seen, classes: Sequence[str]) -> dict[str, float]:
    """Mean Dice of each class above 0 over the cases in which it is defined."""
    dice = metrics.dice(seen.statistics["overlap"])
    known = {name: dice[:, index][~np.isnan(dice[:, index])] for index, name in enumerate(classes)}
    return {name: float(values.mean()) for name, values in list(known.items())[1:] if len(values)}


def _by_case(seen: Seen) -> dict[str, dict[str, Any]]:
    """Each case's group and Dice, None where it is undefined: what intervals over cases need."""
    dice = metrics.mean_foreground_dice(seen.statistics["overlap"])
    return {
        case.id: {"group": case.group, "dice": None if np.isnan(value) else round(float(value), 6)}
        for case, value in zip(seen.cases, dice, strict=True)
    }


def _reliability(sums: calibration.CalibrationSums) -> dict[str, list[float]]:
    """Elements of all cases by bin of confidence: how many, their summed confidence, how many are right."""
    parts = {"count": sums.count, "confidence": sums.confidence, "correct": sums.correct}
    return {name: [round(float(value), 3) for value in np.asarray(part, np.float64).sum(0)] for name, part in parts.items()}


def _counts(cases: Sequence[Case]) -> dict[str, int]:
    return dict(sorted(Counter(case.group for case in cases).items()))


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
