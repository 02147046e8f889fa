"""Rounds that train on images of the pool whose class the last network was sure of."""

import dataclasses
import json

import numpy as np
import pytest
from test_loop import Silent, without_seconds
from test_loop import run as run_rounds
from test_networks_together import task  # noqa: F401 (a fixture)

from jaxal.errors import UserError
from jaxal.rounds.networks import make_networks
from jaxal.rounds.pseudo_labels import threshold, with_pseudo_labels
from jaxal.rounds.setup import PseudoLabels, RoundsConfig, open_run
from jaxal.rounds.state import read_state
from jaxal.scoring.members import MembersConfig, predict

SURE = PseudoLabels(train=True, below=0.6, decay=0.02)
CONFIG = RoundsConfig(rounds=3, query_size=2, seed=0, members=MembersConfig(dropout=0), pseudo_labels=SURE)
PLAIN = dataclasses.replace(CONFIG, pseudo_labels=dataclasses.replace(SURE, train=False))


@pytest.fixture(scope="module")
def finished(task, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("run")
    return folder, without_seconds(run_rounds(folder, task, "entropy", CONFIG))


def test_classes_are_kept_of_what_the_network_is_sure_of_and_nobody_is_asked_for(finished, task):  # noqa: F811
    folder, lines = finished
    opened = open_run(folder, "entropy", CONFIG, task, Silent())
    assert sorted(path.name for path in (folder / "pseudo_labels").iterdir()) == ["round-001.json", "round-002.json"]
    for round_ in (1, 2):
        state, params = read_state(opened, round_), make_networks(opened)[0].restored(round_)
        expected, below = {}, threshold(opened, round_)
        for case in (unit.case for unit in state.pool if unit.id not in lines[round_]["queried"]):
            probability = predict(task.kind, task.model, params, task.load(case)).probability.reshape(-1).astype(np.float64)
            if -(probability * np.log(probability)).sum() < below * np.log(len(probability)):
                expected[case.id] = task.dataset.classes[probability.argmax()]
        assert json.loads((folder / "pseudo_labels" / f"round-{round_:03d}.json").read_text()) == expected
        assert 0 < lines[round_]["pseudo_labelled_cases"] == len(expected) <= len(state.pool) - 2
    assert any(line["pseudo_labelled_cases"] < line["pool"] - 2 for line in lines)
    assert below == pytest.approx(0.56)


def test_the_next_round_trains_on_them_until_readers_say_otherwise(finished, task, tmp_path):  # noqa: F811
    folder, lines = finished
    opened = open_run(folder, "entropy", CONFIG, task, Silent())
    kept = json.loads((folder / "pseudo_labels" / "round-001.json").read_text())
    trained = with_pseudo_labels(opened, 2, read_state(opened, 2).labelled)
    own = {case.id for case in read_state(opened, 2).labelled}
    assert {case.id: case.category for case in trained if case.id not in own} == kept
    first = sorted(kept)[0]
    answered = [*read_state(opened, 2).labelled, opened.cases[first]]
    assert [case.id for case in with_pseudo_labels(opened, 2, answered)].count(first) == 1
    plain = without_seconds(run_rounds(tmp_path, task, "entropy", PLAIN))
    assert "pseudo_labelled_cases" not in plain[0] and lines[0] == plain[0] | {
        "pseudo_labelled_cases": lines[0]["pseudo_labelled_cases"]
    }
    assert plain[1]["nll"] != lines[1]["nll"] and plain[1]["labelled"] == lines[1]["labelled"]
    assert with_pseudo_labels(open_run(tmp_path, "entropy", PLAIN, task, Silent()), 1, answered) == answered


def test_one_pass_over_the_pool_serves_the_strategy_and_the_classes(task, tmp_path):  # noqa: F811
    """So they come, too, where a strategy asks nothing of the pool, and on several hosts, which share every pass."""
    watcher = Silent()
    run_rounds(tmp_path / "random", task, "random", dataclasses.replace(CONFIG, rounds=1), watcher)
    assert (tmp_path / "random" / "pseudo_labels" / "round-000.json").is_file()
    assert watcher.seen.count("scoring") == 1 and "pseudo-labels" not in watcher.seen
    plain = run_rounds(tmp_path / "plain", task, "random", dataclasses.replace(PLAIN, rounds=1), watcher)
    assert (
        plain[0]["queried"]
        == run_rounds(tmp_path / "random", task, "random", dataclasses.replace(CONFIG, rounds=1))[0]["queried"]
    )


def test_what_is_gone_is_said(finished, task, tmp_path):  # noqa: F811
    run_rounds(tmp_path, task, "entropy", dataclasses.replace(CONFIG, rounds=1))
    (tmp_path / "pseudo_labels" / "round-000.json").unlink()
    with pytest.raises(UserError, match="the pseudo-labels of round 0 are gone"):
        run_rounds(tmp_path, task, "entropy", CONFIG)
