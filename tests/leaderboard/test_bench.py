"""Runs of the leaderboard and what they come to."""

import dataclasses
import json

import numpy as np
import pytest

from jaxal.cli import bench as command_of_bench
from jaxal.cli.main import main
from jaxal.data.images.listing import cases_of
from jaxal.data.simulated.digits import make_digits
from jaxal.data.simulated.tissue import TissueConfig, make_tissue
from jaxal.errors import UserError
from jaxal.leaderboard import bench, page, tasks
from jaxal.leaderboard.board import ranks_of, read_runs, rows_of
from jaxal.leaderboard.learners import SupportVectors
from jaxal.leaderboard.outcomes import Outcome, read_outcome, write_outcome
from jaxal.leaderboard.points import Division, breast_cancer, diverging_sines, divided, three_clusters
from jaxal.leaderboard.simulation import Rounds, simulate
from jaxal.leaderboard.studies import DIGITS, TISSUE, of_images
from jaxal.report.advice import read_evidence
from jaxal.report.terminal import Display
from jaxal.rounds.ledger import Ledger
from jaxal.strategies.table import OF_GROUPS
from jaxal.studies.images import ImageArguments, choose_sizes, draw_splits

POINTS = ("three_clusters", "diverging_sines", "breast_cancer")


@pytest.fixture
def short(monkeypatch):
    """Two queries a run."""
    for name in POINTS:
        task = tasks.TASKS[name]
        monkeypatch.setitem(tasks.TASKS, name, task._replace(rounds=Rounds(task.rounds.query, 2)))


@pytest.mark.parametrize("draw", [three_clusters, diverging_sines, breast_cancer])
def test_parts_are_apart_and_every_class_is_labelled_at_first(draw):
    parts = divided(draw, Division(0.2, 0.2, 2, to_unit=True), 3)
    whole = draw(np.random.default_rng(3))
    sizes = [len(part.classes) for part in (parts.pool, parts.evaluation, parts.test)]
    assert sum(sizes) == len(whole.classes)
    rows = np.concatenate([part.inputs for part in (parts.pool, parts.evaluation, parts.test)])
    assert len(np.unique(rows, axis=0)) == len(np.unique(whole.inputs, axis=0))
    assert set(parts.pool.classes[parts.start]) == {0, 1}
    known = np.concatenate([parts.pool.inputs, parts.evaluation.inputs])
    np.testing.assert_array_equal([known.min(0), known.max(0)], [np.zeros(known.shape[1]), np.ones(known.shape[1])])
    again = divided(draw, Division(0.2, 0.2, 2, to_unit=True), 3)
    np.testing.assert_array_equal(again.pool.inputs, parts.pool.inputs)


def test_a_users_own_strategy_is_tried_on_every_task(short, tmp_path, capsys):
    text = "from jaxal.strategies.contract import Needs, Strategy\n\n\ndef mine():\n    return Strategy(Needs(pool=('margin',)), lambda seen, context: -seen['margin'])\n"
    (tmp_path / "own.py").write_text(text)
    words = [
        "bench",
        "--tasks",
        *POINTS[:2],
        "--strategies",
        f"{tmp_path / 'own.py'}:mine",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main(words) == 0, capsys.readouterr().err
    assert {task: sorted(runs) for task, runs in read_runs(tmp_path / "runs").items()} == {
        task: ["own.mine", "random"] for task in POINTS[:2]
    }


def test_runs_are_done_once_and_what_does_not_fit_says_why(short, tmp_path, capsys):
    words = [
        "bench",
        "--tasks",
        *POINTS,
        "--strategies",
        "coreset",
        "bald",
        "--seeds",
        "1",
        "--seed",
        "0",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "[9 of 9] breast_cancer: bald, seed 0" in shown
    assert "- `bald`: how members disagree is measured" in (tmp_path / "leaderboard.md").read_text()
    assert "1 that do not fit, and why" in (tmp_path / "leaderboard.html").read_text()
    assert "Of 2 on 3 tasks" in shown
    known = read_evidence(tmp_path / "leaderboard.json")
    assert list(known) == list(POINTS) and set(known["breast_cancer"].found) == {"random", "coreset"}  # bald does not fit
    assert known["three_clusters"].found["bald"].milliseconds > 0 and known["three_clusters"].setting.classes == 2
    runs = read_runs(tmp_path)
    assert set(runs) == set(POINTS)
    refused = runs["breast_cancer"]["bald"][0]
    assert refused.is_refused and "no dropout" in refused.trouble
    assert 0 < runs["three_clusters"]["bald"][0].area < 1
    curve = json.loads((tmp_path / "three_clusters" / "coreset" / "seed-0" / "curve.json").read_text())
    assert curve["labelled"] == [2, 3, 4]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("outcome.json")}
    assert main(words) == 0
    assert "[9 of 9]" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("outcome.json")} == before


