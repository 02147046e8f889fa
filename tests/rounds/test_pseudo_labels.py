"""Rounds that keep what a network is sure of beside the parts that readers labelled, and that train on it if that is asked for."""

import dataclasses
import shutil

import numpy as np
import pytest
from test_loop import CONFIG, Silent, run, task, without_seconds  # noqa: F401
from test_rounds_of_parts import boxes_of, parts  # noqa: F401

from jaxal.data.guesses import read_guess
from jaxal.data.parts import mask_of
from jaxal.data.prepared import UNLABELLED
from jaxal.errors import UserError
from jaxal.rounds.networks import make_networks
from jaxal.rounds.pseudo_labels import threshold, with_pseudo_labels
from jaxal.rounds.setup import PseudoLabels, open_run
from jaxal.rounds.state import read_state
from jaxal.scoring.members import predict

SURE = PseudoLabels(train=True, below=0.9, decay=0.1)


def config(pseudo_labels=SURE, rounds=2):
    return dataclasses.replace(CONFIG, rounds=rounds, query_size=5, pseudo_labels=pseudo_labels)


def test_what_the_network_is_sure_of_is_kept_of_every_case_that_is_asked_for_in_parts(tmp_path, parts):  # noqa: F811
    (record,) = run(tmp_path, parts, "entropy", config(rounds=1))
    opened = open_run(tmp_path, "entropy", config(), parts, Silent())
    params, boxes, elements = make_networks(opened)[0].restored(0), boxes_of(record["queried"]), 0
    files = sorted((tmp_path / "pseudo_labels" / "round-000").iterdir())
    assert [file.name for file in files] == sorted(f"{id_}.label.npy" for id_ in boxes)
    for id_ in boxes:
        probability = predict(parts.kind, parts.model, params, parts.load(opened.cases[id_])).probability
        share = -(probability * np.log(probability)).sum(0) / np.log(2)
        kept = read_guess(files[0].parent / id_)
        assert ((kept != UNLABELLED) == (share < 0.9)).all() and (kept == probability.argmax(0))[share < 0.9].all()
        elements += int(((share < 0.9) & ~mask_of(boxes[id_], share.shape)).sum())
    assert record["pseudo_labelled_elements"] == elements > 0


def test_only_the_last_rounds_are_kept_and_the_threshold_falls(tmp_path, parts):  # noqa: F811
    run(tmp_path, parts, "entropy", config(rounds=3))
    assert sorted(path.name for path in (tmp_path / "pseudo_labels").iterdir()) == ["round-001", "round-002"]
    opened = open_run(tmp_path, "entropy", config(), parts, Silent())
    assert [round(threshold(opened, round_), 6) for round_ in (0, 1, 9, 20)] == [0.9, 0.8, 0.0, 0.0]


def test_training_takes_them_only_if_asked_and_nothing_else_does(tmp_path, parts):  # noqa: F811
    plain, other = (
        run(tmp_path / name, parts, "entropy", config(sure))
        for name, sure in (("plain", dataclasses.replace(SURE, train=False)), ("trained", SURE))
    )
    assert plain[0] | {"seconds": 0} == other[0] | {"seconds": 0}  # the first round has nobody's predictions
    assert plain[1]["dice"] != other[1]["dice"]
    assert plain[1]["labelled_elements"] == other[1]["labelled_elements"]  # what readers labelled, and no more
    assert plain[1]["labelled_elements_by_class"] == other[1]["labelled_elements_by_class"]
    opened = open_run(tmp_path / "trained", "entropy", config(), parts, Silent())
    state = read_state(opened, 1)
    assert not any(case.label.guess for case in [*state.labelled, *(unit.case for unit in state.pool if unit.case.label)])
    trained = with_pseudo_labels(opened, 1, state.labelled)
    assert [case.label.guess is not None for case in trained] == [case.label.parts is not None for case in state.labelled]


def test_a_killed_run_goes_on_with_the_same(tmp_path, parts):  # noqa: F811
    whole = run(tmp_path / "all", parts, "entropy", config(rounds=3))
    for rounds in (1, 3):
        again = run(tmp_path / "again", parts, "entropy", config(rounds=rounds))
    assert without_seconds(again) == without_seconds(whole)


def test_pseudo_labels_that_are_gone_are_told(tmp_path, parts):  # noqa: F811
    run(tmp_path, parts, "entropy", config(rounds=1))
    shutil.rmtree(tmp_path / "pseudo_labels")
    with pytest.raises(UserError, match=r"the pseudo-labels of round 0 are gone\. Restore them, or begin anew with --fresh"):
        run(tmp_path, parts, "entropy", config())


def test_whole_cases_have_none(tmp_path, task):  # noqa: F811
    (record,) = run(tmp_path, task, "entropy", dataclasses.replace(CONFIG, rounds=1))
    assert "pseudo_labelled_elements" not in record and not (tmp_path / "pseudo_labels").exists()
