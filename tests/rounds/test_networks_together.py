"""Several networks that train at once are those that train one after the other."""

import contextlib
import dataclasses
import threading

import jax
import numpy as np
import pytest
import tiny_images
from test_loop import Silent, without_seconds
from test_loop import run as run_rounds

from jaxal.data.cases import initial_set, split
from jaxal.networks.resnet import resnet
from jaxal.rounds import networks
from jaxal.rounds.setup import RoundsConfig, Task, open_run
from jaxal.scoring.members import MembersConfig
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.training.trainer import Interrupted

CONFIG = RoundsConfig(rounds=2, query_size=2, seed=0, members=MembersConfig(networks=3, dropout=0), save_every_seconds=0.2)
TRAINING = dataclasses.replace(tiny_images.TRAINING, steps=12)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    images = tiny_images.read(tmp_path_factory.mktemp("images"))
    splits = split(images.dataset.cases, 0, 0.25, 0.25)
    model = resnet(tiny_images.NETWORK)
    return Task(CLASSIFICATION, model, images.dataset, splits, initial_set(splits.pool, 8, 0), images.load, TRAINING)


def run(folder, task, watcher=None):
    return without_seconds(run_rounds(folder, task, "bald", CONFIG, watcher))


@pytest.fixture(scope="module")
def one_after_the_other(task, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks.Network, "at_once", lambda network: 1)
        return run(tmp_path_factory.mktemp("run"), task)


class Watching(Silent):
    """Keeps what it is told of steps, and asks to stop after some."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.told, self.stop_after = [], stop_after

    @contextlib.contextmanager
    def progress(self, what):
        self.seen.append(what)
        yield lambda done, total: self.told.append((what, done, total))

    def should_stop(self):
        return self.stop_after is not None and len(self.told) >= self.stop_after


def test_the_numbers_are_the_same_and_progress_is_that_of_all(tmp_path, task, one_after_the_other):
    assert (
        networks.Network.at_once(networks.make_networks(open_run(tmp_path / "asked", "bald", CONFIG, task, Silent()))[0])
        == jax.local_device_count()
        == 2
    )
    watcher = Watching()
    assert run(tmp_path / "run", task, watcher) == one_after_the_other
    first = [(done, total) for what, done, total in watcher.told if what == "training 3 networks on 8"]
    assert len(first) == 3 * TRAINING.steps
    assert first[-1] == (len(first), len(first))
    assert [done for done, _ in first] == sorted(done for done, _ in first)


@pytest.mark.parametrize("stop_after", [1, 25])
def test_a_stop_at_any_step_changes_nothing(tmp_path, task, one_after_the_other, stop_after):
    with pytest.raises(Interrupted):
        run(tmp_path, task, Watching(stop_after))
    watcher = Watching()
    assert run(tmp_path, task, watcher) == one_after_the_other
    assert [(done, total) for what, done, total in watcher.told if "networks on 8" in what][-1] == (3 * TRAINING.steps,) * 2


def test_a_network_that_fails_ends_the_others_which_go_on_later(tmp_path, task, one_after_the_other, monkeypatch):
    """The error is told, and not that the others were stopped."""
    fit, calls, lock = networks.Trainer.fit, [], threading.Lock()

    def failing(self, key, *more):
        with lock:
            calls.append(key)
            is_second = len(calls) == 2
        if is_second:
            raise OSError(28, "No space left on device")
        return fit(self, key, *more)

    monkeypatch.setattr(networks.Trainer, "fit", failing)
    watcher = Watching()
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, task, watcher)
    assert len(watcher.told) < 2 * TRAINING.steps  # which the two others would have taken
    monkeypatch.setattr(networks.Trainer, "fit", fit)
    assert run(tmp_path, task) == one_after_the_other


def test_a_collapsed_network_is_trained_again_by_itself(tmp_path, task):
    """Of the first attempt all networks are trained together; of the second those that collapsed."""
    answers = iter([0.0, 1.0, 1.0, 1.0] + [1.0] * 3)  # the first network collapses once
    assessment = task.kind.assessment._replace(success=lambda labelled: next(answers), collapsed_below=0.5)
    broken = task._replace(kind=task.kind._replace(assessment=assessment), training=dataclasses.replace(TRAINING, attempts=2))
    watcher = Watching()
    first, second = run(tmp_path, broken, watcher)
    assert (first["collapsed"], second["collapsed"]) == (1, 0)
    assert [what for what in watcher.seen if what.startswith("training")] == [
        "training 3 networks on 8", "training on 8", "training 3 networks on 10"
    ]  # fmt: skip
    assert np.isfinite(first["scores"]).all()


def test_evaluation_cases_are_seen_by_all_networks_where_a_strategy_asks_what_they_have_in_common(tmp_path, task):
    """EPIG is information between the predictions of the same members, of which one network by itself is only one."""
    config = dataclasses.replace(CONFIG, rounds=1)
    (line,) = run_rounds(tmp_path, task, "epig", config, None)
    scores = np.array(line["scores"])
    assert len(scores) == 2 and np.isfinite(scores).all() and (scores > 0).all()
