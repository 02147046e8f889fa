"""The two halves of a round, what strategies may know and ask for besides, and cases that nobody labelled."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from test_loop import CONFIG, Silent, run, task, with_strategy  # noqa: F401 (a fixture)

import jaxal
from jaxal.acquisition.selection import Query
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.data.scans.prepare import load_case
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.rounds.commit import commit
from jaxal.rounds.ledger import Ledger
from jaxal.rounds.networks import make_networks
from jaxal.rounds.prediction import predict_round
from jaxal.rounds.propose import propose
from jaxal.rounds.rescoring import score_round
from jaxal.rounds.setup import open_run
from jaxal.rounds.simulate import simulate
from jaxal.rounds.state import read_state
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.contract import Needs, Strategy
from jaxal.types import Auxiliary, Label

ONE = dataclasses.replace(CONFIG, rounds=1)


def opened(folder, task, strategy="entropy", config=CONFIG):  # noqa: F811
    return open_run(folder, strategy, config, task, Silent())


def without_seconds(line):
    return {name: value for name, value in line.items() if name != "seconds"}


def test_propose_and_commit_in_turns_are_the_simulation(tmp_path, task):  # noqa: F811
    """Whoever calls them, and however much time and however many processes lie between."""
    whole = run(tmp_path / "whole", task)
    for number in range(2):
        query = propose(opened(tmp_path / "halves", task), read_state(opened(tmp_path / "halves", task)))
        later = opened(tmp_path / "halves", task)  # as another process would open it
        state = read_state(later)
        assert state.round == number and state.pending["queried"] == list(query.units)
        line = commit(later, state, later.labels.ask(query.units))
        assert without_seconds(line) == without_seconds(whole[number])
    assert [without_seconds(line) for line in Ledger(tmp_path / "halves" / "rounds.jsonl").read()] == list(
        map(without_seconds, whole)
    )


def test_a_query_waits_for_its_answers_and_is_not_proposed_again(tmp_path, task):  # noqa: F811
    first = opened(tmp_path, task)
    query = propose(first, read_state(first))
    assert read_state(first).done == [] and first.pending.is_file()
    watcher = Silent()
    (line,) = run(tmp_path, task, config=ONE, watcher=watcher)
    assert line["queried"] == list(query.units)
    assert watcher.seen == []  # nothing was trained or scored
    assert not first.pending.exists()


def test_units_without_an_answer_go_back_to_the_pool(tmp_path, task):  # noqa: F811
    first = opened(tmp_path, task)
    before = read_state(first)
    query = propose(first, before)
    answered, left = query.units
    line = commit(first, read_state(first), first.labels.ask([answered]))
    assert line["unanswered"] == [left]
    after = read_state(first)
    assert len(after.labelled) == len(before.labelled) + 1
    assert {unit.id for unit in before.pool} - {unit.id for unit in after.pool} == {answered}
    assert {case.id: case.label for case in after.labelled}[answered] == first.labels.ask([answered])[answered]


def test_answers_that_nobody_asked_for_are_refused(tmp_path, task):  # noqa: F811
    first = opened(tmp_path, task)
    with pytest.raises(ValueError, match="no query waits"):
        commit(first, read_state(first), {})
    propose(first, read_state(first))
    with pytest.raises(ValueError, match="'nobody' was not asked for"):
        commit(first, read_state(first), {"nobody": Label("")})
    assert first.ledger.read() == []


def test_a_query_left_behind_by_a_kill_after_its_line_is_forgotten(tmp_path, task):  # noqa: F811
    (line,) = run(tmp_path, task, config=ONE)
    opened_again = opened(tmp_path, task)
    write_text(opened_again.pending, json.dumps(line))
    assert read_state(opened_again).pending is None
    assert [entry["round"] for entry in run(tmp_path, task)] == [0, 1]
    write_text(opened_again.pending, "{")
    with pytest.raises(UserError, match="not the record of a round"):
        read_state(opened_again)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        '{"a": 1}',
        '{"round": 0}',
        '{"round": "0", "queried": [], "labelled": 4}',
        '{"round": 0, "queried": 5, "labelled": 4}',
    ],
)
def test_lines_that_lack_what_a_round_reads_are_named(tmp_path, task, line):  # noqa: F811
    (tmp_path / "pending.json").write_text(line)
    with pytest.raises(UserError, match=r"pending\.json: not the record of a round"):
        run(tmp_path, task)
    (tmp_path / "pending.json").unlink()
    (tmp_path / "rounds.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"line 1: not the record of round 0"):
        run(tmp_path, task)


def test_a_query_that_waits_is_not_answered_for_another_strategy(tmp_path, task):  # noqa: F811
    first = opened(tmp_path, task, "power_entropy")
    propose(first, read_state(first))
    with pytest.raises(UserError, match=r"holds rounds of another power_entropy: power_beta was 1\.0"):
        run(tmp_path, task, "power_entropy,power_beta=2", ONE)
    assert len(run(tmp_path, task, "power_entropy", ONE)) == 1


def test_a_kill_after_the_last_line_leaves_nothing_behind(tmp_path, task):  # noqa: F811
    (line,) = run(tmp_path, task, config=ONE)
    work = opened(tmp_path, task, config=ONE)
    write_text(work.pending, json.dumps(line))
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "results-0.sqlite").touch()
    assert run(tmp_path, task, config=ONE) == [line]
    assert not work.pending.exists() and not (tmp_path / "scores").exists()


def test_a_simulation_takes_no_label_that_it_could_not_find_again(tmp_path, task):  # noqa: F811
    work = opened(tmp_path, task)
    query = propose(work, read_state(work))
    with pytest.raises(ValueError, match="takes only the label that lies beside the image"):
        commit(work, read_state(work), {query.units[0]: Label("another")})
    assert work.ledger.read() == []
    line = commit(work, read_state(work), work.labels.ask(query.units))
    assert line["label_versions"] == {unit: label.version for unit, label in work.labels.ask(query.units).items()}


@pytest.mark.parametrize(
    ("score", "select", "message"),
    [
        (lambda pool: np.zeros(1), None, r"scores of shape \(1,\) for 4 units"),
        (lambda pool: 1.0, None, r"scores of shape \(\)"),
        (lambda pool: ["a"] * len(pool), None, "are no numbers"),
        (lambda pool: np.full(len(pool), np.nan), None, "gave 4 of 4 units a score that is not finite"),
        (None, lambda units: (units[0], units[0]), "chose 'case_[0-9]+' twice"),
        (None, lambda units: ("nobody",), "chose 'nobody', which is not in the pool"),
        (None, lambda units: units[:3], "chose 3 units with 3 scores; the budget is 2"),
    ],
)
def test_strategies_that_are_wrong_are_told_so_before_anything_is_written(tmp_path, task, score, select, message):  # noqa: F811
    def make():
        given = score or (lambda pool: np.zeros(len(pool)))
        strategy = Strategy(Needs(), lambda statistics, context: given(context.pool))
        if select is None:
            return strategy

        def chosen(key, scores, statistics, context, budget):
            units = select(tuple(context.ids))
            return Query(units, (0.0,) * len(units), None)

        return strategy._replace(select=chosen)

    quick = task._replace(training=dataclasses.replace(tiny.TRAINING, steps=1, attempts=1))
    with pytest.raises(UserError, match=message):
        run(tmp_path, with_strategy(quick, "wrong", make), "wrong", ONE)
    assert not (tmp_path / "rounds.jsonl").exists() and not (tmp_path / "pending.json").exists()


def test_a_ledger_of_other_cases_is_named(tmp_path, task):  # noqa: F811
    (line,) = run(tmp_path, task, config=ONE)
    path = tmp_path / "rounds.jsonl"
    path.write_text(path.read_text().replace(line["queried"][0], "case_999"))
    with pytest.raises(UserError, match="speaks of 'case_999', which is not in the pool"):
        run(tmp_path, task)


def test_a_strategy_knows_the_round_the_rounds_the_costs_and_the_last_line(tmp_path, task):  # noqa: F811
    seen = []

    def score(statistics, context):
        seen.append((context.round, context.rounds, context.last and context.last["round"], context.costs.tolist()))
        return np.zeros(len(context.pool))

    lines = run(tmp_path, with_strategy(task, "mine", lambda: Strategy(Needs(), score)), "mine")
    parts = [
        [line["pool"], len(task.splits.test), len(task.splits.evaluation)] for line in lines
    ]  # the latter for the ledger's ranking
    assert seen == [(number, 2, (None, 0)[number], [1.0] * cases) for number in (0, 1) for cases in parts[number]]
    assert [line["cost"] for line in lines] == [2.0, 2.0]


def discrepancy():
    """How far the round's network is from the last round's (as COD, Huang et al. 2021, arXiv 2107.14153)."""
    return Strategy(Needs(pool=("mean_std",)), lambda statistics, context: statistics["mean_std"], last_network=True)


def test_the_last_rounds_network_is_a_further_member(tmp_path, task):  # noqa: F811
    config = dataclasses.replace(CONFIG, members=MembersConfig(dropout=0))
    changed = with_strategy(task, "discrepancy", discrepancy)
    first, second = run(tmp_path, changed, "discrepancy", config)
    assert first["scores"] == [0.0, 0.0]  # there is no round before, so the network stands beside itself
    assert min(second["scores"]) > 1e-4
    work = opened(tmp_path, changed, "discrepancy", config)
    old, new = (make_networks(work)[0].restored(round_) for round_ in (0, 1))
    model = changed.model
    for unit, score in zip(second["queried"], second["scores"], strict=True):
        image = jnp.asarray(changed.load(work.cases[unit]).image[None])
        before, after = (np.asarray(softmax_of(model, params, image)) for params in (old, new))
        assert score == pytest.approx(np.abs(before - after).mean() / 2, rel=1e-3)  # the standard deviation of two numbers


def test_cod_is_half_the_squared_distance_of_two_predictions_without_dropout(tmp_path, task):  # noqa: F811
    """Huang et al. 2021: of the mean over voxels it is twice the number of classes times the variance that is the score."""
    config = dataclasses.replace(CONFIG, members=MembersConfig(dropout=3))
    (_, second), work = run(tmp_path, task, "cod", config), opened(tmp_path, task, "cod", config)
    old, new = (make_networks(work)[0].restored(round_) for round_ in (0, 1))
    for unit, score in zip(second["queried"], second["scores"], strict=True):
        image = jnp.asarray(task.load(work.cases[unit]).image[None])
        before, after = (np.asarray(softmax_of(task.model, params, image)) for params in (old, new))
        assert 4 * before.shape[-1] * score == pytest.approx(np.square(before - after).sum(-1).mean(), rel=1e-3)


def softmax_of(model, params, image):
    kernel, bias = model.head(params)
    logits = model.tail(params, model.stem(params, image), None).features @ kernel
    return jax.nn.softmax(logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,)), -1)


def own_learning_loss():
    """The loss that a head predicts from the pooled features (as Yoo & Kweon 2019, arXiv 1905.03677)."""

    def init(key, output):
        return {"weight": jnp.zeros(output.embedding.shape[-1]), "bias": jnp.zeros(1)}

    def apply(params, output):
        return output.embedding @ params["weight"] + params["bias"]

    def loss(predicted, logits, losses, batch):
        return jnp.square(predicted - jax.lax.stop_gradient(losses))

    predicted = Auxiliary("predicted_loss", init, apply, loss)
    return Strategy(
        Needs(pool=("auxiliary",)),
        lambda statistics, context: statistics["auxiliary"]["predicted_loss"],
        auxiliary=predicted,
    )


def test_a_strategy_may_bring_a_head_with_a_loss_of_its_own(tmp_path, task):  # noqa: F811
    changed = with_strategy(task, "own_learning_loss", own_learning_loss)
    (line,) = run(tmp_path / "mine", changed, "own_learning_loss", ONE)
    assert line["strategy"]["auxiliary"] == "predicted_loss"
    work = opened(tmp_path / "mine", changed, "own_learning_loss", ONE)
    params = make_networks(work)[0].restored(0)
    assert np.abs(params["auxiliary"]["weight"]).max() > 0  # it was trained
    for unit, score in zip(line["queried"], line["scores"], strict=True):
        output = work.task.model.stem(params, jnp.asarray(changed.load(work.cases[unit]).image[None]))
        embedding = work.task.model.tail(params, output, None).embedding
        predicted = float((embedding @ params["auxiliary"]["weight"] + params["auxiliary"]["bias"])[0])
        assert score == pytest.approx(predicted, rel=1e-4)
    # Weights are drawn as without the head, but a network with one is nobody's sibling.
    (plain,) = run(tmp_path / "plain", task, "entropy", ONE)
    drawn = [jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *tiny.SHAPE, 1))) for model in (task.model, work.task.model)]
    jax.tree.map(np.testing.assert_array_equal, drawn[0], drawn[1]["network"])
    list(simulate(opened(tmp_path / "other", task, "entropy", ONE), tmp_path / "mine"))
    assert without_seconds(Ledger(tmp_path / "other" / "rounds.jsonl").read()[0]) == without_seconds(plain)
    with pytest.raises(UserError, match="own_learning_loss: needs networks of its own"):
        score_round(opened(tmp_path / "plain", changed), ["own_learning_loss"])


def test_cases_that_nobody_labelled_are_scored_queried_and_predicted(tmp_path, task):  # noqa: F811
    """Half of the pool has no label map at all; those cases get into queries and wait for their answers there."""
    folder = tiny.write_dataset(tmp_path / "data")
    spared = {case.id for case in task.initial} | {case.id for part in task.splits[1:] for case in part}
    without = sorted({case.id for case in task.splits.pool} - spared)
    for id_ in without:
        (folder / "labelsTr" / f"{id_}.nii.gz").unlink()
    ready = make_ready(
        folder, tmp_path / "prepared", FolderConfig(levels=2, need_labels=False)
    )  # fmt: skip
    cases = {case.id: case for case in ready.dataset.cases}
    assert {id_ for id_, case in cases.items() if case.label is None} == set(without)
    splits = task.splits._make([tuple(cases[case.id] for case in part) for part in task.splits])
    initial = [cases[case.id] for case in task.initial]
    mixed = task._replace(
        splits=splits, initial=initial, load=lambda case: load_case(case, ready.dataset), origin=ready.listing
    )  # fmt: skip
    (known,) = run(tmp_path / "known", task, config=ONE)
    work = opened(tmp_path / "unknown", mixed, config=ONE)
    query = propose(work, read_state(work))
    assert list(query.units) == known["queried"] and list(query.scores) == known["scores"]
    line = commit(work, read_state(work), work.labels.ask(query.units))
    assert line["unanswered"] == [unit for unit in query.units if unit in without]
    lines = predict_round(work, lambda done, total: None)
    assert "mean Dice" in lines[0]
    assert len(list((tmp_path / "unknown" / "predictions").iterdir())) == 16


def test_a_new_label_prepares_nothing_else_anew(tmp_path):
    folder, prepared = tiny.write_dataset(tmp_path / "data", cases=4), tmp_path / "prepared"
    config = FolderConfig(need_labels=False)
    label = folder / "labelsTr" / "case_001.nii.gz"
    content = label.read_bytes()
    label.unlink()
    before = make_ready(folder, prepared, config)
    times = {path: path.stat().st_mtime_ns for path in prepared.rglob("*.np*")}
    label.write_bytes(content)
    after = make_ready(folder, prepared, dataclasses.replace(config, plan=before.plan))
    assert [(case.image, case.version) for case in after.dataset.cases] == [
        (case.image, case.version) for case in before.dataset.cases
    ]
    assert [case.label is None for case in before.dataset.cases] == [False, True, False, False]
    assert [case.label is None for case in after.dataset.cases] == [False] * 4
    new = {path for path in prepared.rglob("*.np*") if path not in times}
    assert {path for path in times if path.stat().st_mtime_ns != times[path]} == set()
    shard, look = sorted(new, key=lambda path: path.parent.name == "looks")
    assert look.parent.name == "looks" and look.name.startswith("case_001-")
    assert sorted((name[:9], name.rpartition(".")[2]) for name in np.load(shard)) == [
        ("case_001-", "label"),
        ("case_001-", "places"),
    ]
    label.write_bytes((folder / "labelsTr" / "case_002.nii.gz").read_bytes())  # corrected: another version
    corrected = make_ready(folder, prepared, config)
    versions = [case.label.version for ready in (after, corrected) for case in ready.dataset.cases if case.id == "case_001"]
    assert versions[0] != versions[1]
    assert corrected.dataset.cases[1].version == after.dataset.cases[1].version
    assert load_case(corrected.dataset.cases[1], corrected.dataset).label.sum() > 0


def test_a_plan_made_before_is_kept_whatever_labels_come(tmp_path):
    """Computed tomography is clipped to the foreground's percentiles, which a new label map moves."""
    folder, prepared = tiny.write_dataset(tmp_path / "data", cases=4), tmp_path / "prepared"
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**description, "channel_names": {"0": "CT"}}))
    before = make_ready(folder, prepared, FolderConfig())
    label = folder / "labelsTr" / "case_001.nii.gz"
    write_volume(label, Volume(np.ones(tiny.SHAPE, np.uint8), np.eye(4)))
    anew = make_ready(folder, prepared, FolderConfig())
    assert anew.plan.digest() != before.plan.digest()
    kept = make_ready(folder, prepared, FolderConfig(plan=before.plan))
    assert kept.plan == before.plan
    assert [case.image for case in kept.dataset.cases] == [case.image for case in before.dataset.cases]


