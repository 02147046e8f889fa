"""A ledger's line from numbers made by hand."""

import json

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition.selection import Query
from jaxal.assessment.calibration import calibration_sums
from jaxal.assessment.metrics import Overlap
from jaxal.errors import UserError
from jaxal.strategies.contract import Decision
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Case, Seen

CASES = [Case(f"c{index}", group, None, None) for index, group in enumerate("BABA")]
HITS, MISSES = np.array([8, 9, 4, 0]), np.array([2, 1, 6, 0])  # Dice 0.8, 0.9, 0.4, and undefined
CLASSES = ("background", "ball")
COUNTS = Overlap(*(np.stack([np.full(4, 100), part], -1) for part in (HITS, MISSES, MISSES)))
# Of each case ten elements whose foreground has 0.55, five of which are foreground, and ten with 0.95, which all are.
_FOREGROUND = jnp.repeat(jnp.array([0.55, 0.95]), 10)
SUMS = calibration_sums(jnp.log(jnp.stack([1 - _FOREGROUND, _FOREGROUND])), jnp.arange(20) // 5 != 0, jnp.ones(20, bool))
SUMS = jax.tree.map(lambda part: np.stack([part] * 4), SUMS)


@pytest.fixture(scope="module")
def record():
    decision = Decision(np.array([0.1, 0.7]), Query(("c3", "c1"), (0.7, 0.1), 0.05), {"group_weights": {"A": 1.0}}, {})
    labelled = Seen(CASES[:3], {"overlap": Overlap(*(part[:3] for part in COUNTS))})
    test = Seen(CASES, {"overlap": COUNTS, "calibration": SUMS})
    return by_hand.record(SEGMENTATION, CASES, CLASSES, labelled, test, decision, 3, failures=1, seconds={"train": 2.0})


def test_each_group_gets_the_mean_of_its_own_cases(record):
    assert record["dice"]["by_group"] == pytest.approx({"A": 0.9, "B": 0.6})
    assert record["dice"]["overall"] == pytest.approx(0.7)
    assert record["dice"]["by_class"] == pytest.approx({"ball": 0.7})
    assert record["dice"]["undefined"] == 1
    assert record["disparity"] == pytest.approx(0.3)
    assert record["essp"] == pytest.approx(0.7 / 1.3)
    assert record["test"] == {
        "c0": {"group": "B", "dice": 0.8},
        "c1": {"group": "A", "dice": 0.9},
        "c2": {"group": "B", "dice": 0.4},
        "c3": {"group": "A", "dice": None},
    }


def test_who_was_queried_and_who_was_labelled(record):
    assert (record["labelled"], record["labelled_by_group"]) == (3, {"A": 1, "B": 2})
    assert (record["queried"], record["queried_by_group"]) == (["c3", "c1"], {"A": 2})
    assert record["queried_groups"] == {"c3": "A", "c1": "A"}
    assert (record["scores"], record["score_gap"], record["group_weights"]) == ([0.7, 0.1], 0.05, {"A": 1.0})


def test_calibration_is_that_of_all_elements(record):
    assert record["reliability"] == {
        "count": [0.0] * 5 + [40.0] + [0.0] * 3 + [40.0],
        "confidence": [0.0] * 5 + [22.0] + [0.0] * 3 + [38.0],
        "correct": [0.0] * 5 + [20.0] + [0.0] * 3 + [40.0],
    }
    assert record["nll"] == pytest.approx(-(np.log(0.55) + np.log(0.45) + 2 * np.log(0.95)) / 4)
    assert (record["ece"], record["ece_classwise"]) == pytest.approx((0.05, 0.05))
    assert record["brier"] == pytest.approx((0.45**2 + 0.55**2 + 2 * 0.05**2) / 4)
    parts = [record[f"brier_{part}"] for part in ("uncertainty", "resolution", "reliability", "within")]
    assert record["brier"] == pytest.approx(parts[0] - parts[1] + parts[2] + parts[3])


def test_a_line_is_plain_json(record):
    assert json.loads(json.dumps(record)) == record


def test_without_foreground_there_is_no_dice():
    nothing = Overlap(*(np.stack([np.full(4, 100), np.zeros(4, int)], -1) for _ in range(3)))
    seen = Seen(CASES, {"overlap": nothing, "calibration": SUMS})
    decision = Decision(np.zeros(2), Query((), (), None), {}, {})
    with pytest.raises(UserError, match="None of the 4 test cases holds any foreground"):
        by_hand.record(SEGMENTATION, CASES, CLASSES, seen, seen, decision)
    defined = Seen(CASES, {"overlap": COUNTS, "calibration": SUMS})
    assert by_hand.record(SEGMENTATION, CASES, CLASSES, seen, defined, decision)["labelled_dice"] == {}


def test_each_class_gets_the_mean_of_the_cases_that_hold_it():
    hits, misses = np.array([[0, 8, 1], [0, 6, 0]]), np.array([[0, 2, 1], [0, 4, 0]])  # the second case has no third class
    counts = Overlap(hits, misses, misses)
    sums = jax.tree.map(lambda part: part[:2], SUMS)
    seen = Seen(CASES[:2], {"overlap": counts, "calibration": sums})
    names = ("background", "bone", "marrow")
    record = by_hand.record(SEGMENTATION, CASES, names, seen, seen, Decision(np.zeros(2), Query((), (), None), {}, {}))
    assert record["dice"]["by_class"] == pytest.approx({"bone": 0.7, "marrow": 0.5})
