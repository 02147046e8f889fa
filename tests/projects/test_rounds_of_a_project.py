"""A project's rounds: what is asked of whom, what a network is trained on, and that nothing changes it."""

import json
import shutil

import jax
import numpy as np
import pytest
from made_projects import digest_of

from jaxal.arrays import key_of, keys_of
from jaxal.assessment.honest_curve import mean_dice
from jaxal.cli.main import main
from jaxal.errors import UserError
from jaxal.projects import decisions, network
from jaxal.projects.ask import can_ask
from jaxal.projects.measures import honest, unseen
from jaxal.training.trainer import Interrupted


def of_part(round_, part):
    return sorted({entry["case"] for entry in round_.asked["readings"] if entry["part"] == part})


def of_role(round_, role):
    return sorted({entry["case"] for entry in round_.asked["readings"] if entry["role"] == role})


def test_the_first_query_is_drawn_and_a_part_of_it_is_for_evaluation(begin):
    made = begin()
    round_ = made.ask()
    assert len(of_part(round_, "first")) == 5 and len(of_role(round_, "evaluation")) == 1
    groups = [made.project.cases[id_].group for id_ in of_part(round_, "first")]
    assert sorted(map(groups.count, set(groups))) == [2, 3]
    assert made.state.rounds[0].fields["network"] is None


def test_later_queries_have_a_random_share_of_which_half_is_never_trained_on(begin):
    made = begin()
    made.ask()
    made.answer()
    second = made.ask()
    assert len(of_part(second, "random")) == 1 and len(of_part(second, "strategy")) == 4
    assert of_role(second, "test") == of_part(second, "random")
    made.answer()
    third = made.ask()
    assert of_role(third, "test") == [] and len(of_part(third, "random")) == 1
    trained = {id_ for id_, _ in third and made.state.rounds[2].training}
    assert trained.isdisjoint(of_role(second, "test")) and set(of_part(second, "strategy")) <= trained
    assert made.state.rounds[2].test == tuple((id_, made.state.cases[id_].label) for id_ in of_role(second, "test"))


def test_perfect_readers_label_what_a_simulation_labels(begin, tiny_folder, tmp_path, quick, capsys):
    made = begin(strategy="aeig", test_cases=1, seed=3)
    shared = ["--preset", "smoke", "--protocol", "project", "--query-size", "5", "--rounds", "2", "--seed", "3"]
    places = ["--out", str(tmp_path / "out"), "--prepared", str(tmp_path / "prepared")]
    made = begin(strategy="aeig", seed=3, name="other")
    rounds = [made.ask()]
    for _ in range(2):
        made.answer()
        rounds.append(made.ask())
    assert main(["simulate", str(tiny_folder), "--strategy", "aeig", *shared, *places]) == 0
    lines = [json.loads(line) for line in next((tmp_path / "out").glob("*/aeig/seed-3/rounds.jsonl")).read_text().splitlines()]
    for line, round_, begun in zip(lines, rounds[1:], made.state.rounds[1:], strict=True):
        assert sorted(line["queried"]) == of_part(round_, "strategy")
        assert line["queried_at_random"] == of_part(round_, "random")
        assert line["held_out"] == of_role(round_, "test")
        assert line["labelled"] == len(begun.training)


def test_a_stopped_round_asks_for_the_same_cases_whatever_has_come_since(begin, monkeypatch):
    made, other = begin(name="one"), begin(name="two")
    for project in (made, other):
        project.ask()
    late = made.state.open_readings[-1]
    for project in (made, other):
        project.answer([reading for reading in project.state.open_readings if reading.case != late.case])
    expected = other.ask(even_if_open=True)

    def stop(*given):
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr("jaxal.projects.scans.network.to_original_grid", stop)
        with pytest.raises(Interrupted):
            made.ask(even_if_open=True)
    assert made.state.rounds[-1].asked is None
    made.answer()  # what was late comes now
    round_ = made.ask()
    assert round_.asked["readings"] == expected.asked["readings"]
    assert made.state.rounds[-1].training == other.state.rounds[-1].training


def test_open_readings_are_told_of_and_left_out_of_the_pool(begin):
    made = begin()
    made.ask()
    with pytest.raises(UserError, match=r"open readings: anna \d, ben \d"):
        made.ask()
    made.answer(made.state.open_readings[:4])
    asked = set(of_part(made.state.rounds[0], "first"))
    again = made.ask(even_if_open=True)
    assert asked.isdisjoint({entry["case"] for entry in again.asked["readings"]})


def test_a_strategy_waits_for_its_evaluation_set(begin):
    made = begin(strategy="aeig")
    evaluation = of_role(made.ask(), "evaluation")
    made.answer([reading for reading in made.state.open_readings if reading.case not in evaluation])
    assert not can_ask(made.project, made.state)
    with pytest.raises(UserError, match=rf"aeig looks at an evaluation set.*Wait for {evaluation[0]}"):
        made.ask(even_if_open=True)
    assert len(made.state.rounds) == 1
    decisions.exclude(made.project, evaluation, "motion")
    assert can_ask(made.project, made.state)
    assert len(of_role(made.ask(), "evaluation")) == 1, "a set that was left out is drawn anew"
    assert made.state.rounds[1].fields["network"] is None


def test_labels_that_are_there_make_the_first_query_the_networks(begin, scans, tmp_path):
    data = shutil.copytree(scans / "data", tmp_path / "data")
    labelled = sorted(path.name for path in scans.joinpath("truth").iterdir())[:9]
    for name in labelled:
        (data / "labelsTr").mkdir(exist_ok=True)
        shutil.copy(scans / "truth" / name, data / "labelsTr" / name)
    made = begin(data=data)
    state = made.state
    assert len(state.with_status("labelled")) == 9 and len(state.labels("evaluation")) == 2
    before = digest_of(data)
    round_ = made.ask()
    assert made.state.rounds[0].fields["network"] == 0 and len(of_part(round_, "strategy")) == 4
    assert digest_of(data) == before, "the data folder is only read"


