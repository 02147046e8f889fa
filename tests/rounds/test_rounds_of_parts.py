"""Rounds that ask for parts of cases: what is asked for, what is then known, and what training makes of it."""

import csv
import dataclasses

import numpy as np
import pytest
import tiny
from test_loop import CONFIG, Silent, run, task, without_seconds  # noqa: F401

from jaxal.acquisition.regions import Search
from jaxal.data.parts import read_unit
from jaxal.data.scans.prepare import load_case, prepared_shape
from jaxal.errors import UserError
from jaxal.rounds import rescoring
from jaxal.rounds.pictures import picture_path
from jaxal.rounds.setup import open_run
from jaxal.rounds.state import read_state
from jaxal.strategies.contract import Context, Strategy
from jaxal.strategies.table import STRATEGIES_OF_PARTS
from jaxal.tasks.segmentation import SEGMENTATION_OF_PARTS
from jaxal.types import Unit

BOXES = Search((3, 3, 3), at_most=4)


@pytest.fixture
def parts(task):  # noqa: F811
    statistics = dataclasses.replace(tiny.STATISTICS, windows=BOXES)
    return task._replace(kind=SEGMENTATION_OF_PARTS, statistics=statistics, shape_of=prepared_shape)


def boxes_of(names):
    """By case, the boxes that some units ask for."""
    boxes = {}
    for name in names:
        case, _, place = name.partition("@")
        start, size = (tuple(map(int, part.split(","))) for part in place.split("+"))
        boxes.setdefault(case, []).append((start, size))
    return boxes


def test_boxes_are_asked_for_and_only_they_are_known(tmp_path, parts):
    config = dataclasses.replace(CONFIG, query_size=5)
    first, second = run(tmp_path, parts, "entropy", config)
    assert len(first["queried"]) == 5 and first["cost"] == 5 * 27 == second["labelled_elements"] - first["labelled_elements"]
    assert first["labelled_elements"] == 4 * 512 and first["pool_elements"] == 512 * len(parts.splits.pool)
    assert first["pool"] == second["pool"] == len(parts.splits.pool) - 4  # none is wholly labelled, so all stay
    assert second["labelled"] == 4 + len(boxes_of(first["queried"]))
    assert [sum(line["labelled_elements_by_class"].values()) for line in (first, second)] == [
        line["labelled_elements"] for line in (first, second)
    ]
    state = read_state(open_run(tmp_path, "entropy", config, parts, Silent()), 1)
    foreground = sum(int((load_case(case, parts.dataset).label > 0).sum()) for case in state.labelled)
    assert second["labelled_elements_by_class"]["ball"] == foreground
    for case in state.labelled:
        example = load_case(case, parts.dataset)
        expected = np.zeros(tiny.SHAPE, bool)
        for start, size in boxes_of(first["queried"]).get(case.id, [((0, 0, 0), tiny.SHAPE)]):
            expected[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] = True
        assert (example.labelled == expected).all() and not example.label[~expected].any() and example.inside.all()
        whole = load_case(case._replace(label=case.label._replace(parts=None)), parts.dataset)
        assert (example.label[expected] == whole.label[expected]).all()


def check_boxes(units, scores, count):
    """A query of so many boxes, of which none overlaps another."""
    assert len(set(units)) == len(scores) == count and np.isfinite(scores).all()
    for boxes in boxes_of(units).values():
        covered = np.zeros(tiny.SHAPE, int)
        for start, size in boxes:
            covered[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] += 1
        assert covered.max() == 1


def test_every_strategy_asks_for_boxes_that_do_not_overlap(tmp_path, parts):
    """All of them look at one network, in one pass; ClaSP PE, whose noise is another than `class_balanced` has, comes below."""
    config = dataclasses.replace(CONFIG, rounds=1, query_size=6)
    (trained,) = run(tmp_path, parts, "entropy", config)
    names = [name for name in STRATEGIES_OF_PARTS if name != "clasp_pe"]
    queries = rescoring.score_round(open_run(tmp_path, "entropy", config, parts, Silent()), names).queries
    for strategy, query in queries.items():
        check_boxes(query.units, query.scores, 6)
        if strategy not in ("gini", "bvsb"):  # of two classes they order voxels as entropy does
            assert (list(query.units) == trained["queried"]) == (strategy == "entropy"), strategy


def test_a_round_of_draws_goes_on_where_it_was(tmp_path, parts):
    config = dataclasses.replace(CONFIG, query_size=6)
    records = run(tmp_path / "all", parts, "clasp_pe", config)
    for record in records:
        check_boxes(record["queried"], record["scores"], 6)
    assert not set(records[0]["queried"]) & set(records[1]["queried"])
    run(tmp_path / "again", parts, "clasp_pe", dataclasses.replace(config, rounds=1))
    assert without_seconds(run(tmp_path / "again", parts, "clasp_pe", config)) == without_seconds(records)


def test_a_budget_in_elements_is_never_exceeded(tmp_path, parts):
    config = dataclasses.replace(CONFIG, rounds=3, query_size=99, query_elements=70)
    for record in run(tmp_path, parts, "entropy", config):
        assert record["cost"] <= 70 and len(record["queried"]) >= 2