def test_a_run_repeats_to_the_last_bit(short, tmp_path):
    for place in ("one", "other"):
        bench.work([bench.Piece("diverging_sines", "badge", "badge", 1)], tmp_path / place, Display())
    curves = [
        json.loads((tmp_path / place / "diverging_sines/badge/seed-1/curve.json").read_text()) for place in ("one", "other")
    ]
    assert [curve["accuracy"] for curve in curves[:1]] == [curve["accuracy"] for curve in curves[1:]]


class Recorded:
    """A learner that keeps what it was taught."""

    def __init__(self, learner):
        self._learner, self.model, self.inputs, self.taught = learner, learner.model, learner.inputs, []

    def learn(self, labelled, before, key):
        self.taught.append(labelled)
        return self._learner.learn(labelled, before, key)


def test_what_is_asked_for_is_what_is_learned():
    parts = divided(breast_cancer, Division(0.4, 0.1, 20, to_unit=False), 5)
    learner = Recorded(SupportVectors(parts))
    simulate(parts, learner, "coreset", Rounds(2, 2), 0, lambda done, of: None)
    assert [len(labelled.classes) for labelled in learner.taught] == [20, 22, 24]
    pool, kept = learner.inputs(parts.pool.inputs).astype(np.float64), list(parts.start)
    for _ in range(4):  # the farthest from all that is labelled, written out
        kept.append(int(((pool[:, None] - pool[kept]) ** 2).sum(-1).min(1).argmax()))
    expected = parts.pool.of(np.array(kept))
    np.testing.assert_array_equal(learner.taught[-1].inputs, expected.inputs)
    np.testing.assert_array_equal(learner.taught[-1].classes, expected.classes)


def test_nothing_is_asked_for_twice():
    parts = divided(breast_cancer, Division(0.4, 0.1, 20, to_unit=False), 5)
    learner = Recorded(SupportVectors(parts))
    simulate(parts, learner, "random", Rounds(60, 4), 0, lambda done, of: None)
    assert len(np.unique(learner.taught[-1].inputs, axis=0)) == 20 + 240


def made_up(folder, areas):
    for (task, name), values in areas.items():
        for seed, area in enumerate(values):
            write_outcome(folder / task / name / f"seed-{seed}", Outcome(area, 10.0))


def test_verdicts_rest_on_paired_differences(tmp_path):
    spread = np.array([0.1, 0.2, 0.3, 0.4])
    better = spread + np.array([0.01, 0.012, 0.011, 0.009])  # far less than the spread over seeds
    for task in ("a", "b", "c"):
        made_up(tmp_path, {(task, "random"): spread, (task, "entropy"): better, (task, "bald"): spread - (better - spread)})
    write_outcome(tmp_path / "a" / "entropy" / "seed-9", Outcome(np.nan, np.nan, "broken"))
    board = {task: rows_of(runs) for task, runs in read_runs(tmp_path).items()}
    assert list(board["a"]) == ["entropy", "random", "bald"]
    assert [board["a"][name].verdict for name in board["a"]] == [1, 0, -1]
    assert board["a"]["entropy"].failures == 1 and board["a"]["entropy"].area.cases == 4
    ranks = ranks_of(board, ["a", "b", "c"])
    assert ranks.names == ("entropy", "random", "bald") and ranks.ranks == (1.0, 2.0, 3.0)
    found, (html, text, known) = page.write(tmp_path)
    assert read_evidence(known) == {}  # of tasks that are not the library's own
    assert found.startswith(
        "Of 2 on 3 tasks, these strategies beat random sampling most surely: entropy (better on 3, worse on 0). 1 are worse"
    )
    assert found in text.read_text() and "<table>" in html.read_text()
    by_chance = (
        "6 differences from random sampling were measured, 3 of them surely above zero and 3 surely below. By chance alone 0.2"
    )
    assert by_chance in text.read_text() and by_chance in html.read_text()
    assert "| `bald` | **-0.011** | **-0.011** | **-0.011** |\n" in text.read_text()
    assert '>bald</th><td class="worse">-0.011</td><td class="worse">' in html.read_text()


def test_strategies_are_ranked_over_the_cheap_tasks_and_the_few_over_all(tmp_path):
    for task in ("three_clusters", "diverging_sines", "tissue"):
        few = ("random", "entropy", "margin", *(() if task == "tissue" else ("bald",)))
        made_up(tmp_path, {(task, name): [0.1 * place, 0.2 * place] for place, name in enumerate(few)})
    told = page.write(tmp_path)[1][1].read_text()
    cheap, everywhere = told.split("## Over the cheap tasks")[1].split("## Over all tasks")
    assert "Mean rank of 4 strategies over 2 tasks" in cheap and "`bald` | 1.0" in cheap
    assert "Mean rank of 3 strategies over 3 tasks" in everywhere.split("## three_clusters")[0]
    glance = told.split("## At a glance")[1].split("## Over")[0]
    rows = "| `bald` | +0.450 | +0.450 | – |\n| `margin` | +0.300 | +0.300 | +0.300 |\n| `entropy` | +0.150 | +0.150 | +0.150 |\n"
    assert glance.endswith(rows + "\n") and "random`" not in glance