@pytest.mark.parametrize("strategy", ["entropy", "weighted_entropy", "stratified_random"])
def test_without_groups_a_run_is_a_run(tmp_path, task, strategy):  # noqa: F811
    def ungrouped(cases):
        return tuple(case._replace(group="") for case in cases)

    alone = task._replace(splits=task.splits._make(map(ungrouped, task.splits)), initial=ungrouped(task.initial))
    (line,) = run(tmp_path, alone, strategy, ONE)
    assert line["dice"]["by_group"].keys() == {""}
    assert line["disparity"] == 0.0
    assert len(line["queried"]) == 2


WAY = ("rounds", "labels", "strategies/contract.py", "training/trainer.py", "scoring/pool_pass.py", "data/stream.py", "files.py")


def test_no_file_is_entered_more_than_three_times_on_a_cases_way(tmp_path, task):  # noqa: F811
    """By how many of its functions the code of other files comes into it; `docs/architecture.md` draws the way."""
    library = f"{Path(jaxal.__file__).parent}{os.sep}"
    entered = {}

    def look(frame, event, argument):
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(library):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(library):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != file:
            entered.setdefault(file.removeprefix(library), set()).add(frame.f_code.co_qualname)

    work = opened(tmp_path, task, "aeig", ONE)
    sys.setprofile(look)
    try:
        list(simulate(work))
    finally:
        sys.setprofile(None)
    on_the_way = {file: names for file, names in entered.items() if file.startswith(WAY)}
    assert len(on_the_way) > 12
    assert {file: names for file, names in on_the_way.items() if len(names) > 3} == {}