def test_a_new_label_prepares_nothing_else_anew(begin):
    made = begin()
    made.ask()
    before = digest_of(made.folder / "prepared")
    made.answer()
    made.ask()
    after = digest_of(made.folder / "prepared")
    assert {path: after[path] for path in before} == before
    names = [name for path in after.keys() - before.keys() for name in np.load(path)]
    assert {name.split("-")[0] for name in names} == {id_.split("-")[0] for id_ in made.state.with_status("labelled")}


def test_networks_are_measured_on_what_they_have_never_seen(begin):
    made = begin()
    made.ask()
    made.answer()
    second = made.ask()
    evaluation = [id_ for id_, _ in made.state.rounds[1].evaluation]
    (measured,) = unseen(made.project, made.state)
    assert list(measured.cases) == evaluation, "entropy never looks at the evaluation set"
    assert measured.waiting == 5 and measured.trained_on == 4 and sum(measured.sizes.values()) == 12
    made.answer()
    (measured,) = unseen(made.project, made.state)
    parts = dict(zip(measured.cases, measured.parts, strict=True))
    expected = dict.fromkeys(of_part(second, "strategy"), "chosen") | dict.fromkeys(of_part(second, "random"), "random")
    assert parts == expected | dict.fromkeys(evaluation, "kept")
    first = dict(zip(measured.cases, (first for _, first in measured.strata), strict=True))
    assert all(first[id_] for id_ in of_part(second, "strategy"))
    trained = {id_ for id_, _ in made.state.rounds[1].training}
    assert trained.isdisjoint(measured.cases)
    counts = {key: sum(size for (_, first), size in measured.sizes.items() if first == key) for key in (True, False)}
    assert counts[True] == sum(first.values()) and counts[True] + counts[False] == 12
    estimate = honest(measured).over_all
    assert 0 <= estimate.low < estimate.value < estimate.high <= 1


def test_cases_beside_the_pool_are_put_first_by_their_score(begin):
    made = begin(strategy="random", random_share=0.4, evaluation_share=0.6)
    made.ask()
    made.answer()
    made.ask()
    query = json.loads((made.folder / "rounds" / "002" / "query.json").read_text())
    beside = [id_ for id_, _ in made.state.rounds[1].evaluation]
    assert len(beside) == 3
    key = jax.random.fold_in(jax.random.fold_in(key_of(0), 0), 2)
    score = dict(zip(beside, np.asarray(jax.vmap(jax.random.uniform)(keys_of(key, beside))), strict=True))
    last = min(query["scores"].values())
    assert query["would_take"] == sorted(id_ for id_ in beside if score[id_] > last)


def test_what_is_known_in_full_has_no_interval(begin):
    made = begin(size=8, strategy="random")
    made.ask()
    made.answer()
    made.ask()
    made.answer()
    (measured,) = unseen(made.project, made.state)
    estimate = honest(measured).over_all
    assert len(measured.cases) == sum(measured.sizes.values()) == 10
    assert estimate.low == estimate.value == estimate.high == pytest.approx(np.mean(mean_dice(measured.scores)))


def test_the_truth_predicted_has_dice_one(begin):
    """A proposal that is the label itself: the measurement has nothing to find."""
    made = begin()
    made.ask()
    made.answer()
    second = made.ask()
    made.answer()
    for id_ in of_part(second, "random"):
        shutil.copy(made.label(id_), made.project.proposal_path(id_, 2, ".nii.gz"))
    (measured,) = unseen(made.project, made.state)
    assert [dice.tolist() for dice, part in zip(measured.scores, measured.parts, strict=True) if part == "random"] == [[1.0]]


def test_a_scan_that_changed_or_went_is_named_before_anything_is_trained(begin, scans, tmp_path, monkeypatch):
    data = shutil.copytree(scans / "data", tmp_path / "data")
    made = begin(data=data)
    made.ask()
    made.answer()
    path = sorted((data / "imagesTr").iterdir())[0]
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"123456789")
    monkeypatch.setattr(network, "open_round", None)
    with pytest.raises(UserError, match=r"has changed since the project began.*jaxal exclude"):
        made.ask()
    path.unlink()
    with pytest.raises(UserError, match=r"no such file.*jaxal exclude"):
        made.ask()


def test_nothing_left_to_ask_for_is_said(begin):
    made = begin(size=16)
    made.ask()
    made.answer()
    with pytest.raises(UserError, match="nothing is left to ask for"):
        made.ask()


def test_first_far_apart(begin):
    made, random = begin(first="k_center", name="far"), begin(name="near")
    far, near = made.ask(), random.ask()
    assert len(of_part(far, "first")) == 5 and len(of_role(far, "evaluation")) == 1
    assert of_part(far, "first") != of_part(near, "first")
    assert made.ask.__self__.state.rounds[0].fields["network"] is None


def test_what_a_round_works_with_is_written_down_before_it_trains(begin, monkeypatch):
    made = begin()
    made.ask()
    made.answer()
    seen = []
    monkeypatch.setattr("jaxal.projects.ask.choose", lambda *given: seen.append(made.state.rounds[-1]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.ask()
    assert seen[0].number == 2 and len(seen[0].training) == 4 and seen[0].asked is None
    begun = made.state.rounds[-1]
    with pytest.raises(ZeroDivisionError):
        made.ask()
    assert made.state.rounds[-1] == begun, "it is begun once"
