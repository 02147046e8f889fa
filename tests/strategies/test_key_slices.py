"""Windows side by side that stand for all others, on statistics made by hand."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxal.acquisition.regions import Tiles
from jaxal.strategies.contract import Context, decide
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES_OF_PARTS
from jaxal.types import Case, Label, Seen, Unit

SLICES, FEATURES = 6, 4
KNOWN = Label("1", parts=(((0, 0, 2), (5, 5, 1)), ((0, 0, 3), (3, 5, 1))))  # a slice of the first case, and some of another
POOL = [Unit(Case("a", "", Path(), KNOWN)), Unit(Case("b", "", Path()))]


@pytest.fixture
def made(rng):
    """Two cases of six slices: of the first one is labelled, the second has one slice fewer; and one labelled case."""
    embedding = rng.normal(size=(2, SLICES, FEATURES)).astype(np.float32)
    start = np.zeros((2, SLICES, 3), np.int32)
    start[..., 2] = np.arange(SLICES)
    size, cost = np.full((2, SLICES, 3), [5, 5, 1], np.int32), np.full((2, SLICES), 25, np.int32)
    cost[0, 2], cost[1, 5], size[1, 5] = 0, 0, 0
    cost[0, 3] = 10  # some of it is labelled
    known = Tiles(*(part[:1] for part in (rng.normal(size=(1, SLICES, FEATURES)).astype(np.float32), start, size, cost)))
    return Tiles(embedding, start, size, cost), known._replace(size=np.broadcast_to(size[:1, :1], size[:1].shape))


OF_FEATURES = [name for name, make in STRATEGIES_OF_PARTS.items() if make().needs.pool == ("tiles",)]


def decision(made, budget=4, name="facility_location", **more):
    pool, known = made
    strategy = STRATEGIES_OF_PARTS[name]()
    context = Context(jax.random.key(0), POOL, **more)
    labelled = Seen([Case("k", "", Path())], {"tiles": known})
    return decide(strategy, context, None, {"tiles": pool}, labelled, Seen((), {}), budget)


def greedy(made, budget):
    """Names, and what each adds: (1 + cosine) / 2 to the nearest, over all slices that there are."""
    pool, known = made
    rows = [(case, slot) for case in range(2) for slot in range(SLICES) if pool.size[case, slot].all()]
    unit = lambda points: points / np.linalg.norm(points, axis=-1, keepdims=True)  # noqa: E731
    points = unit(np.array([pool.embedding[row] for row in rows], np.float64))
    labelled = np.array([pool.cost[row] == 0 for row in rows])
    others = np.concatenate([unit(known.embedding[0].astype(np.float64)), points[labelled]])
    alike, left, chosen = (1 + points @ points.T) / 2, ~labelled, []
    covered = ((1 + points @ others.T) / 2).max(1)
    for _ in range(budget):
        gains = np.where(left, np.maximum(alike - covered, 0).sum(1), -1)
        best = int(gains.argmax())
        chosen.append((f"{'ab'[rows[best][0]]}@0,0,{rows[best][1]}+5,5,1", gains[best]))
        left[best], covered = False, np.maximum(covered, alike[best])
    return chosen


def test_slices_are_asked_for_that_stand_for_what_no_label_does(made):
    expected, found = greedy(made, 4), decision(made)
    assert found.query.units == tuple(name for name, _ in expected)
    np.testing.assert_allclose(found.query.scores, [gain for _, gain in expected], rtol=1e-4)
    assert len(found.scores) == 10 == len(found.units)
    assert found.scores.max() == pytest.approx(expected[0][1], rel=1e-4)
    assert found.units["a@0,0,3+5,5,1"].cost == 10


def test_a_budget_in_elements_is_kept_and_everything_may_be_asked_for(made):
    found = decision(made, budget=99, cost_at_most=60)
    assert len(found.query.units) >= 2 and sum(found.units[name].cost for name in found.query.units) <= 60
    assert len(decision(made, budget=99).query.units) == 10


@pytest.mark.parametrize("name", OF_FEATURES)
def test_windows_are_to_a_strategy_what_cases_are(made, name):
    """Its query is that of whole cases that have the windows' names and features; of the windows that nobody asks for, the labelled count as its labelled set."""
    pool, known = made
    whole = CLASSIFICATION_STRATEGIES[name]()
    named = {f"{'ab'[case]}@0,0,{slot}+5,5,1": (case, slot) for case in (0, 1) for slot in range(SLICES)}
    units = [unit for unit, place in named.items() if pool.cost[place]]
    statistics = {"embedding": np.array([pool.embedding[named[unit]] for unit in units])}
    labelled = Seen([], {"embedding": np.concatenate([known.embedding[0], pool.embedding[0, 2:3]])})
    context = Context(jax.random.key(0), [Unit(Case(unit, "", Path())) for unit in units])
    expected = decide(whole, context, None, statistics, labelled, Seen((), {}), 4)
    found = decision(made, name=name)
    assert found.query.units == expected.query.units
    np.testing.assert_array_equal(found.query.scores, expected.query.scores)
    assert set(found.units) == set(units)


def test_the_strategies_of_features_are_there():
    assert {"facility_location", "coreset", "typiclust", "maxherding"} < set(OF_FEATURES) and len(OF_FEATURES) == 14
