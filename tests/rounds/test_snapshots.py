"""Trainings whose rate falls several times, and the weights that are kept at the end of each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from test_loop import CONFIG, Silent, task, without_seconds  # noqa: F401 (a fixture)
from test_loop import run as run_rounds

from jaxal.data.scans.prepare import load_case
from jaxal.networks.unet import unet
from jaxal.rounds.networks import make_networks
from jaxal.rounds.setup import open_run
from jaxal.scoring.members import MembersConfig
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.averaging import taken_apart
from jaxal.training.config import settings_of
from jaxal.training.step import cycle_of, relative_rate, snapshot, trained_weights
from jaxal.training.trainer import Interrupted, Saving, Trainer, whole

KEY = jax.random.key(2)
STEPS, ENDS = 10, (3, 6, 10)
TRAINING = dataclasses.replace(tiny.TRAINING, steps=STEPS, steps_per_case=0, cycles=3)
THREE = MembersConfig(networks=3, dropout=0)


@pytest.fixture(scope="module")
def volumes(tiny_dataset):
    return [load_case(case, tiny_dataset) for case in tiny_dataset.cases[:4]]


def at_every_step(volumes, config=TRAINING):
    """The states after each step of a training, as they are saved when it is stopped there and goes on; and the last one."""
    trainer, states = Trainer(SEGMENTATION, unet(tiny.NETWORK), config), []
    saving = Saving(lambda state: states.append(jax.tree.map(np.asarray, state)), 1e9)
    state = trainer.start(KEY, volumes[0])
    while len(states) < STEPS - 1:
        with pytest.raises(Interrupted):
            trainer.fit(KEY, 4, whole(volumes), state, should_stop=lambda: True, saving=saving)
        state = jax.tree.map(jnp.asarray, states[-1])
    return states, trainer.fit(KEY, 4, whole(volumes), state)


def equal(one, other):
    return all(np.array_equal(first, second) for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_cycles_are_as_long_as_each_other():
    found = [tuple(int(part) for part in cycle_of(jnp.int32(step), jnp.int32(STEPS), 3)) for step in range(STEPS)]
    assert found == [(0, 3, 0)] * 3 + [(3, 6, 1)] * 3 + [(6, 10, 2)] * 4
    assert [int(part) for part in cycle_of(jnp.int32(7), jnp.int32(STEPS), 1)] == [0, STEPS, 0]


def test_weights_at_the_ends_of_cycles_are_kept_and_each_begins_at_rest(volumes):
    states, last = at_every_step(volumes)
    assert equal(snapshot(last, 2), states[ENDS[0] - 1].params) and equal(snapshot(last, 1), states[ENDS[1] - 1].params)
    assert not equal(snapshot(last, 1), last.params) and not equal(snapshot(last, 1), snapshot(last, 2))
    for end in ENDS[:-1]:  # the rate rises from zero, so that a cycle's first step changes nothing
        assert equal(states[end].params, states[end - 1].params) and not equal(states[end + 1].params, states[end].params)
    whole_training = Trainer(SEGMENTATION, unet(tiny.NETWORK), TRAINING)
    assert equal(whole_training.fit(KEY, 4, whole(volumes), whole_training.start(KEY, volumes[0])), last)  # stopped or not


def test_one_cycle_is_a_plain_training(volumes):
    plain = settings_of(dataclasses.replace(TRAINING, cycles=1), "scratch")
    assert "cycles" not in plain and settings_of(TRAINING, "scratch")["cycles"] == 3
    assert float(relative_rate(jnp.int32(0), jnp.int32(3), 0.15)) == 0.0
    trainer = Trainer(SEGMENTATION, unet(tiny.NETWORK), dataclasses.replace(TRAINING, cycles=1))
    assert taken_apart(trainer.start(KEY, volumes[0]).optimizer).snapshots is None


def test_members_are_one_trainings_weights_at_the_ends_of_its_cycles(tmp_path, task):  # noqa: F811
    config = dataclasses.replace(CONFIG, members=THREE)
    cyclic = task._replace(training=dataclasses.replace(task.training, cycles=3))
    lines = without_seconds(run_rounds(tmp_path / "cyclic", cyclic, "bald", config))
    assert not list((tmp_path / "cyclic" / "checkpoints").glob("network-*"))
    networks = make_networks(open_run(tmp_path / "cyclic", "bald", config, cyclic, Silent()))
    stored = networks[0]._checkpoints.restore(1, networks[0]._like(1))
    assert equal(networks[0].restored(1), trained_weights(stored))
    assert equal(networks[1].restored(1), snapshot(stored, 1)) and equal(networks[2].restored(1), snapshot(stored, 2))
    several = without_seconds(run_rounds(tmp_path / "several", task, "bald", config))
    assert several[0]["scores"] != lines[0]["scores"] and max(lines[0]["scores"]) > 0
    again = without_seconds(run_rounds(tmp_path / "cyclic", cyclic, "bald", dataclasses.replace(config, rounds=3)))
    assert again[:2] == lines
