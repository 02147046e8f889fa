"""Strategies whose networks learn something more: what a head predicts, and how much evidence there is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from test_loop import run, task  # noqa: F401 (a fixture)
from test_rounds import ONE, opened, softmax_of

from jaxal.errors import UserError
from jaxal.networks.auxiliary import with_auxiliary
from jaxal.networks.unet import unet
from jaxal.rounds.networks import make_networks
from jaxal.rounds.rescoring import score_round
from jaxal.strategies.predicted import learning_loss, predicted_dice
from jaxal.tasks.segmentation import SEGMENTATION, loss
from jaxal.training import losses
from jaxal.training import step as training
from jaxal.training.augment import augment
from jaxal.training.gradient import Batch, Cut, Recipe, gradient_of
from jaxal.training.step import Course
from jaxal.training.trainer import Trainer
from jaxal.training.unlabelled import named_unlabelled
from jaxal.types import Example


@pytest.mark.parametrize(("name", "output"), [("learning_loss", "predicted_loss"), ("predicted_dice", "predicted_dice")])
def test_heads_are_trained_with_the_network_and_score_again_what_they_scored(name, output, tmp_path, task):  # noqa: F811
    (line,) = run(tmp_path, task, name, ONE)
    assert line["strategy"]["auxiliary"] == output
    work = opened(tmp_path, task, name, ONE)
    params = make_networks(work)[0].restored(0)
    fresh = jax.jit(work.task.model.init)(jax.random.key(0), jnp.zeros((1, *tiny.SHAPE, 1)))
    moved = jax.tree.map(lambda one, other: np.abs(one - other).max(), params["auxiliary"], fresh["auxiliary"])
    assert max(jax.tree.leaves(moved)) > 0
    scored = score_round(work, [name])
    assert list(scored.queries[name].units) == line["queried"]
    for unit, score in zip(line["queried"], line["scores"], strict=True):
        image = jnp.asarray(task.load(work.cases[unit]).image[None])
        value = float(work.task.model.tail(params, work.task.model.stem(params, image), None).auxiliary[output][0])
        assert score == pytest.approx(value if name == "learning_loss" else 1 / (1 + np.exp(value)), rel=1e-4)


def test_strategies_of_evidence_need_networks_that_were_trained_for_it(tmp_path, task):  # noqa: F811
    with pytest.raises(UserError, match=r"duc: reads how much evidence.*Add --evidence 1"):
        opened(tmp_path, task, "duc", ONE)
    with pytest.raises(UserError, match=r"entropy\+then:duc: reads how much evidence"):
        opened(tmp_path, task, "entropy+then:duc", ONE)
    run(tmp_path / "entropy", task, "entropy", ONE)
    with pytest.raises(UserError, match="duc: reads how much evidence"):
        score_round(opened(tmp_path / "entropy", task, "entropy", ONE), ["duc"])
    learns = task._replace(training=dataclasses.replace(task.training, evidence=1.0))
    (line,) = run(tmp_path / "duc", learns, "duc", ONE)
    scored = score_round(opened(tmp_path / "duc", learns, "duc", ONE), ["duc", "distribution_uncertainty"])
    assert list(scored.queries["duc"].units) == line["queried"]
    assert line["scores"] == sorted(line["scores"], reverse=True) and min(line["scores"]) > 0  # of the data, the second step's


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(3)
    label = (rng.random((4, *tiny.SHAPE)) < 0.2).astype(np.uint8)
    everywhere = np.ones(label.shape, bool)
    return Example(rng.normal(size=(*label.shape, 1)).astype(np.float32), label, everywhere, everywhere)


def recipe_of(strategy, **training):
    config = dataclasses.replace(tiny.TRAINING, batch_size=4, **training)
    model = with_auxiliary(unet(tiny.NETWORK), strategy.auxiliary)
    return Recipe(model, config, SEGMENTATION.loss, True, strategy.auxiliary)


def gradient(recipe, batch, pieces):
    params = jax.jit(recipe.model.init)(jax.random.key(0), jnp.asarray(batch.image[:1]))
    course = Course(Cut(pieces), jnp.int32(pieces or 1), (jnp.int32(0), jnp.int32(1)))
    step = jax.jit(lambda params: gradient_of(recipe, params, None, jax.random.key(1), Batch(batch), course)[0])
    return params, step(params)


@pytest.mark.parametrize("pieces", [None, 4])
def test_a_head_that_compares_cases_has_the_gradient_of_the_whole_batch_however_it_is_cut(batch, pieces):
    recipe = recipe_of(learning_loss())
    params, ours = gradient(recipe, batch, pieces)
    auxiliary, model = recipe.auxiliary, recipe.model
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(1), purpose), 4) for purpose in (0, 1)]
    varied = jax.vmap(functools.partial(augment, recipe.config, True))(keys[0], batch)
    masks = jax.vmap(model.draw_masks)(keys[1])
    output = model.tail(params, model.stem(params, varied.image, varied.inside), masks)
    kernel, bias = model.head(params, masks)
    logits = jnp.einsum("b...f,bfc->bc...", output.features, kernel).reshape(4, 2, -1) + bias[None, :, None]
    lost = SEGMENTATION.loss(recipe.config, logits, varied)

    def compared(head):
        predicted = auxiliary.apply(head, auxiliary.read(output, logits))
        order = [(0, 3), (1, 2)]
        pairs = [jnp.maximum(0, 1 - jnp.sign(lost[i] - lost[j]) * (predicted[i] - predicted[j])) for i, j in order]
        return sum(pairs) / 2

    expected = jax.grad(compared)(params["auxiliary"])
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5), ours["auxiliary"], expected)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 1e-3


@pytest.mark.parametrize("make", [learning_loss, predicted_dice])
def test_a_head_leaves_the_features_as_they_are(batch, make):
    strategy = make()
    silent = strategy.auxiliary._replace(loss=lambda values, logits, lost, batch: 0.0 * lost, comparison=None)
    with_head, without = (
        gradient(recipe_of(strategy._replace(auxiliary=one)), batch, None)[1]["network"] for one in (strategy.auxiliary, silent)
    )
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8), with_head, without)


def test_one_case_has_nothing_to_be_compared_with():
    recipe = recipe_of(learning_loss())
    with pytest.raises(UserError, match="'predicted_loss' learns by comparing cases, and the training takes one at a time"):
        Trainer(SEGMENTATION, recipe.model, dataclasses.replace(recipe.config, batch_size=1), auxiliary=recipe.auxiliary)


def test_the_number_of_devices_changes_no_bit_of_a_head(batch, in_a_hurry):
    recipe, states = recipe_of(learning_loss()), []
    params = jax.jit(recipe.model.init)(jax.random.key(0), jnp.asarray(batch.image[:1]))
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        mesh = training.make_mesh(recipe, devices)
        assert mesh.size == len(devices)
        state = jax.device_put(training.fresh_state(recipe.config, params), training.everywhere(mesh))
        for _ in range(2):
            state = training.compiled_step(recipe, mesh)(state, jax.random.key(1), Batch(batch), np.int32(10), np.float32(1e-2))
        states.append(jax.tree.map(np.asarray, state))
    for alone, shared in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(shared, alone, rtol=0, atol=1e-3 * np.abs(alone).max() if in_a_hurry else 0)


def test_the_loss_of_evidence_is_added_by_its_weight(batch, rng):
    logits = jnp.asarray(rng.normal(size=(4, 2, batch.label[0].size)), jnp.float32)
    labels, labelled = batch.label.reshape(4, -1).astype(np.int32), batch.labelled.reshape(4, -1)
    plain, more = (loss(dataclasses.replace(tiny.TRAINING, evidence=weight), logits, batch) for weight in (0.0, 0.5))
    np.testing.assert_allclose(more - plain, 0.5 * losses.evidence_divergence(logits, labels, labelled), rtol=1e-5)


def test_student_and_teacher_are_the_last_steps_weights_and_their_average(tmp_path, task):  # noqa: F811
    with pytest.raises(
        UserError, match=r"student_teacher: compares weights with their moving average.*Add --unlabelled mean_teacher"
    ):
        opened(tmp_path, task, "student_teacher", ONE)
    learns = task._replace(training=dataclasses.replace(task.training, unlabelled=named_unlabelled("mean_teacher,decay=0.8")))
    (line,) = run(tmp_path, learns, "student_teacher", ONE)
    network = make_networks(opened(tmp_path, learns, "student_teacher", ONE))[0]
    teacher, student = network.restored(0), network.student(0)
    work, model = opened(tmp_path, learns, "student_teacher", ONE), task.model
    for unit, score in zip(line["queried"], line["scores"], strict=True):
        image = jnp.asarray(task.load(work.cases[unit]).image[None])
        first, second = (np.asarray(softmax_of(model, params, image)) for params in (teacher, student))
        assert score == pytest.approx(np.square(first - second).mean() / 4, rel=1e-3) and score > 1e-7
