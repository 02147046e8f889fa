"""Training on labels that are known in parts, averages of weights, and losses of the network's own further outputs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxal.arrays import flat, logits_of
from jaxal.data.scans.prepare import load_case
from jaxal.data.stream import stacked
from jaxal.networks.unet import unet
from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS
from jaxal.training import gradient as gradients
from jaxal.training import step as training
from jaxal.training.averaging import averaged
from jaxal.training.trainer import Saving, Trainer, whole

MODEL = unet(tiny.NETWORK)


@pytest.fixture(scope="module")
def examples(tiny_dataset):
    """One is known as a whole, one in a box of a few elements."""
    first, second = (load_case(case, tiny_dataset) for case in tiny_dataset.cases[:2])
    known = np.zeros(tiny.SHAPE, bool)
    known[2:5, 1:4, 3:7] = True
    return [first, second._replace(labelled=known, label=np.where(known, second.label, 0).astype(np.uint8))]


@pytest.mark.parametrize("pieces", [None, 2])
def test_an_element_weighs_the_same_in_all_examples(examples, pieces):
    """The gradient is that of the mean over all labelled elements of the batch, however they are spread over its examples."""
    config = dataclasses.replace(tiny.TRAINING, dice=False, contrast=0.0, brightness=0.0, noise=0.0)
    recipe = Trainer(SEGMENTATION_OF_PARTS, MODEL._replace(draw_masks=lambda key: {}, head=head_of(MODEL)), config)._recipe
    batch = stacked(examples)
    params = jax.jit(MODEL.init)(jax.random.key(0), batch.image[:1])
    course = gradients.Course(gradients.Cut(pieces), jnp.int32(pieces or 1), (jnp.int32(0), jnp.int32(9)))
    ours, _ = jax.jit(
        lambda params: gradients.gradient_of(recipe, params, None, jax.random.key(1), gradients.Batch(batch), course)
    )(params)

    def plain(params):
        logits = logits_of(flat(MODEL.tail(params, MODEL.stem(params, batch.image), None)), *MODEL.head(params))
        log_probability = jnp.moveaxis(jax.nn.log_softmax(logits, axis=1), 1, -1)
        labels, labelled = batch.label.reshape(2, -1).astype(np.int32), batch.labelled.reshape(2, -1)
        values = -jnp.take_along_axis(log_probability, labels[..., None], -1)[..., 0]
        return jnp.where(labelled, values, 0.0).sum() / float(labelled.sum())

    expected = jax.jit(jax.grad(plain))(params)
    for leaf, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max() + 1e-8)


def head_of(model):
    """The head without dropout."""
    return lambda params, masks=None: model.head(params)


def test_what_is_not_labelled_teaches_nothing(examples):
    other = examples[1]._replace(label=np.where(examples[1].labelled, examples[1].label, 1).astype(np.uint8))
    trainer = Trainer(SEGMENTATION_OF_PARTS, MODEL, tiny.TRAINING)

    def weights(batch):
        return trainer.fit(jax.random.key(0), 2, whole(batch), trainer.start(jax.random.key(0), batch[0])).params

    jax.tree.map(np.testing.assert_array_equal, weights(examples), weights([examples[0], other]))


def test_the_average_is_that_of_the_weights_after_every_step(examples):
    trainer = Trainer(SEGMENTATION, MODEL, dataclasses.replace(tiny.TRAINING, average_decay=0.6))
    plain = Trainer(SEGMENTATION, MODEL, tiny.TRAINING)
    state = trainer.fit(jax.random.key(0), 2, whole(examples), trainer.start(jax.random.key(0), examples[0]))
    expected = jax.tree.map(np.asarray, plain.start(jax.random.key(0), examples[0]).params)
    taken = plain.start(jax.random.key(0), examples[0])
    decays = []

    def keep(state):
        nonlocal expected
        share = min(0.6, (1 + len(decays)) / (10 + len(decays)))
        decays.append(share)
        expected = jax.tree.map(lambda before, now: share * before + (1 - share) * np.asarray(now), expected, state.params)

    taken = plain.fit(jax.random.key(0), 2, whole(examples), taken, saving=Saving(keep, 0.0))
    keep(taken)  # the last step's state is returned
    assert len(decays) == 12 and decays[0] == 0.1 and decays[-1] < 0.6
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), training.trained_weights(state), expected)
    jax.tree.map(np.testing.assert_array_equal, state.params, taken.params)  # training itself knows nothing of the average
    other = training.with_weights(state, taken.params)
    jax.tree.map(np.testing.assert_array_equal, training.trained_weights(other), taken.params)


def test_a_long_average_has_its_decay():
    value = averaged({"w": jnp.float32(2.0)}, {"w": jnp.float32(1.0)}, jnp.int32(10**5), 0.999)
    assert float(value["w"]) == pytest.approx(1.999)


def test_a_further_loss_sees_the_outputs_the_examples_and_how_far_training_is(examples):
    """It is added to the task's loss: its gradient is that of both."""
    batch = stacked([example._replace(targets={"contour": example.label}) for example in examples])
    model = MODEL._replace(
        tail=lambda params, hidden, masks: with_contour(MODEL.tail(params, hidden, masks)),
        draw_masks=lambda key: {},
        head=head_of(MODEL),
    )

    def further(outputs, batch, step, steps):
        done = step.astype(jnp.float32) / steps.astype(jnp.float32)
        wrong = jnp.square(outputs["contour"] - batch.targets["contour"].astype(jnp.float32))
        return (1.0 - done) * jnp.where(batch.labelled, wrong, 0.0).mean((1, 2, 3))

    config = dataclasses.replace(tiny.TRAINING, contrast=0.0, brightness=0.0, noise=0.0)
    recipe = Trainer(SEGMENTATION, model, config, further=further)._recipe
    params = jax.jit(MODEL.init)(jax.random.key(0), batch.image[:1])

    def plain(params):
        output = model.tail(params, model.stem(params, batch.image), None)
        logits = logits_of(flat(output), *MODEL.head(params))
        return (SEGMENTATION.loss(config, logits, batch) + further(output.auxiliary, batch, jnp.int32(1), jnp.int32(4))).mean()

    course = gradients.Course(gradients.WHOLE, jnp.int32(1), (jnp.int32(1), jnp.int32(4)))
    ours, _ = jax.jit(
        lambda params: gradients.gradient_of(recipe, params, None, jax.random.key(1), gradients.Batch(batch), course)
    )(params)
    for leaf, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(jax.jit(jax.grad(plain))(params)), strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max() + 1e-8)


def with_contour(output):
    return output._replace(auxiliary={"contour": output.features[..., 0]})
