import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxal.data.cases import initial_set, split
from jaxal.data.scans.prepare import load_case
from jaxal.networks.unet import unet
from jaxal.rounds import networks
from jaxal.rounds.rescoring import score_round
from jaxal.rounds.setup import RoundsConfig, Task, open_run
from jaxal.rounds.simulate import simulate
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.contract import Needs, Strategy
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.trainer import Interrupted

CONFIG = RoundsConfig(rounds=2, query_size=2, seed=0, members=MembersConfig(dropout=2))


class Silent:
    """A watcher that keeps what it is told and asks to stop when `stop_at` things were in progress."""

    def __init__(self, stop_at=None):
        self.notes, self.seen, self.stop_at = [], [], stop_at

    @contextlib.contextmanager
    def progress(self, what):
        self.seen.append(what)
        yield lambda done, total: None

    def note(self, text):
        self.notes.append(text)

    def should_stop(self):
        return self.stop_at is not None and len(self.seen) >= self.stop_at


@pytest.fixture
def task(tiny_dataset):
    splits = split(tiny_dataset.cases, 0, 0.25, 0.25)
    return Task(
        SEGMENTATION,
        unet(tiny.NETWORK),
        tiny_dataset,
        splits,
        initial_set(splits.pool, 4, 0),
        lambda case: load_case(case, tiny_dataset),
        tiny.TRAINING,
        tiny.STATISTICS,
    )


def run(folder, task, strategy="entropy", config=CONFIG, watcher=None):
    return list(simulate(open_run(folder, strategy, config, task, watcher or Silent())))


def without_seconds(records):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def test_queries_enter_the_next_round(tmp_path, task):
    first, second = run(tmp_path, task)
    assert first["labelled"] == 4
    assert second["labelled"] == 6
    assert not set(first["queried"]) & {case.id for case in task.initial}
    assert not set(second["queried"]) & (set(first["queried"]) | {case.id for case in task.initial})
    assert sum(first["queried_by_group"].values()) == 2


@pytest.mark.parametrize("strategy", ["aeig", "weighted_entropy", "bald"])
def test_labels_of_pool_and_test_never_reach_a_query(tmp_path, task, strategy):
    hidden = {case.id for case in task.splits.test} | {case.id for case in set(task.splits.pool) - set(task.initial)}

    def spoiled(case):
        example = task.load(case)
        return example._replace(label=1 - example.label) if case.id in hidden else example

    config = dataclasses.replace(CONFIG, rounds=1)
    plain, other = (
        run(tmp_path / name, task._replace(load=load), strategy, config)[0] for name, load in (("a", task.load), ("b", spoiled))
    )
    assert plain["queried"] == other["queried"]
    assert plain["scores"] == other["scores"]
    assert plain["dice"] != other["dice"]


def with_strategy(task, name, make):
    """The task with one strategy more."""
    return task._replace(kind=task.kind._replace(strategies={**task.kind.strategies, name: make}))


def test_a_strategy_that_looks_for_the_pools_labels_finds_none(tmp_path, task):
    known = []

    def score(statistics, context):
        known.extend(unit.case.label for unit in context.pool)
        counts = statistics["overlap"]
        return (counts.true_positive + counts.false_negative)[:, 1].astype(np.float32)

    cheats = with_strategy(task, "cheat", lambda: Strategy(Needs(pool=("overlap",)), score))
    (record,) = run(tmp_path, cheats, "cheat", dataclasses.replace(CONFIG, rounds=1))
    assert record["scores"] == [0.0, 0.0]
    assert set(known) == {None}


def test_warm_rounds_start_from_the_last_weights(tmp_path, task):
    still = task._replace(training=dataclasses.replace(tiny.TRAINING, warm_rate=0.0))
    first, second = run(tmp_path, still, config=dataclasses.replace(CONFIG, start="warm"))
    assert first["dice"] == second["dice"]


def test_a_stop_at_any_point_changes_nothing(tmp_path, task):
    whole = without_seconds(run(tmp_path / "whole", task, "aeig"))
    for stop_at in (1, 2, 4, 7):
        folder = tmp_path / f"stop-{stop_at}"
        with pytest.raises(Interrupted):
            run(folder, task, "aeig", watcher=Silent(stop_at))
        assert without_seconds(run(folder, task, "aeig")) == whole


@pytest.mark.parametrize("start", ["scratch", "warm"])
def test_a_run_taken_up_between_rounds_is_the_run_that_never_stopped(tmp_path, task, start):
    """So warm rounds find the last weights again, and rounds from scratch do not know them even within one process."""
    config = dataclasses.replace(CONFIG, rounds=3, start=start)
    whole = without_seconds(run(tmp_path / "whole", task, config=config))
    for rounds in (1, 2):
        run(tmp_path / f"{rounds}", task, config=dataclasses.replace(config, rounds=rounds))
        assert without_seconds(run(tmp_path / f"{rounds}", task, config=config)) == whole


def test_warm_and_scratch_rounds_differ(tmp_path, task):
    warm, scratch = (
        run(tmp_path / start, task, config=dataclasses.replace(CONFIG, start=start)) for start in ("warm", "scratch")
    )
    assert warm[0]["dice"] == scratch[0]["dice"]
    assert warm[1]["dice"] != scratch[1]["dice"]


def test_a_collapsed_training_is_reported_and_repeated_with_another_key(tmp_path, task):
    first_key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0), 0)

    def dead_at_first(key, example):
        params = task.model.init(key, example)
        dead = (jax.random.key_data(key) == jax.random.key_data(first_key)).all()
        return {**params, "bias": jnp.where(dead, jnp.array([1e6, -1e6]), params["bias"])}

    watcher = Silent()
    broken = task._replace(model=task.model._replace(init=dead_at_first))
    (record,) = run(tmp_path / "once", broken, config=dataclasses.replace(CONFIG, rounds=1), watcher=watcher)
    assert record["collapsed"] == 1
    assert len(watcher.notes) == 1
    assert "collapsed (Dice 0.000 on its own labelled cases), attempt 1 of 3: training again with another key" in watcher.notes[0]
    assert record["dice"]["overall"] > 0.1