def test_what_overlapping_boxes_share_is_paid_for_once(tmp_path, parts):
    """Each is a voxel from the next, so their costs one by one are several times what is new."""
    statistics = dataclasses.replace(parts.statistics, windows=Search((4, 4, 4), at_most=12, overlap=True))
    task = parts._replace(statistics=statistics)  # noqa: F811
    records = run(tmp_path / "units", task, "entropy", dataclasses.replace(CONFIG, rounds=3, query_size=6))
    assert np.diff([record["labelled_elements"] for record in records]).tolist() == [record["cost"] for record in records[:-1]]
    assert min(record["cost"] for record in records) < 6 * 64
    (record,) = run(
        tmp_path / "elements", task, "entropy", dataclasses.replace(CONFIG, rounds=1, query_size=99, query_elements=150)
    )
    assert record["cost"] <= 150 and len(record["queried"]) * 64 > 150  # more boxes than their costs one by one would allow


def test_what_has_a_label_costs_nothing_again(tmp_path, parts):
    """Boxes that overlap earlier ones are asked for once more only for what is new in them, and the ledger counts that."""
    config = dataclasses.replace(CONFIG, rounds=4, query_size=8)
    statistics = dataclasses.replace(parts.statistics, windows=Search((6, 6, 6), at_most=8))
    records = run(tmp_path, parts._replace(statistics=statistics), "entropy", config)
    costs = [record["cost"] for record in records]
    elements = [record["labelled_elements"] for record in records]
    assert np.diff(elements).tolist() == costs[:-1]
    assert min(costs) < 8 * 216


def test_a_case_leaves_the_pool_when_all_of_it_has_a_label(tmp_path, parts):
    """Slices of half a case: two of them are the whole."""
    statistics = dataclasses.replace(parts.statistics, windows=Search((0, 0, 4), stride=4, at_most=2))
    config = dataclasses.replace(CONFIG, rounds=3, query_size=2 * len(parts.splits.pool))
    first, second = run(tmp_path, parts._replace(statistics=statistics), "random", config)
    assert second["pool"] == 0 and second["queried"] == [] and second["labelled_elements"] == second["pool_elements"]
    assert first["pool"] == len(parts.splits.pool) - 4


def test_what_is_hidden_of_a_case_never_reaches_training_or_a_query(tmp_path, parts):
    known = []

    def spoiled(case):
        example = parts.load(case)
        known.append(case.label)
        return example._replace(label=np.where(example.labelled, example.label, 1 - example.label))

    plain, other = (run(tmp_path / name, parts._replace(load=load), "bald") for name, load in (("a", parts.load), ("b", spoiled)))
    assert [record["queried"] for record in plain] == [record["queried"] for record in other]
    assert [record["scores"] for record in plain] == [record["scores"] for record in other]
    assert plain[1]["dice"] == other[1]["dice"]
    assert any(label and label.parts for label in known)


def test_every_box_of_a_query_is_drawn(tmp_path, parts):
    first, _ = run(tmp_path, parts, "entropy", dataclasses.replace(CONFIG, query_size=5))
    assert all(picture_path(tmp_path, 0, name).stat().st_size > 100 for name in first["queried"])


def test_a_finished_round_is_scored_again_part_by_part(tmp_path, parts):
    """Each strategy offers parts of its own, and its row in the table is theirs."""
    config = dataclasses.replace(CONFIG, query_size=3)
    record = run(tmp_path, parts, "entropy", config)[-1]
    work = open_run(tmp_path, "entropy", config, parts, Silent())
    scored = rescoring.score_round(work, ["entropy", "random"])
    assert list(scored.queries["entropy"].units) == record["queried"]
    rescoring.write_scores(tmp_path / "scores.csv", scored)
    rows = {row["case"]: row for row in csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())}
    assert [float(rows[unit]["entropy"]) for unit in record["queried"]] == record["scores"]
    assert {unit for unit, row in rows.items() if row["random"]} == {unit.id for unit in scored.units["random"]}
    with pytest.raises(UserError, match=r"'windows_power_entropy' the numbers 1 and 2, and it takes one\. Score them one by one"):
        rescoring.score_round(work, ["power_entropy", "power_entropy,power_beta=2"])


def test_the_noise_of_clasp_wanes(parts):
    strategy: Strategy = STRATEGIES_OF_PARTS["clasp_pe"]()
    given = [strategy.given(Context(None, [], round_, 5), None, None)["windows_entropy_by_class"] for round_ in range(5)]
    np.testing.assert_allclose(given, [1, 100**0.25, 10, 100**0.75, 100])


def test_names_of_units_are_read_as_they_are_written(parts):
    cases = {case.id: case for case in parts.splits.pool}
    case = parts.splits.pool[0]
    assert read_unit(Unit(case, (1, 0, 2), (3, 4, 5)).id, cases) == Unit(case, (1, 0, 2), (3, 4, 5), 60.0)
    assert read_unit(case.id, cases) == Unit(case)
    assert read_unit(f"{case.id}@1,2", cases) is None and read_unit("nobody@0,0,0+1,1,1", cases) is None
    strange = case._replace(id="a@1,2+3,4")
    assert read_unit("a@1,2+3,4", {strange.id: strange}) == Unit(strange)
