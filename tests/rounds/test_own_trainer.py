"""A loop with somebody else's trainer: what it asks, keeps, and says to those who use it wrongly."""

import json

import numpy as np
import pytest

import jaxal
from jaxal.errors import UserError

NAMES = [f"image-{number}" for number in range(12)]


@pytest.fixture
def open_loop(tmp_path):
    def make(**changed):
        return jaxal.open_loop(tmp_path / "loop", NAMES, **{"strategy": "entropy", "query_size": 3, **changed})

    return make


def probabilities(names, members=2):
    """`[members, items, 2]`; the higher a name's number, the less sure."""
    unsure = np.array([0.04 * int(name.split("-")[1]) for name in names])
    member = np.stack([1 - unsure, unsure], -1)
    return np.stack([member] * members)


def answer(loop, query):
    return jaxal.commit(loop, {name: np.int64(int(name.split("-")[1]) % 2) for name in query})


def test_rounds_follow_each_other(open_loop):
    loop = open_loop()
    assert (loop.round, loop.labels, loop.unlabelled, loop.waiting) == (0, {}, NAMES, [])
    first = jaxal.propose(loop)
    assert len(first) == 3
    assert loop.waiting == first
    record = answer(loop, first)
    assert record["answers"] == {name: int(name.split("-")[1]) % 2 for name in first}
    assert (loop.round, set(loop.labels)) == (1, set(first))
    second = jaxal.propose(loop, probabilities=probabilities(loop.unlabelled))
    assert second == sorted(loop.unlabelled, key=lambda name: -int(name.split("-")[1]))[:3]
    answer(loop, second)
    assert [line["strategy"] for line in loop.rounds] == ["random", "entropy"]
    assert loop.rounds[1]["labelled"] == 3


def test_a_loop_is_opened_again_where_it_was(open_loop):
    loop = open_loop()
    answer(loop, jaxal.propose(loop))
    waits = jaxal.propose(loop, scores=np.arange(9.0))
    again = open_loop()
    assert again.waiting == waits
    assert jaxal.propose(again, scores=-np.arange(9.0)) == waits  # it was proposed, so it stays
    answer(again, waits)
    assert loop.round == 2


def test_a_kill_between_the_ledger_and_the_proposal_takes_nothing_twice(open_loop, tmp_path):
    loop = open_loop()
    query = jaxal.propose(loop)
    pending = (tmp_path / "loop" / "pending.json").read_text()
    answer(loop, query)
    (tmp_path / "loop" / "pending.json").write_text(pending)  # as if its removal had not come about
    assert open_loop().waiting == []
    with pytest.raises(UserError, match="no query waits"):
        answer(loop, query)
    assert not set(jaxal.propose(loop, scores=np.arange(9.0))) & set(query)


def test_the_first_query_is_of_all_groups_alike_and_the_same_for_a_seed(open_loop, tmp_path):
    groups = {name: "AB"[place >= 10] for place, name in enumerate(NAMES)}
    query = jaxal.propose(open_loop(groups=groups, initial_size=4))
    assert sorted(groups[name] for name in query) == ["A", "A", "B", "B"]
    queries = [
        jaxal.propose(jaxal.open_loop(tmp_path / str(place), NAMES[::step], strategy="bald", query_size=3, seed=seed))
        for place, (seed, step) in enumerate([(0, 1), (0, -1), (1, 1)])
    ]
    assert queries[0] == queries[1] != queries[2]


def test_scores_count_before_there_are_labels(open_loop):
    assert jaxal.propose(open_loop(), scores=np.arange(12.0)) == ["image-11", "image-10", "image-9"]


def test_what_is_not_answered_goes_back(open_loop):
    loop = open_loop()
    query = jaxal.propose(loop)
    jaxal.commit(loop, {query[0]: "cat"})
    assert loop.labels == {query[0]: "cat"}
    assert set(query[1:]) <= set(loop.unlabelled)


def test_labels_that_are_there_need_no_first_query(open_loop):
    loop = open_loop(labels={"image-3": 1})
    assert jaxal.propose(loop, scores=np.arange(11.0)) == ["image-11", "image-10", "image-9"]
    assert "image-3" not in loop.unlabelled


def test_a_pool_ends(open_loop):
    loop = open_loop(query_size=7)
    answer(loop, jaxal.propose(loop))
    rest = jaxal.propose(loop, scores=np.zeros(5))
    assert len(rest) == 5
    answer(loop, rest)
    assert jaxal.propose(loop) == []
    assert loop.unlabelled == []