def test_strategies_of_groups_are_tried_where_there_are_groups():
    tried = {
        task: {piece.strategy for piece in bench.pieces_of([task], (), [0])} for task in ("digits", "structures", "brain_thin")
    }
    assert not set(OF_GROUPS) & (tried["digits"] | tried["structures"])
    assert set(OF_GROUPS) < tried["brain_thin"]
    with pytest.raises(UserError, match="worst_group looks at groups of patients, and there are none in digits"):
        bench.pieces_of(["digits"], ["worst_group"], [0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "chess"], "There is no task 'chess'; there are three_clusters"),
        (["--strategies", "magic"], "no strategy 'magic'"),
        (["--seeds", "0"], "--seeds is at least 1"),
        (["--show", "--out", "/nowhere/at/all"], "no such folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(words, message, capsys):
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_outcome_is_named(tmp_path):
    made_up(tmp_path, {("a", "random"): [0.5]})
    path = tmp_path / "a" / "random" / "seed-0" / "outcome.json"
    path.write_text("[1, 2")
    with pytest.raises(UserError, match="Remove the file"):
        read_outcome(path.parent)


def test_the_help_names_all_tasks(capsys):
    assert main(["bench", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in tasks.TASKS)
    assert command_of_bench.Arguments().tasks == tasks.CHEAP


def test_a_study_is_a_task(monkeypatch, tmp_path):
    """Runs of a seed share the first network; what does not fit says why, and what did has the area of its ledger."""
    quick = dataclasses.replace(DIGITS.training, steps=3, steps_per_case=0)
    preset = dataclasses.replace(DIGITS, rounds=2, training=quick)
    monkeypatch.setitem(tasks.TASKS, "digits", tasks.TASKS["digits"]._replace(make=of_images("digits", preset, make_digits)))
    pieces = bench.pieces_of(["digits"], ["margin", "duc", "cold:kmeans"], [4])
    assert [piece.name for piece in pieces] == ["random", "margin", "duc", "random+cold-kmeans"]
    bench.work(pieces, tmp_path, Display(quiet=True))
    runs = read_runs(tmp_path)["digits"]
    assert runs["duc"][4].is_refused and "evidence" in runs["duc"][4].trouble
    lines = {name: Ledger(tmp_path / "digits" / name / "seed-4" / "rounds.jsonl").read() for name in ("random", "margin")}
    assert lines["random"][0]["test"] == lines["margin"][0]["test"]
    seconds = [line["seconds"]["score"] + line["seconds"]["select"] for line in lines["margin"]]
    assert runs["margin"][4].milliseconds == pytest.approx(1000 * seconds[1])
    assert runs["margin"][4].area == pytest.approx(np.mean([line["auc"]["overall"] for line in lines["margin"]]))


def test_the_numbers_of_tasks_are_theirs(tmp_path):
    for name in POINTS:
        task = tasks.TASKS[name]
        parts = divided(task.draw, task.division, 100)
        setting = task.setting
        assert (len(parts.pool.classes), len(parts.start), len(np.unique(parts.pool.classes))) == (
            setting.pool,
            setting.start,
            setting.classes,
        )
        assert setting.end == setting.start + task.rounds.query * task.rounds.queries <= setting.pool
    for name, preset, listing in (("digits", DIGITS, make_digits()), ("tissue", TISSUE, make_tissue(TissueConfig(2_000)))):
        sizes = choose_sizes(ImageArguments(), preset, listing)
        splits, initial = draw_splits(cases_of(listing, tmp_path), sizes, 100)
        setting = tasks.TASKS[name].setting
        assert (len(splits.pool), len(initial), len(listing.classes)) == (setting.pool, setting.start, setting.classes)
        assert setting.end == setting.start + (sizes.rounds - 1) * sizes.query_size


def test_another_version_of_a_task_is_no_strategy_that_does_not_fit(short, monkeypatch, tmp_path):
    piece = bench.Piece("three_clusters", "random", "random", 4)
    bench.work([piece], tmp_path, Display(quiet=True))
    task = tasks.TASKS["three_clusters"]
    monkeypatch.setitem(tasks.TASKS, "three_clusters", task._replace(rounds=Rounds(2, 2)))
    with pytest.raises(UserError, match=r"three_clusters holds runs of another version of this task\. Choose another --out"):
        bench.work([piece._replace(seed=5)], tmp_path, Display(quiet=True))
    assert list(read_runs(tmp_path)["three_clusters"]["random"]) == [4]


def test_other_settings_of_a_study_are_no_strategy_that_does_not_fit(monkeypatch, tmp_path):
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "config.json").write_text('{"task": "other"}')
    preset = dataclasses.replace(DIGITS, rounds=2)
    monkeypatch.setitem(tasks.TASKS, "digits", tasks.TASKS["digits"]._replace(make=of_images("digits", preset, make_digits)))
    with pytest.raises(UserError, match="digits"):
        bench.work([bench.Piece("digits", "random", "random", 4)], tmp_path, Display(quiet=True))
    assert read_runs(tmp_path) == {}