def test_a_collapsed_warm_training_is_repeated_from_scratch_with_the_schedule_of_scratch(tmp_path, task, monkeypatch):
    training, trained = dataclasses.replace(tiny.TRAINING, steps=12, warm_steps=3, attempts=2), []

    class Recorded(networks.Trainer):
        def fit(self, key, count, draw, state, *more):
            trained.append((self.steps(count), float(self._peak_rate)))
            return super().fit(key, count, draw, state, *more)

    monkeypatch.setattr(networks, "Trainer", Recorded)
    never = task.kind._replace(assessment=task.kind.assessment._replace(success=lambda labelled: 0.0))
    config = dataclasses.replace(CONFIG, start="warm")
    run(tmp_path, task._replace(kind=never, training=training), "random", config)
    scratch, warm = (12, pytest.approx(training.peak_rate)), (3, pytest.approx(training.warm_rate))
    assert trained == [scratch, scratch, warm, scratch]


def test_a_network_that_never_learns_is_kept_but_marked(tmp_path, task):
    def dead(key, example):
        return {**task.model.init(key, example), "bias": jnp.array([1e6, -1e6])}

    watcher = Silent()
    broken = task._replace(model=task.model._replace(init=dead), training=dataclasses.replace(tiny.TRAINING, attempts=2))
    (record,) = run(tmp_path, broken, config=dataclasses.replace(CONFIG, rounds=1), watcher=watcher)
    assert record["collapsed"] == 2
    assert "do not trust this round" in watcher.notes[-1]
    assert record["dice"]["overall"] == 0.0
    assert np.isfinite(record["scores"]).all()


@pytest.mark.parametrize("killed_in", [None, 1, 2])
def test_of_attempts_that_all_collapse_the_best_is_kept_and_survives_a_kill(tmp_path, task, killed_in):
    """A run that is killed in a later attempt goes on with what an earlier one left."""
    answers, trained = {0: 0.3, 1: 0.4, 2: 0.1}, []

    class Watching(Silent):
        def should_stop(self):
            return killed_in is not None and len(trained) > killed_in

    def success(labelled):
        return answers[len(trained) - 1] if len(trained) <= 3 else 0.4

    def opened(watcher):
        assessment = task.kind.assessment._replace(success=success, collapsed_below=0.5)
        changed = task._replace(kind=task.kind._replace(assessment=assessment))
        return open_run(tmp_path, "entropy", dataclasses.replace(CONFIG, rounds=1), changed, watcher)

    fit = networks.Network._fit

    def noted(self, state, attempt, *more):
        if attempt >= len(trained):
            trained.append(attempt)
        return fit(self, state, attempt, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks.Network, "_fit", noted)
        if killed_in is not None:
            with pytest.raises(Interrupted):
                list(simulate(opened(Watching())))
            killed_in = None
        (record,) = simulate(opened(Silent()))
    assert record["collapsed"] == 3 and trained == [0, 1, 2]
    network = networks.make_networks(opened(Silent()))[0]
    second = jax.random.fold_in(network._key(jax.random.fold_in(jax.random.key(0), 0)), 1)
    trainer, cases = network._trainer(False), [task.load(case) for case in sorted(task.initial)]
    alone = trainer.fit(second, 4, lambda index, rng: cases[index], trainer.start(second, cases[0])).params
    for leaf, expected in zip(jax.tree.leaves(network.restored(0)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(leaf, expected)


def test_an_empty_pool_ends_in_an_empty_query(tmp_path, task):
    """And the run with it, for further rounds would train on the same cases; taken up again, it stays as it is."""
    config, watcher = dataclasses.replace(CONFIG, rounds=5, query_size=3), Silent()
    records = run(tmp_path, task, config=config, watcher=watcher)
    assert [record["labelled"] for record in records] == [4, 7, 8]
    assert "The pool is empty" in watcher.notes[-1]
    assert run(tmp_path, task, config=config) == records
    assert records[-1]["queried"] == []
    assert records[-1]["score_gap"] is None


# With all that strategies ask of a training.
LEARNS = dataclasses.replace(tiny.TRAINING, steps=2, attempts=1, average_decay=0.9, evidence=1.0)


def has_networks_of_its_own(name):
    """Whether a strategy asks of a training what others do not."""
    made = SEGMENTATION.strategies[name]()
    return bool(made.auxiliary or made.last_network)


@pytest.mark.parametrize("strategy", [*filter(has_networks_of_its_own, SEGMENTATION.strategies)])
def test_every_strategy_with_networks_of_its_own_goes_round(tmp_path, task, strategy):
    (record,) = run(tmp_path, task._replace(training=LEARNS), strategy, dataclasses.replace(CONFIG, rounds=1))
    assert len(record["queried"]) == 2 and np.isfinite(record["scores"]).all()


def test_all_other_strategies_choose_from_one_round(tmp_path, task):
    task, config = task._replace(training=LEARNS), dataclasses.replace(CONFIG, rounds=1)
    run(tmp_path, task, "random", config)
    names = [name for name in SEGMENTATION.strategies if not has_networks_of_its_own(name)]
    scored = score_round(open_run(tmp_path, "random", config, task, Silent()), names)
    pool = {case.id for case in scored.pool}
    for name in names:
        query = scored.queries[name]
        assert len(query.units) == 2 and set(query.units) <= pool and np.isfinite(query.scores).all(), name