def test_predictions_may_come_item_by_item(open_loop, tmp_path):
    loop, asked = open_loop(labels={"image-0": 0}, strategy="bald"), []

    def predict(name):
        asked.append(name)
        member = np.random.default_rng(int(name.split("-")[1])).normal(size=(3, 4, 4, 4, 2))
        return member * (2 if name == "image-5" else 0.1)

    assert jaxal.propose(loop, predict)[0] == "image-5"
    assert set(asked) == set(loop.unlabelled)
    whole = np.stack([predict(name) for name in loop.unlabelled], 1)
    other = jaxal.open_loop(tmp_path / "other", NAMES, strategy="bald", query_size=3, labels={"image-0": 0})
    assert jaxal.propose(other, whole) == loop.waiting


def test_scores_of_a_network_choose_by_the_strategys_own_rule(open_loop):
    import jax

    rng = np.random.default_rng(0)
    weights, images = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(11, 4)).astype(np.float32)
    model, params = jaxal.networks.adapters.function(
        lambda params, x, key: x, lambda params: (params, jax.numpy.zeros(3)), weights, images[:2]
    )
    scores = jaxal.score(model, params, images, ["badge", "entropy"])
    loop = open_loop(labels={"image-0": 0}, strategy="badge")
    assert jaxal.propose(loop, scores=scores) == [loop.unlabelled[place] for place in scores.select("badge", 3)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_size": 0}, "query_size is 0"),
        ({"initial_size": 0}, "initial_size is 0"),
        ({"strategy": "entropi"}, "Did you mean entropy"),
        ({"labels": {"dog": 1}}, "labels: speak of 'dog', which is not in the pool"),
        ({"groups": {"image-0": "A"}}, "groups: lack 'image-1'"),
        ({"labels": {"image-0": object()}}, "cannot be kept"),
        ({"labels": {"image-0": float("nan")}}, "cannot be kept"),
    ],
)
def test_a_loop_that_makes_no_sense_is_refused(open_loop, changed, message):
    with pytest.raises(UserError, match=message):
        open_loop(**changed)


def test_a_folder_keeps_to_one_loop(open_loop, tmp_path):
    loop = open_loop()
    with pytest.raises(UserError, match="strategy was entropy, and is bald"):
        open_loop(strategy="bald")
    with pytest.raises(UserError, match="pool has changed"):
        jaxal.open_loop(tmp_path / "loop", NAMES[1:], strategy="entropy", query_size=3)
    with pytest.raises(UserError, match="'a' is there twice"):
        jaxal.open_loop(tmp_path / "other", ["a", "b", "a"], strategy="entropy", query_size=3)
    (loop.folder / "loop.json").write_text("[]")
    with pytest.raises(UserError, match="not the settings of a loop"):
        open_loop()
    (loop.folder / "loop.json").unlink()
    (loop.folder / "rounds.jsonl").write_text("")
    with pytest.raises(UserError, match="holds results of something else"):
        open_loop()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Give one of logits, probabilities and scores"),
        ({"scores": np.zeros(11), "logits": np.zeros((1, 11, 2))}, "one is enough"),
        ({"scores": np.zeros(12)}, "11 finite numbers are needed"),
        ({"scores": np.full(11, np.nan)}, "11 finite numbers are needed"),
        ({"logits": np.zeros((11, 2))}, r"shape \(11, 2\); \[members, items, ..., classes\] is needed"),
        ({"logits": np.full((1, 11, 2), np.inf)}, "not finite"),
        ({"probabilities": np.ones((1, 11, 2))}, "sum to 1 over the last axis"),
        ({"logits": lambda name: np.zeros(3)}, r"\[members, ..., classes\] is needed"),
    ],
)
def test_what_are_no_predictions_is_told(open_loop, given, message):
    with pytest.raises(UserError, match=message):
        jaxal.propose(open_loop(labels={"image-0": 0}), **given)


def test_what_a_strategy_lacks_is_told(open_loop):
    with pytest.raises(UserError, match="coreset: needs the features"):
        jaxal.propose(open_loop(labels={"image-0": 0}, strategy="coreset"), np.zeros((1, 11, 2)))


def test_wrong_answers_and_damaged_files_are_told_of(open_loop, tmp_path):
    loop = open_loop()
    with pytest.raises(UserError, match="no query waits"):
        jaxal.commit(loop, {})
    query = jaxal.propose(loop)
    other = next(name for name in NAMES if name not in query)
    with pytest.raises(UserError, match=f"'{other}' was not asked for"):
        jaxal.commit(loop, {other: 1})
    with pytest.raises(UserError, match="cannot be kept"):
        jaxal.commit(loop, {query[0]: {1, 2}})
    assert loop.waiting == query
    (tmp_path / "loop" / "pending.json").write_text("{")
    with pytest.raises(UserError, match="not a proposal"):
        jaxal.propose(loop)
    (tmp_path / "loop" / "pending.json").unlink()
    assert jaxal.propose(loop) == query
    answer(loop, query)
    path = tmp_path / "loop" / "rounds.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "round": 1}) + "\n")
    with pytest.raises(UserError, match="line 1: not the record of round 0"):
        loop.labels  # noqa: B018
