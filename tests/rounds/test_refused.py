"""Cases that readers would not label: an answer that costs a reading, and gives no label."""

import dataclasses

import numpy as np
import pytest
from test_loop import CONFIG, Silent, run, task, with_strategy, without_seconds  # noqa: F401 (a fixture)

from jaxal.errors import UserError
from jaxal.rounds.first_set import with_first_set
from jaxal.rounds.setup import open_run
from jaxal.rounds.state import read_state
from jaxal.strategies.contract import Needs, Strategy
from jaxal.tasks.measures import CASES, pool_of
from jaxal.types import Label

REASON = "not this organ"
THREE = dataclasses.replace(CONFIG, rounds=3)


def open_set(task, every=2):  # noqa: F811
    """The task in which readers refuse every second case of the pool that is not labelled at the start."""
    initial = {case.id for case in task.initial}
    others = [case.id for case in sorted(task.splits.pool) if case.id not in initial][::every]
    label = Label(REASON, refusal=REASON)
    pool = tuple(case._replace(label=label) if case.id in others else case for case in task.splits.pool)
    return task._replace(splits=task.splits._replace(pool=pool)), set(others)


def test_a_refusal_costs_a_reading_and_is_never_trained_on_or_asked_for_again(tmp_path, task):  # noqa: F811
    unwanted, names = open_set(task)
    lines = run(tmp_path, unwanted, "random", THREE)
    asked = [unit for line in lines for unit in line["queried"]]
    refused = [set(line.get("refused", {})) for line in lines]
    assert len(asked) == len(set(asked)) == len(task.splits.pool) - len(task.initial)
    assert [found for line, found in zip(lines, refused, strict=True) if found != set(line["queried"]) & names] == []
    assert set().union(*refused) == names
    assert all(line["refused"] == dict.fromkeys(line["refused"], REASON) for line in lines if "refused" in line)
    assert [line["labelled"] for line in lines] == [4, 6 - len(refused[0]), 8 - len(refused[0] | refused[1])]
    assert [line.get("refused_before", 0) for line in lines] == [0, len(refused[0]), len(refused[0] | refused[1])]
    assert [CASES.spent(line) for line in lines] == [4, 6, 8]  # a refusal costs what a label costs
    assert {pool_of(line) for line in lines} == {len(task.splits.pool)}
    state = read_state(open_run(tmp_path, "random", THREE, unwanted, Silent()))
    assert {case.id for case in state.refused} == names
    assert not {case.id for case in state.labelled} & names
    assert not state.pool


def test_what_is_said_of_answers_is_said_of_labels_alone(tmp_path, task):  # noqa: F811
    unwanted, names = open_set(task)
    assessment = task.kind.assessment._replace(answered=lambda cases: {"answers": [case.id for case in cases]})
    lines = run(tmp_path, unwanted._replace(kind=task.kind._replace(assessment=assessment)), "random", THREE)
    assert [line["answers"] for line in lines] == [[id_ for id_ in line["queried"] if id_ not in names] for line in lines]
    assert any(line["answers"] for line in lines)


def test_strategies_see_what_was_refused_and_not_why(tmp_path, task):  # noqa: F811
    unwanted, names = open_set(task)
    seen = []

    def score(statistics, context):
        seen.append(context.refused)
        return np.array([float(unit.id in names) for unit in context.pool])

    strategy = Strategy(Needs(pool=("entropy",), refused=("embedding",)), score)
    lines = run(tmp_path, with_strategy(unwanted, "mine", lambda: strategy), "mine", dataclasses.replace(THREE, rounds=2))
    assert set(lines[0]["refused"]) == set(lines[0]["queried"])
    rounds = [found for found in seen if found.cases]
    assert {case.id for case in rounds[-1].cases} == set(lines[0]["refused"])
    assert all(case.label is None for case in rounds[-1].cases)
    assert len(rounds[-1].statistics["embedding"]) == 2
    assert not seen[0].cases


def test_a_run_goes_on_as_it_would_have(tmp_path, task):  # noqa: F811
    unwanted, _ = open_set(task)
    whole = run(tmp_path / "whole", unwanted, "entropy+usable", THREE)
    run(tmp_path / "two", unwanted, "entropy+usable", dataclasses.replace(THREE, rounds=2))
    assert without_seconds(run(tmp_path / "two", unwanted, "entropy+usable", THREE)) == without_seconds(whole)


def test_nothing_refused_changes_nothing(tmp_path, task):  # noqa: F811
    plain, with_rule = (run(tmp_path / name, task, name) for name in ("entropy", "entropy+usable"))
    assert [line["queried"] for line in plain] == [line["queried"] for line in with_rule]
    assert all("refused" not in line and "refused_before" not in line for line in with_rule)


def test_a_first_set_may_be_refused_in_part_and_not_all_of_it(tmp_path, task):  # noqa: F811
    label = Label(REASON, refusal=REASON)
    plain = with_first_set(open_run(tmp_path / "a" / "b" / "c", "random+cold:kmeans", CONFIG, task, Silent()))
    chosen = [case.id for case in plain.task.initial]

    def opened(name, names):
        pool = tuple(case._replace(label=label) if case.id in names else case for case in task.splits.pool)
        changed = task._replace(splits=task.splits._replace(pool=pool))
        return with_first_set(open_run(tmp_path / name / "b" / "c", "random+cold:kmeans", CONFIG, changed, Silent()))

    state = read_state(opened("some", chosen[:1]))
    assert [case.id for case in state.refused] == chosen[:1]
    assert {case.id for case in state.labelled} == set(chosen[1:])
    assert not {unit.id for unit in state.pool} & set(chosen)
    with pytest.raises(UserError, match="Readers refused all 4 cases of the first set"):
        opened("all", chosen)
